"""Whether a graph may compute several tokens at once and get for each the bits that it has alone.

With kernels of our own and the operators here, each row of a pass is computed by itself. Not with experts (`MoE`): whether a
row is multiplied alone depends on which others go to the same expert. Nor with functions for which the runtime takes another
formula at the end of a thread's share than within it (`Elu`, `Exp`). What is not listed is not trusted.
An `If` is: the only one that gets as far chooses for all rows, see `long_rope.py`.
"""

from __future__ import annotations

_ARITHMETIC = "Add Sub Mul Div Neg Reciprocal Sqrt ReduceSum ReduceMean MatMul Gemm MatMulNBits"
_ACTIVATIONS = "Sigmoid Tanh Relu Gelu FastGelu QuickGelu BiasGelu"
_NORMALIZATIONS = (
    "LayerNormalization SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization RMSNormalization"
)
_ATTENTION = "GroupQueryAttention RotaryEmbedding"
_SHAPES = (
    "Cast Identity Constant ConstantOfShape Shape Reshape Unsqueeze Squeeze Concat Split Slice Gather GatherBlockQuantized "
    "Transpose Expand Range Where Equal Less Greater If"
)
_INDEPENDENT = frozenset(" ".join((_ARITHMETIC, _ACTIVATIONS, _NORMALIZATIONS, _ATTENTION, _SHAPES)).split())


def are_independent(operators: frozenset[str]) -> bool:
    """Whether all of these kinds of nodes are known to compute each token by itself."""
    return operators <= _INDEPENDENT

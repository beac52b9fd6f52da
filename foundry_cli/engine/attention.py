"""Lets a graph compute its attention by the kernel of `native/`, where it is built and the processor has AVX-512.

With it no token depends on how many are computed together with it, to the last bit: as long as that holds, an answer that is
guessed ahead says what it would have said anyway. The graph is edited in memory.
"""

from __future__ import annotations

import math

from foundry_cli.engine.graph_edit import (
    DOMAIN,
    INPUT,
    NODE,
    OWN_DOMAIN,
    RUNTIME_DOMAIN,
    Node,
    fields,
    input_types,
    last_sizes,
    message,
    nodes,
    with_graph,
)

_INPUTS = 9  # query, key, value, past key and value, last positions, total length, cosines, sines
_PAST_KEY, _PAST_VALUE, _COSINES, _SINES = 3, 4, 7, 8
_OUTPUTS = 3
_FLOAT = 1  # of TensorProto.DataType
_LARGEST_HEAD, _LANES = 256, 16
_WINDOW = b"local_window_size"
_SUPPORTED = {
    b"num_heads": None, b"kv_num_heads": None, b"scale": None, b"do_rotary": (0, 1), b"rotary_interleaved": (0,),
    b"softcap": (0,), b"smooth_softmax": (0, -1),
}  # fmt: skip
"""Attributes, and the values that they may have; None: any."""


def with_attention(model: bytes, head_size: int, context_length: int) -> bytes | None:
    """`model` with our own `GroupQueryAttention`; None when it has none, or one of them is of another kind.

    `head_size`: of keys and values whose own is not in the graph. `context_length`: a window as long as that is none.
    """
    return with_graph(model, lambda graph: _edit(graph, head_size, context_length))


def _edit(graph: bytes, head_size: int, context_length: int) -> bytes | None:
    found = [node for node in nodes(graph) if node.operator == b"GroupQueryAttention" and node.domain == RUNTIME_DOMAIN]
    types = input_types(graph)
    if not found or not all(_is_replaced(node, types, context_length) for node in found):
        return None
    known = last_sizes(graph)
    sizes = {known.get(node.inputs[index], head_size) for node in found for index in (_PAST_KEY, _PAST_VALUE)}
    if not all(0 < size <= _LARGEST_HEAD and size % _LANES == 0 for size in sizes):
        return None
    parts, end = [], 0
    for node in found:
        parts += [graph[end : node.tag], message(NODE, _moved(graph[node.start : node.end]))]
        end = node.end
    return b"".join((*parts, graph[end:]))


def _is_replaced(node: Node, types: dict[bytes, int], context_length: int) -> bool:
    inputs = [*node.inputs, *[b""] * _INPUTS]
    window = node.numbers.get(_WINDOW, -1)
    return (
        all(_is_supported(name, value) for name, value in node.numbers.items() if name != _WINDOW)
        and (window == -1 or window >= context_length)
        and {b"num_heads", b"kv_num_heads"} <= node.numbers.keys()
        and len(node.outputs) == _OUTPUTS
        and not any(inputs[_INPUTS:])
        and types.get(inputs[_PAST_KEY]) == types.get(inputs[_PAST_VALUE]) == _FLOAT
        and bool(inputs[_COSINES] and inputs[_SINES]) >= bool(node.numbers.get(b"do_rotary"))
    )


def _is_supported(name: bytes, value: float) -> bool:
    allowed = _SUPPORTED.get(name, ())
    return not math.isnan(value) and (allowed is None or value in allowed)


def _moved(node: bytes) -> bytes:
    """The node in our domain, with the inputs that it takes there."""
    parts = [part for part in fields(node, 0, len(node)) if part.number != DOMAIN]
    inputs = [part for part in parts if part.number == INPUT]
    kept = [node[part.tag : part.end] for part in parts if part.number != INPUT or part in inputs[:_INPUTS]]
    return b"".join((*kept, message(DOMAIN, OWN_DOMAIN)))

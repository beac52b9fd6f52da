"""Lets a graph compute its products with weights of four bits by the kernels of `native/`, where they are built.

They give what `MatMulNBits` of ONNX Runtime gives with accuracy_level 4, but for the order in which floats are added, and
take a third of its time from a few rows on. The graph is edited in memory.
"""

from __future__ import annotations

from foundry_cli.engine.graph_edit import (
    DOMAIN,
    INITIALIZER,
    NODE,
    OPERATOR,
    OWN_DOMAIN,
    RUNTIME_DOMAIN,
    Node,
    fields,
    input_types,
    message,
    nodes,
    with_graph,
)

_OPERATOR = b"Int4MatMul"
_BLOCKS = (32, 64, 128, 256)
_ROUNDED_ROWS = 4  # the accuracy_level that allows rows to be rounded to eight bits
_TYPE, _NAME = 2, 8  # of a tensor
_FLOAT, _UINT8 = 1, 2  # of TensorProto.DataType
_INPUT_TYPES = {1: _UINT8, 2: _FLOAT, 3: _UINT8, 5: _FLOAT}  # weights, scales, zero points, bias


def with_int4_matmul(model: bytes) -> bytes | None:
    """`model` with our `Int4MatMul` for every `MatMulNBits` that it can stand for; None when there is none."""
    return with_graph(model, _edit)


def _edit(graph: bytes) -> bytes | None:
    types = _constant_types(graph)
    parts, end = [], 0
    for node in nodes(graph):
        if _is_replaced(node, types):
            parts += [graph[end : node.tag], message(NODE, _renamed(graph[node.start : node.end]))]
            end = node.end
    return b"".join((*parts, graph[end:])) if parts else None


def _constant_types(graph: bytes) -> dict[bytes, int]:
    """Names and types of the initializers that nobody can replace by an input."""
    types = {}
    for tensor in fields(graph, 0, len(graph)):
        if tensor.number == INITIALIZER:
            found = {part.number: part for part in fields(graph, tensor.start, tensor.end) if part.number in (_TYPE, _NAME)}
            if len(found) == 2:
                types[graph[found[_NAME].start : found[_NAME].end]] = found[_TYPE].value or 0
    inputs = input_types(graph)
    return {name: kind for name, kind in types.items() if name not in inputs}


def _is_replaced(node: Node, types: dict[bytes, int]) -> bool:
    return (
        node.operator == b"MatMulNBits"
        and node.domain == RUNTIME_DOMAIN
        and node.numbers.get(b"bits", 4) == 4
        and node.numbers.get(b"block_size") in _BLOCKS
        and node.numbers.get(b"accuracy_level") == _ROUNDED_ROWS
        and len(node.inputs) > 2
        and all(_is_taken(index, types.get(name)) for index, name in enumerate(node.inputs) if index and name)
    )


def _is_taken(index: int, kind: int | None) -> bool:
    """Whether a node may have this input, a constant of this type."""
    return kind is not None and kind == _INPUT_TYPES.get(index)


def _renamed(node: bytes) -> bytes:
    kept = [node[part.tag : part.end] for part in fields(node, 0, len(node)) if part.number not in (OPERATOR, DOMAIN)]
    return b"".join((*kept, message(OPERATOR, _OPERATOR), message(DOMAIN, OWN_DOMAIN)))

"""Makes a decoder compute its logits for the new tokens that are asked for only.

Graphs compute them for every token of a prompt, although only the last ones are looked at. The product with the vocabulary
is a quarter of the work of a small model. A `Gather` in front of it leaves the positions that a new input names; nothing
else is changed. The file on disk stays as it is: the graph is edited in memory.
"""

from __future__ import annotations

from foundry_cli.engine.graph_edit import (
    GRAPH_INPUT,
    INPUT,
    NODE,
    OPERATOR,
    OUTPUT,
    fields,
    message,
    nodes,
    whole_number,
    with_graph,
)

POSITIONS = "foundry_positions"
"""The new input: int64 of shape (positions,), counted from the first new token, or from behind the last when negative."""

_PRODUCTS = (b"MatMul", b"MatMulNBits", b"Gemm")
_ELEMENTWISE = (b"Cast", b"Identity", b"Mul", b"Div", b"Tanh", b"Add")  # what may follow the product: scale, cap, bias
_INDEX, _CHOSEN = POSITIONS.encode(), b"foundry_chosen_positions"
_INT64 = 7  # of TensorProto.DataType
_ATTRIBUTE_INT = 2  # of AttributeProto.AttributeType


def with_chosen_positions(model: bytes, logits: str) -> bytes | None:
    """`model` with the input `POSITIONS` and its output `logits` of the shape (rows, positions, vocabulary).

    None when its end is not of the usual kind.
    """
    return with_graph(model, lambda graph: _edit(graph, logits.encode()))


def _edit(graph: bytes, logits: bytes) -> bytes | None:
    producers = {output: node for node in nodes(graph) for output in node.outputs}
    node = producers.get(logits)
    while node and node.operator in _ELEMENTWISE:
        node = next((producers[name] for name in node.inputs if name in producers), None)
    if node is None or node.operator not in _PRODUCTS or node.inputs[0] not in producers:
        return None
    product = _with_input(graph[node.start : node.end], node.inputs[0])
    added = message(NODE, _gather(node.inputs[0])) + message(NODE, product) + message(GRAPH_INPUT, _positions())
    return graph[: node.tag] + added + graph[node.end :]


def _with_input(node: bytes, name: bytes) -> bytes:
    """The node with the chosen positions in place of its first input `name`."""
    for part in fields(node, 0, len(node)):
        if part.number == INPUT and node[part.start : part.end] == name:
            return node[: part.tag] + message(INPUT, _CHOSEN) + node[part.end :]
    raise ValueError("the node has lost an input")


def _gather(name: bytes) -> bytes:
    axis = message(1, b"axis") + whole_number(3, 1) + whole_number(20, _ATTRIBUTE_INT)
    names = message(INPUT, name) + message(INPUT, _INDEX) + message(OUTPUT, _CHOSEN)
    return names + message(3, _CHOSEN) + message(OPERATOR, b"Gather") + message(5, axis)


def _positions() -> bytes:
    """The declaration of the input: a tensor with one dimension, which has a name instead of a size."""
    shape = message(2, message(1, message(2, b"foundry_position_count")))
    return message(1, _INDEX) + message(2, message(1, whole_number(1, _INT64) + shape))

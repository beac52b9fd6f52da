"""Decoders with LongRoPE: rotary factors of one table for short conversations, of another one for all tokens of long ones.

The graphs of the model builder choose the table by an `If`: long, when the attention mask is longer than a constant. Keys
that were computed with one table say nothing beside those of the other, so a conversation that outgrows the first one has to
be read again from its beginning. The edited graph takes the choice as an input instead, so that this can be done piece by
piece. Source: "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens", 2024; `make_rotary_embedding_caches` of the
model builder of ONNX Runtime GenAI.
"""

from __future__ import annotations

from foundry_cli.engine.graph_edit import (
    GRAPH_INPUT,
    INPUT,
    NODE,
    Node,
    fields,
    graph_of,
    message,
    nodes,
    whole_constants,
    whole_number,
    with_graph,
)

IS_LONG = "foundry_is_long"
"""The new input: bool without dimensions, whether the table for long conversations is used."""

_MEASURING = (b"Shape", b"Gather", b"Cast", b"Squeeze", b"ReduceMax", b"ReduceSum")  # from the mask to its length
_BOOL = 9  # of TensorProto.DataType


def short_length(model: bytes, mask: str) -> int | None:
    """How many tokens a conversation may have for the short table; None when the graph does not branch by the length.

    `mask`: the name of the attention mask.
    """
    graph = graph_of(model)
    found = graph and _find(graph, mask.encode())
    return found[1] if found else None


def with_chosen_table(model: bytes, mask: str) -> tuple[bytes, int] | None:
    """`model` with the input `IS_LONG`, and its `short_length`; None when it has branches of another kind, or none."""
    graph = graph_of(model)
    found = graph and _find(graph, mask.encode())
    if not found:
        return None
    branches, length = found
    edited = with_graph(model, lambda same: _edit(same, branches))
    return (edited, length) if edited else None


def _edit(graph: bytes, branches: list[Node]) -> bytes:
    parts, end = [], 0
    for node in branches:
        condition = next(part for part in fields(graph, node.start, node.end) if part.number == INPUT)
        edited = graph[node.start : condition.tag] + message(INPUT, IS_LONG.encode()) + graph[condition.end : node.end]
        parts += [graph[end : node.tag], message(NODE, edited)]
        end = node.end
    return b"".join((*parts, graph[end:], message(GRAPH_INPUT, _declaration())))


def _find(graph: bytes, mask: bytes) -> tuple[list[Node], int] | None:
    """The branches, all by the same condition, and the number of tokens above which that holds."""
    every = nodes(graph)
    producers = {output: node for node in every for output in node.outputs}
    branches = [node for node in every if node.operator == b"If"]
    conditions = {name for node in branches for name in node.inputs}
    condition = producers.get(conditions.pop()) if len(conditions) == 1 else None
    if condition is None or condition.operator != b"Greater" or not _is_length(condition.inputs[0], mask, producers):
        return None
    limit = whole_constants(graph).get(condition.inputs[1])
    return (branches, limit) if limit is not None and limit > 0 else None


def _is_length(name: bytes, mask: bytes, producers: dict[bytes, Node]) -> bool:
    while name != mask:
        node = producers.get(name)
        if node is None or node.operator not in _MEASURING or not node.inputs:
            return False
        name = node.inputs[0]
    return True


def _declaration() -> bytes:
    return message(1, IS_LONG.encode()) + message(2, message(1, whole_number(1, _BOOL) + message(2, b"")))

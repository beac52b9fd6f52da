"""The ONNX graph of a scripted model: it remembers every token id in its KV cache and looks the next one up in a table.

The ids are kept as floats in `present.0.key` (and again in `present.0.value`, which GenAI wants to exist), so nothing
but the inputs decides the reply: rewinding, prefill in pieces and several generators work as with a real model. A row
of `attention_mask` says how long the row is, past and new tokens together; the cache may therefore grow (`past` as long
as the past) or be shared (`past` and `present` the same memory of `max_length` tokens), and rows of a batch may have
different pasts. A position that should be in the cache but was never written ends the reply at once, so that a caller
who skips a token notices. Standard operators only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 17
_IR_VERSION = 8
_BUSY_ROWS = 16
_BUSY_WIDTH = 256
_BUSY_PRODUCTS_PER_UNIT = 48


@dataclass(frozen=True)
class Script:
    """`table[k][i]` is i tokens behind the k-th marker, row 0 is for a text without one; `periods[k]` wraps i."""

    table: list[list[int]]
    periods: list[int]
    markers: range
    vocabulary_size: int
    logit: float
    busy: int


class _Graph:
    """Collects nodes and constants; every method returns the name of a value."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def dimension(self, value: str, axis: int) -> str:
        return self.op("Gather", self.op("Shape", value), self.constant(axis))

    def count_up_to(self, limit: str) -> str:
        return self.op("Range", self.constant(0), limit, self.constant(1))

    def count_along(self, flags: str) -> str:
        return self.op("CumSum", flags, self.constant(1))


def write_graph(path: Path, script: Script) -> None:
    """Write the model file."""
    graph = _Graph()
    length = graph.op("ReduceSum", "attention_mask", graph.constant([1]), keepdims=1)
    new_count = graph.dimension("input_ids", 1)
    start = graph.op("Sub", length, new_count)
    seen = _remember(graph, start, new_count)
    following = _look_up(graph, script, seen, length, start, new_count)
    _score(graph, script, following)
    proto = helper.make_graph(graph.nodes, "scripted", _inputs(), _outputs(script.vocabulary_size), graph.constants)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _remember(graph: _Graph, start: str, new_count: str) -> str:
    """Put the new ids behind the past ones and write the cache; the result is [batch, cache length], float."""
    past = graph.op("Squeeze", "past_key_values.0.key", graph.constant([1, 3]))
    past_size = graph.dimension(past, 1)
    size = graph.op("Max", past_size, graph.dimension("attention_mask", 1))
    missing = graph.op("Unsqueeze", graph.op("Sub", size, past_size), graph.constant([0]))
    batch = graph.op("Unsqueeze", graph.dimension(past, 0), graph.constant([0]))
    empty = graph.op("Expand", graph.constant(0.0), graph.op("Concat", batch, missing, axis=0))
    room = graph.op("Concat", past, empty, axis=1)
    relative = graph.op("Sub", graph.count_up_to(size), start)
    last = graph.op("Sub", new_count, graph.constant(1))
    nearest = graph.op("Max", graph.op("Min", relative, last), graph.constant(0))
    new = graph.op("Cast", graph.op("GatherElements", "input_ids", nearest, axis=1), to=TensorProto.FLOAT)
    is_new = graph.op("Equal", relative, nearest)
    seen = graph.op("Where", is_new, new, room)
    for output in ("present.0.key", "present.0.value"):
        graph.op("Unsqueeze", seen, graph.constant([1, 3]), output=output)
    return seen


def _look_up(graph: _Graph, script: Script, seen: str, length: str, start: str, new_count: str) -> str:
    """The token that follows each new position: [batch, new tokens]."""
    positions = graph.count_up_to(graph.dimension(seen, 1))
    is_used = graph.op("Less", positions, length)
    is_marker = _find_markers(graph, script.markers, seen, is_used)
    turns = graph.count_along(is_marker)
    marker_of_turn = _marker_positions(graph, is_marker, turns, positions)
    queries = graph.op("Max", graph.op("Add", start, graph.count_up_to(new_count)), graph.constant(0))
    turn = graph.op("GatherElements", turns, queries, axis=1)
    since = graph.op("Sub", queries, graph.op("GatherElements", marker_of_turn, turn, axis=1))
    is_whole = _is_whole(graph, seen, is_used, queries)
    row = graph.op("Mul", graph.op("Min", turn, graph.constant(len(script.table) - 1)), is_whole)
    wrapped = graph.op("Mod", since, graph.op("Gather", graph.constant(script.periods), row))
    width = len(script.table[0])
    column = graph.op("Min", wrapped, graph.constant(width - 1))
    cell = graph.op("Add", graph.op("Mul", row, graph.constant(width)), column)
    return graph.op("Gather", graph.constant(np.array(script.table).reshape(-1)), cell)


def _is_whole(graph: _Graph, seen: str, is_used: str, queries: str) -> str:
    """1 where the cache has an id at every position up to a query, 0 behind a hole; id 0 never occurs in a text."""
    is_empty = graph.op("Equal", seen, graph.constant(0.0))
    holes = graph.count_along(graph.op("Cast", graph.op("And", is_used, is_empty), to=TensorProto.INT64))
    before = graph.op("GatherElements", holes, queries, axis=1)
    return graph.op("Cast", graph.op("Equal", before, graph.constant(0)), to=TensorProto.INT64)


def _find_markers(graph: _Graph, markers: range, seen: str, is_used: str) -> str:
    """1 where a marker stands, else 0."""
    above = graph.op("GreaterOrEqual", seen, graph.constant(float(markers.start)))
    below = graph.op("Less", seen, graph.constant(float(markers.stop)))
    return graph.op("Cast", graph.op("And", graph.op("And", above, below), is_used), to=TensorProto.INT64)


def _marker_positions(graph: _Graph, is_marker: str, turns: str, positions: str) -> str:
    """The position of the n-th marker at index n; all other positions write 0 to index 0."""
    index = graph.op("Mul", turns, is_marker)
    update = graph.op("Mul", positions, is_marker)
    room = graph.op("Concat", update, graph.op("Slice", update, *map(graph.constant, ([0], [1], [1]))), axis=1)
    zeros = graph.op("Mul", room, graph.constant(0))
    return graph.op("ScatterElements", zeros, index, update, axis=1)


def _score(graph: _Graph, script: Script, following: str) -> None:
    """Logits: the chosen token far ahead, the others in the order of their ids, so that nothing is a tie."""
    size = script.vocabulary_size
    one_hot = graph.op("OneHot", following, graph.constant([size]), graph.constant([0.0, script.logit]), axis=-1)
    background = graph.constant(np.linspace(0.0, -1.0, size, dtype=np.float32))
    if script.busy:
        background = graph.op("Add", background, _burn(graph, script.busy))
    graph.op("Add", one_hot, background, output="logits")


def _burn(graph: _Graph, units: int) -> str:
    """Multiply a matrix per new token by another one, again and again; what is left is too small to count."""
    ids = graph.op("Unsqueeze", graph.op("Cast", "input_ids", to=TensorProto.FLOAT), graph.constant([2, 3]))
    matrix = graph.op("Expand", ids, graph.constant([1, 1, _BUSY_ROWS, _BUSY_WIDTH]))
    weight = graph.op("Expand", graph.constant(1.0 / _BUSY_WIDTH), graph.constant([_BUSY_WIDTH, _BUSY_WIDTH]))
    rounds = graph.constant(units * _BUSY_PRODUCTS_PER_UNIT)
    product = graph.op("Loop", rounds, "", matrix, body=_burn_body(weight))
    mean = graph.op("ReduceMean", product, axes=[2, 3], keepdims=0)
    tiny = graph.op("Mul", mean, graph.constant(1e-30))
    return graph.op("Unsqueeze", tiny, graph.constant([2]))


def _burn_body(weight: str) -> onnx.GraphProto:
    shape: list[int | str] = ["batch_size", "sequence_length", _BUSY_ROWS, _BUSY_WIDTH]
    inputs = [_value("round", [], TensorProto.INT64), _value("go_on", [], TensorProto.BOOL), _value("matrix", shape)]
    nodes = [
        helper.make_node("Identity", ["go_on"], ["go_on_out"]),
        helper.make_node("MatMul", ["matrix", weight], ["matrix_out"]),
    ]
    outputs = [_value("go_on_out", [], TensorProto.BOOL), _value("matrix_out", shape)]
    return helper.make_graph(nodes, "burn", inputs, outputs)


def _inputs() -> list[onnx.ValueInfoProto]:
    cache: list[int | str] = ["batch_size", 1, "past_sequence_length", 1]
    return [
        _value("input_ids", ["batch_size", "sequence_length"], TensorProto.INT64),
        _value("attention_mask", ["batch_size", "total_sequence_length"], TensorProto.INT64),
        _value("past_key_values.0.key", cache),
        _value("past_key_values.0.value", cache),
    ]


def _outputs(vocabulary_size: int) -> list[onnx.ValueInfoProto]:
    cache: list[int | str] = ["batch_size", 1, "cache_length", 1]
    return [
        _value("logits", ["batch_size", "sequence_length", vocabulary_size]),
        _value("present.0.key", cache),
        _value("present.0.value", cache),
    ]


def _value(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))

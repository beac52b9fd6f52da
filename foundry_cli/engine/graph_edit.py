"""Reads and writes the parts of an ONNX graph that are edited in memory; weights in other files stay where they are.

Format: onnx.proto, in the wire format of Protocol Buffers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

GRAPH, OPERATOR_SET = 7, 8  # of a model
NODE, INITIALIZER, GRAPH_INPUT = 1, 5, 11  # of a graph
INPUT, OUTPUT, OPERATOR, ATTRIBUTE, DOMAIN = 1, 2, 4, 5, 7  # of a node
RUNTIME_DOMAIN, OWN_DOMAIN = b"com.microsoft", b"foundry"  # of operators
_ATTRIBUTE_NAME, _ATTRIBUTE_FLOAT, _ATTRIBUTE_VALUE, _ATTRIBUTE_TYPE = 1, 2, 3, 20  # the third of whole numbers
_ATTRIBUTE_TENSOR = 5
_FLOAT, _INT = 1, 2  # of AttributeProto.AttributeType
_TENSOR_KIND, _TENSOR_NUMBERS, _TENSOR_NAME, _TENSOR_BYTES = 2, 7, 8, 9
_INT64 = 7  # of TensorProto.DataType
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _ELEMENT_TYPE, _SHAPE = 1, 2, 1, 1, 2  # of a value, of its type
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """A field of a message: its number, where its tag begins, its bytes, and its value when it is a whole number."""

    number: int
    tag: int
    start: int
    end: int
    value: int | None


@dataclass
class Node:
    """A node of a graph."""

    tag: int  # where it begins
    start: int  # of its bytes, without tag and length
    end: int
    operator: bytes = b""
    domain: bytes = b""
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    numbers: dict[bytes, float] = field(default_factory=dict)  # attributes; NaN: not a number but something else


def with_graph(model: bytes, edit: Callable[[bytes], bytes | None]) -> bytes | None:
    """`model` with its graph edited; None when `edit` gives None, or when the bytes are no model."""
    try:
        graph = next(part for part in fields(model, 0, len(model)) if part.number == GRAPH)
        edited = edit(model[graph.start : graph.end])
    except (StopIteration, IndexError, ValueError):
        return None
    if edited is None:
        return None
    return b"".join((model[: graph.tag], message(GRAPH, edited), model[graph.end :]))


def graph_of(model: bytes) -> bytes | None:
    """The graph of `model`; None when the bytes are no model."""
    try:
        graph = next(part for part in fields(model, 0, len(model)) if part.number == GRAPH)
    except (StopIteration, IndexError, ValueError):
        return None
    return model[graph.start : graph.end]


def with_own_domain(model: bytes) -> bytes:
    """`model`, which may have nodes of our domain then."""
    return model + message(OPERATOR_SET, message(1, OWN_DOMAIN) + whole_number(2, 1))


def nodes(graph: bytes) -> list[Node]:
    """The nodes, in their order."""
    return [_node(graph, part) for part in fields(graph, 0, len(graph)) if part.number == NODE]


def _node(graph: bytes, place: Field) -> Node:
    node = Node(place.tag, place.start, place.end)
    for part in fields(graph, place.start, place.end):
        data = graph[part.start : part.end]
        if part.number == INPUT:
            node.inputs.append(data)
        elif part.number == OUTPUT:
            node.outputs.append(data)
        elif part.number == OPERATOR:
            node.operator = data
        elif part.number == DOMAIN:
            node.domain = data
        elif part.number == ATTRIBUTE:
            node.numbers.update(_number_attribute(data))
    return node


def _number_attribute(attribute: bytes) -> dict[bytes, float]:
    name, values, kind = b"", {_INT: math.nan, _FLOAT: math.nan}, 0
    for part in fields(attribute, 0, len(attribute)):
        if part.number == _ATTRIBUTE_NAME:
            name = attribute[part.start : part.end]
        elif part.number == _ATTRIBUTE_TYPE:
            kind = part.value or 0
        elif part.number == _ATTRIBUTE_VALUE and part.value is not None:
            values[_INT] = part.value - (part.value >> 63 << 64)  # in two's complement
        elif part.number == _ATTRIBUTE_FLOAT and part.end - part.start == 4:
            (values[_FLOAT],) = struct.unpack("<f", attribute[part.start : part.end])
    return {name: values.get(kind, math.nan)}


def whole_constants(graph: bytes) -> dict[bytes, int]:
    """Names and values of the constants that are one whole number of 64 bits."""
    named: list[tuple[bytes, Field]] = []
    for part in fields(graph, 0, len(graph)):
        if part.number == INITIALIZER and (name := _first(graph, part, _TENSOR_NAME)):
            named.append((graph[name.start : name.end], part))
        elif part.number == NODE and (node := _node(graph, part)).operator == b"Constant":
            value = _first(graph, part, ATTRIBUTE, _ATTRIBUTE_TENSOR)
            named += [(node.outputs[0], value)] if value else []
    values = {name: _whole_value(graph, tensor) for name, tensor in named}
    return {name: value for name, value in values.items() if value is not None}


def _whole_value(graph: bytes, tensor: Field) -> int | None:
    kind = _first(graph, tensor, _TENSOR_KIND)
    raw, listed = _first(graph, tensor, _TENSOR_BYTES), _first(graph, tensor, _TENSOR_NUMBERS)
    if kind is None or kind.value != _INT64:
        return None
    if raw and raw.end - raw.start == 8:
        return int.from_bytes(graph[raw.start : raw.end], "little", signed=True)
    if listed is None or listed.start == listed.end:
        return None
    if listed.value is not None:
        return listed.value
    value, end = _read_varint(graph, listed.start)
    return value if end == listed.end else None


def input_types(graph: bytes) -> dict[bytes, int]:
    """Names and types (of TensorProto.DataType) of the inputs; 0 for what is no tensor."""
    types = {}
    for name, value in _inputs(graph):
        kind = _first(graph, value, _VALUE_TYPE, _TENSOR_TYPE, _ELEMENT_TYPE)
        types[name] = (kind.value or 0) if kind else 0
    return types


def last_sizes(graph: bytes) -> dict[bytes, int]:
    """Names and last dimensions of the inputs, of those for which the graph says a number."""
    sizes = {}
    for name, value in _inputs(graph):
        shape = _first(graph, value, _VALUE_TYPE, _TENSOR_TYPE, _SHAPE)
        dimensions = [part for part in fields(graph, shape.start, shape.end) if part.number == 1] if shape else []
        size = _first(graph, dimensions[-1], 1) if dimensions else None
        if size and size.value is not None:
            sizes[name] = size.value
    return sizes


def _inputs(graph: bytes) -> list[tuple[bytes, Field]]:
    values = [value for value in fields(graph, 0, len(graph)) if value.number == GRAPH_INPUT]
    named = [(_first(graph, value, _VALUE_NAME), value) for value in values]
    return [(graph[name.start : name.end], value) for name, value in named if name]


def _first(data: bytes, place: Field, *path: int) -> Field | None:
    """The first field with the number `path[0]` in `place`, in that the first with `path[1]`, and so on."""
    found: Field | None = place
    for number in path:
        found = next((part for part in fields(data, found.start, found.end) if part.number == number), None) if found else None
    return found


def message(number: int, data: bytes) -> bytes:
    """A field that has a length."""
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def whole_number(number: int, value: int) -> bytes:
    """A field that is a whole number, not negative."""
    return _varint(number << 3 | _VARINT) + _varint(value)


def fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message between `start` and `end`. Raises ValueError or IndexError when the bytes do not fit."""
    while start < end:
        tag_start = start
        tag, start = _read_varint(data, start)
        kind, length, value, first = tag & 7, 0, None, start
        if kind == _BYTES:
            length, start = _read_varint(data, start)
            first = start
        elif kind == _VARINT:
            value, start = _read_varint(data, start)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("unknown kind of field")
        start += length
        if start > end:
            raise ValueError("a part of it is missing")
        yield Field(tag >> 3, tag_start, first, start, value)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7

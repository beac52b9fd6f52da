"""Makes a decoder compute its logits for the last new token only.

Graphs compute them for every token of a prompt, although only the last ones are looked at. The product with the vocabulary
is a quarter of the work of a small model. A `Gather` in front of it leaves the last position; nothing else is changed. The
file on disk stays as it is: the graph is edited in memory. Format: onnx.proto, in the wire format of Protocol Buffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH = 7  # of a model
_NODE, _INITIALIZER = 1, 5  # of a graph
_INPUT, _OUTPUT, _OPERATOR = 1, 2, 4  # of a node
_PRODUCTS = (b"MatMul", b"MatMulNBits", b"Gemm")
_ELEMENTWISE = (b"Cast", b"Identity", b"Mul", b"Div", b"Tanh", b"Add")  # what may follow the product: scale, cap, bias
_INDEX, _LAST = b"foundry_last_index", b"foundry_last_position"
_INT64 = 7  # of TensorProto.DataType
_ATTRIBUTE_INT = 2  # of AttributeProto.AttributeType


@dataclass
class _Node:
    start: int  # of its bytes in the graph, without tag and length
    end: int
    operator: bytes = b""
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)


def with_last_position(model: bytes, logits: str) -> bytes | None:
    """`model` with its output `logits` of the shape (rows, 1, vocabulary); None when its end is not of the usual kind."""
    try:
        graph = next(part for part in _fields(model, 0, len(model)) if part[0] == _GRAPH)
        _, tag, first, last = graph
        edited = _edit(model[first:last], logits.encode())
    except (StopIteration, IndexError, ValueError):
        return None
    if edited is None:
        return None
    return b"".join((model[:tag], _field(_GRAPH, edited), model[last:]))


def _edit(graph: bytes, logits: bytes) -> bytes | None:
    nodes = [_node(graph, first, last) for number, _, first, last in _fields(graph, 0, len(graph)) if number == _NODE]
    producers = {output: node for node in nodes for output in node.outputs}
    node = producers.get(logits)
    while node and node.operator in _ELEMENTWISE:
        node = next((producers[name] for name in node.inputs if name in producers), None)
    if node is None or node.operator not in _PRODUCTS or node.inputs[0] not in producers:
        return None
    tag = next(start for number, start, first, _ in _fields(graph, 0, len(graph)) if number == _NODE and first == node.start)
    product = _with_input(graph[node.start : node.end], node.inputs[0])
    added = _field(_NODE, _gather(node.inputs[0])) + _field(_NODE, product) + _field(_INITIALIZER, _last_index())
    return graph[:tag] + added + graph[node.end :]


def _node(graph: bytes, start: int, end: int) -> _Node:
    node = _Node(start, end)
    for number, _, first, last in _fields(graph, start, end):
        if number == _INPUT:
            node.inputs.append(graph[first:last])
        elif number == _OUTPUT:
            node.outputs.append(graph[first:last])
        elif number == _OPERATOR:
            node.operator = graph[first:last]
    return node


def _with_input(node: bytes, name: bytes) -> bytes:
    """The node with the last position in place of its first input `name`."""
    for number, tag, first, last in _fields(node, 0, len(node)):
        if number == _INPUT and node[first:last] == name:
            return node[:tag] + _field(_INPUT, _LAST) + node[last:]
    raise ValueError("the node has lost an input")


def _gather(name: bytes) -> bytes:
    axis = _field(1, b"axis") + _number(3, 1) + _number(20, _ATTRIBUTE_INT)
    names = _field(_INPUT, name) + _field(_INPUT, _INDEX) + _field(_OUTPUT, _LAST)
    return names + _field(3, _LAST) + _field(_OPERATOR, b"Gather") + _field(5, axis)


def _last_index() -> bytes:
    """A tensor of the shape (1,) that holds -1."""
    return _number(1, 1) + _number(2, _INT64) + _field(8, _INDEX) + _field(9, struct.pack("<q", -1))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, start of the tag, start and end of the bytes, of each field that has a length."""
    while start < end:
        tag_start = start
        tag, start = _read_varint(data, start)
        kind, length = tag & 7, 0
        if kind == _BYTES:
            length, start = _read_varint(data, start)
        elif kind == _VARINT:
            _, start = _read_varint(data, start)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("unknown kind of field")
        if start + length > end:
            raise ValueError("a part of it is missing")
        if kind == _BYTES:
            yield tag >> 3, tag_start, start, start + length
        start += length


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7

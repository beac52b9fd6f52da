"""A look at the structure of an ONNX file before the native library parses it.

It walks the nested messages without reading any weights. Found are files that were cut off, and tensors whose data are
said to be elsewhere: only a plain file in the same directory that is long enough will do. Format: onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

from foundry_cli.errors import ModelInvalidError

_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Message kind: field number: kind of the message in it."""

_OPERATOR = 4  # number of the field `op_type` of a node
_MOST_FIELDS = 5_000_000
_DEEPEST = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

CheckFile = Callable[[str], Path]


def check_onnx_file(path: Path, check_file: CheckFile) -> frozenset[str]:
    """The kinds of operators in it. Raises `ModelInvalidError` unless `path` is whole.

    `check_file` does the same for a file name found in it.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            scan = _Scan(data)
            scan.walk("model", 0, len(data), 0)
    except (OSError, ValueError, IndexError) as error:
        raise ModelInvalidError(f"{path} is damaged: it is not an ONNX model ({error}).", hint=_AGAIN) from error
    if not scan.has_graph:
        raise ModelInvalidError(f"{path} is damaged: there is no graph in it.", hint=_AGAIN)
    for name, end in scan.external.items():
        if (size := check_file(name).stat().st_size) < end:
            raise ModelInvalidError(
                f"{path.with_name(name)} is damaged: {path.name} needs {end} bytes of it, {size} are there.", hint=_AGAIN
            )
    return frozenset(operator.decode("utf-8", "replace") for operator in scan.operators)


_AGAIN = "Copy or download the model again."


class _Scan:
    """One pass over a file. Raises ValueError or IndexError when the bytes do not fit together."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._fields_left = _MOST_FIELDS
        self.has_graph = False
        self.external: dict[str, int] = {}  # file name: how many bytes it must have
        self.operators: set[bytes] = set()

    def walk(self, kind: str, start: int, end: int, depth: int) -> None:
        """Visit the message of `kind` between `start` and `end`, and those in it."""
        if depth > _DEEPEST:
            raise ValueError("too deeply nested")
        self.has_graph |= kind == "graph"
        children = _CHILDREN[kind]
        entries: dict[str, str] = {}
        for number, first, last in self._messages(start, end):
            child = children.get(number)
            if kind == "node" and number == _OPERATOR:
                self.operators.add(self._data[first:last])
            elif child == "entry":
                entries.update(self._entry(first, last))
            elif child is not None:
                self.walk(child, first, last, depth + 1)
        if entries:
            name, size = entries.get("location", ""), int(entries.get("offset", 0)) + int(entries.get("length", 0))
            self.external[name] = max(size, self.external.get(name, 0))

    def _entry(self, start: int, end: int) -> dict[str, str]:
        texts = {number: self._data[first:last].decode() for number, first, last in self._messages(start, end)}
        return {texts.get(1, ""): texts.get(2, "")}

    def _messages(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Number, start and end of each field that has a length."""
        while start < end:
            self._fields_left -= 1
            tag, start = self._varint(start)
            kind = tag & 7
            length = 0
            if kind == _BYTES:
                length, start = self._varint(start)
            elif kind == _VARINT:
                _, start = self._varint(start)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise ValueError("unknown kind of field")
            if start + length > end or self._fields_left < 0:
                raise ValueError("a part of it is missing")
            if kind == _BYTES:
                yield tag >> 3, start, start + length
            start += length

    def _varint(self, start: int) -> tuple[int, int]:
        value = self._data[start]
        if value < 0x80:
            return value, start + 1
        value &= 0x7F
        for index in range(1, 10):
            byte = self._data[start + index]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value, start + index + 1
        raise ValueError("a number without an end")

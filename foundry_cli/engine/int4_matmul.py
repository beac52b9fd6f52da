"""Lets a graph compute its products with weights of four bits by the kernels of `native/`, where they are built.

They give what `MatMulNBits` of ONNX Runtime gives with accuracy_level 4, but for the order in which floats are added, and
take a third of its time from a few rows on. The graph is edited in memory.
"""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

from foundry_cli.engine.graph_edit import (
    DOMAIN,
    INITIALIZER,
    NODE,
    OPERATOR,
    OPERATOR_SET,
    Node,
    fields,
    message,
    nodes,
    whole_number,
    with_graph,
)

logger = logging.getLogger("foundry.engine")

LIBRARY = Path(__file__).parent / "native" / "int4_matmul.so"
"""Built with the package where there is a compiler for it, see `scripts/build_native.py`."""

RUNTIME_KERNELS = "onnxruntime"
"""The name of what computes where they are not used."""

LARGEST_EDITED = 64 * 1024 * 1024
"""Bytes of a graph that is edited; a smaller one has its weights in other files."""

_DOMAIN, _OPERATOR = b"foundry", b"Int4MatMul"
_BLOCKS = (32, 64, 128, 256)
_ROUNDED_ROWS = 4  # the accuracy_level that allows rows to be rounded to eight bits
_TYPE, _NAME = 2, 8  # of a tensor
_FLOAT, _UINT8 = 1, 2  # of TensorProto.DataType
_INPUT_TYPES = {1: _UINT8, 2: _FLOAT, 3: _UINT8, 5: _FLOAT}  # weights, scales, zero points, bias


def kernel_name(library: Path = LIBRARY) -> str | None:
    """What the processor computes with: `avx512_vnni`, `avx2`; None when it has neither, or the library was not built."""
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError as error:
        logger.debug("no kernels of our own: %s", error)
        return None
    loaded.foundry_kernel_name.restype = ctypes.c_char_p
    name = loaded.foundry_kernel_name()
    return name.decode() if name else None


def with_int4_matmul(model: bytes) -> bytes | None:
    """`model` with `Int4MatMul` for every `MatMulNBits` that it can stand for; None when there is none."""
    edited = with_graph(model, _edit)
    return edited + message(OPERATOR_SET, message(1, _DOMAIN) + whole_number(2, 1)) if edited else None


def _edit(graph: bytes) -> bytes | None:
    types = _initializer_types(graph)
    parts, end = [], 0
    for node in nodes(graph):
        if _is_replaced(node, types):
            parts += [graph[end : node.tag], message(NODE, _renamed(graph[node.start : node.end]))]
            end = node.end
    return b"".join((*parts, graph[end:])) if parts else None


def _initializer_types(graph: bytes) -> dict[bytes, int]:
    types = {}
    for tensor in fields(graph, 0, len(graph)):
        if tensor.number == INITIALIZER:
            found = {part.number: part for part in fields(graph, tensor.start, tensor.end) if part.number in (_TYPE, _NAME)}
            if len(found) == 2:
                types[graph[found[_NAME].start : found[_NAME].end]] = found[_TYPE].value or 0
    return types


def _is_replaced(node: Node, types: dict[bytes, int]) -> bool:
    return (
        node.operator == b"MatMulNBits"
        and node.numbers.get(b"bits", 4) == 4
        and node.numbers.get(b"block_size") in _BLOCKS
        and node.numbers.get(b"accuracy_level") == _ROUNDED_ROWS
        and len(node.inputs) > 2
        and all(not name or types.get(name) == _INPUT_TYPES.get(index) for index, name in enumerate(node.inputs) if index)
    )


def _renamed(node: bytes) -> bytes:
    kept = [node[part.tag : part.end] for part in fields(node, 0, len(node)) if part.number not in (OPERATOR, DOMAIN)]
    return b"".join((*kept, message(OPERATOR, _OPERATOR), message(DOMAIN, _DOMAIN)))

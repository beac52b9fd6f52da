"""The memory for keys and values: one row per conversation, reserved for its longest and backed by what is written.

A tensor of the graph has the shape (rows, heads, tokens, head_size), so the tokens of a row lie in one run per head; the
system gives a page when it is first written to and takes those of forgotten tokens back.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foundry_cli.engine.decoder_graph import DecoderGraph

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
_PAGE = mmap.PAGESIZE


class Writer(Protocol):
    """A file to write to."""

    def write(self, data: memoryview, /) -> object:
        """Write all of it."""


class Reader(Protocol):
    """A file to read from."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer, as far as there are bytes; how many."""


class CacheRows:
    """`tensors[i]` is the memory of the i-th tensor of the graph, for all rows."""

    def __init__(self, graph: DecoderGraph, rows: int, capacity: int) -> None:
        """`capacity`: tokens per row. Raises `OSError` when so much cannot be reserved."""
        self.count = rows
        self.tensors: list[NDArray[Any]] = []
        self._maps: list[mmap.mmap] = []
        # Runs of whole pages: what is forgotten of one must not be on a page with the beginning of the next.
        sizes = [tensor.head_size * graph.cache_type.itemsize for tensor in graph.tensors]
        step = max(_PAGE // math.gcd(_PAGE, size) for size in sizes)  # powers of two, so it is a multiple of them all
        self.capacity = -(-capacity // step) * step
        for tensor in graph.tensors:
            shape = (rows, tensor.heads, self.capacity, tensor.head_size)
            memory = _reserve(int(np.prod(shape)) * graph.cache_type.itemsize)
            self._maps.append(memory)
            self.tensors.append(np.frombuffer(memory, dtype=graph.cache_type).reshape(shape))

    def copy(self, source: int, target: int, count: int) -> None:
        """The first `count` tokens of a row to another one."""
        for tensor in self.tensors:
            tensor[target, :, :count] = tensor[source, :, :count]

    def swap(self, first: int, second: int, first_count: int, second_count: int) -> None:
        """Exchange two rows with so many tokens each."""
        for tensor in self.tensors:
            kept = tensor[first, :, :first_count].copy()
            tensor[first, :, :second_count] = tensor[second, :, :second_count]
            tensor[second, :, :first_count] = kept
        self.forget(first, second_count)
        self.forget(second, first_count)

    def forget(self, row: int, keep: int) -> None:
        """Give the memory of all but the first `keep` tokens back."""
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        for tensor, memory in zip(self.tensors, self._maps, strict=True):
            _, heads, capacity, size = tensor.shape
            token_bytes = size * tensor.itemsize
            for head in range(heads):
                run = (row * heads + head) * capacity * token_bytes
                first = -(-(run + keep * token_bytes) // _PAGE) * _PAGE
                end = run + capacity * token_bytes
                if end > first:
                    memory.madvise(mmap.MADV_DONTNEED, first, end - first)

    def size(self, count: int) -> int:
        """Bytes that `write` writes for so many tokens."""
        return count * sum(int(tensor[0, :, 0].nbytes) for tensor in self.tensors)

    def write(self, row: int, count: int, stream: Writer) -> None:
        """The first `count` tokens of a row, tensor by tensor."""
        for tensor in self.tensors:
            stream.write(np.ascontiguousarray(tensor[row, :, :count]).data)

    def read(self, row: int, stored: int, count: int, stream: Reader) -> None:
        """The first `count` of `stored` tokens that `write` has written. Raises `EOFError` when some are missing."""
        for tensor, run in zip(self.tensors, self._runs(stored, stream), strict=False):
            tensor[row, :, :count] = run[:, :count]

    def _runs(self, stored: int, stream: Reader) -> Iterator[NDArray[Any]]:
        for tensor in self.tensors:
            _, heads, _, size = tensor.shape
            run = np.empty((heads, stored, size), dtype=tensor.dtype)
            if stream.readinto(run.data.cast("B")) != run.nbytes:
                raise EOFError("the file is shorter than it says")
            yield run


def _reserve(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # else a short conversation would take 2 MiB per head and layer
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory

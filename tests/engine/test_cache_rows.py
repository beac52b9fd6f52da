"""The memory of keys and values: what is in it stays where it belongs, and what is forgotten is given back."""

from __future__ import annotations

import ctypes
import io
import mmap
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.decoder_graph import CacheTensor, DecoderGraph

PAGE = mmap.PAGESIZE
ROWS, CAPACITY = 4, 100
CLEAN = pytest.mark.skipif(sys.platform != "linux", reason="other systems keep what was forgotten")


def graph_of(*sizes: int, heads: int = 2, cache_type: type = np.float32) -> DecoderGraph:
    """A graph with keys and values of these head sizes, one tensor each."""
    tensors = tuple(CacheTensor(f"past{i}", f"present{i}", heads, size) for i, size in enumerate(sizes))
    integer, real = np.dtype(np.int64), np.dtype(np.float32)
    return DecoderGraph("ids", "mask", None, "logits", tensors, np.dtype(cache_type), integer, real)


# Of whole pages, of parts of pages, larger than a page, and such that no page holds a whole number of tokens.
SHAPES = [
    graph_of(1, 1), graph_of(64, 64), graph_of(80, 80), graph_of(96, 96, cache_type=np.float16), graph_of(96, 96, heads=3),
    graph_of(256, 256), graph_of(2048, 2048), graph_of(7, 13, heads=3), graph_of(576, 64, heads=1, cache_type=np.float16),
]  # fmt: skip
each_shape = pytest.mark.parametrize("graph", SHAPES, ids=lambda graph: "-".join(str(t.head_size) for t in graph.tensors))


def fill(rows: CacheRows, row: int, count: int, seed: int) -> list[NDArray[np.float32]]:
    """Write `count` tokens into a row; what was written."""
    random = np.random.default_rng(seed)
    written = []
    for tensor in rows.tensors:
        values = random.integers(1, 1000, (tensor.shape[1], count, tensor.shape[3])).astype(tensor.dtype)
        tensor[row, :, :count] = values
        written.append(values)
    return written


def holds(rows: CacheRows, row: int, written: list[NDArray[np.float32]], count: int | None = None) -> bool:
    return all(
        np.array_equal(tensor[row, :, : values[:, :count].shape[1]], values[:, :count])
        for tensor, values in zip(rows.tensors, written, strict=True)
    )


def is_clean(rows: CacheRows, row: int) -> bool:
    return not any(tensor[row].any() for tensor in rows.tensors)


def resident(rows: CacheRows) -> int:
    """Bytes of the rows that have memory, by mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    total = 0
    for tensor in rows.tensors:
        pages = -(-tensor.nbytes // PAGE)
        found = (ctypes.c_ubyte * pages)()
        assert libc.mincore(ctypes.c_void_p(tensor.ctypes.data), ctypes.c_size_t(tensor.nbytes), found) == 0
        total += sum(value & 1 for value in found) * PAGE
    return total


@each_shape
def test_there_is_place_for_all_tokens_and_no_more_than_needed(graph: DecoderGraph) -> None:
    rows = CacheRows(graph, ROWS, CAPACITY)
    assert rows.count == ROWS
    assert rows.capacity >= CAPACITY
    for tensor, described in zip(rows.tensors, graph.tensors, strict=True):
        assert tensor.shape == (ROWS, described.heads, rows.capacity, described.head_size)
        assert tensor.dtype == graph.cache_type


@each_shape
@pytest.mark.parametrize("keep", [0, 1, 37, CAPACITY])
def test_forgetting_leaves_the_other_rows_and_what_is_kept(graph: DecoderGraph, keep: int) -> None:
    rows = CacheRows(graph, ROWS, CAPACITY)
    written = [fill(rows, row, CAPACITY, seed=row) for row in range(ROWS)]
    for row in (1, 2):
        rows.forget(row, keep)
    assert holds(rows, 0, written[0])
    assert holds(rows, 3, written[3])
    assert all(holds(rows, row, written[row], keep) for row in (1, 2))


@CLEAN
@each_shape
def test_what_is_forgotten_is_given_back(graph: DecoderGraph) -> None:
    rows = CacheRows(graph, ROWS, CAPACITY)
    before = resident(rows)
    for row in range(ROWS):
        fill(rows, row, CAPACITY, seed=row)
    assert resident(rows) > before
    for row in range(ROWS):
        rows.forget(row, 0)
    assert resident(rows) == before == 0
    assert all(is_clean(rows, row) for row in range(ROWS))


@CLEAN
@pytest.mark.parametrize("graph", [graph_of(64, 64), graph_of(128, 128, cache_type=np.float16), graph_of(96, 96)])
def test_a_thousand_tokens_take_little_more_than_their_size(graph: DecoderGraph) -> None:
    rows = CacheRows(graph, ROWS, 4000)
    fill(rows, 1, 3000, seed=1)
    rows.forget(1, 1000)
    assert resident(rows) <= 1.1 * 1000 * graph.bytes_per_token


@pytest.mark.slow
@CLEAN
def test_memory_that_is_only_reserved_costs_nothing() -> None:
    rows = CacheRows(graph_of(128, 128, heads=8), 32, 1 << 17)
    assert resident(rows) == 0
    rows.forget(5, 0)
    assert resident(rows) == 0


@each_shape
def test_copy(graph: DecoderGraph) -> None:
    rows = CacheRows(graph, ROWS, CAPACITY)
    written = fill(rows, 2, 80, seed=1)
    rows.copy(2, 0, 33)
    assert holds(rows, 0, written, 33)
    assert holds(rows, 2, written)
    assert not any(tensor[0, :, 33:].any() for tensor in rows.tensors)


@each_shape
@pytest.mark.parametrize(("first_count", "second_count"), [(50, 20), (20, 50), (7, 0), (0, CAPACITY), (0, 0)])
def test_swap(graph: DecoderGraph, first_count: int, second_count: int) -> None:
    rows = CacheRows(graph, ROWS, CAPACITY)
    bystanders = [fill(rows, row, CAPACITY, seed=row) for row in (0, 2)]
    first, second = fill(rows, 1, first_count, seed=5), fill(rows, 3, second_count, seed=6)
    rows.swap(1, 3, first_count, second_count)
    assert holds(rows, 3, first)
    assert holds(rows, 1, second)
    assert holds(rows, 0, bystanders[0])
    assert holds(rows, 2, bystanders[1])


@CLEAN
def test_a_swap_takes_no_more_memory() -> None:
    rows = CacheRows(graph_of(64, 64), ROWS, 4000)
    fill(rows, 0, 4000, seed=1)
    fill(rows, 3, 16, seed=2)
    before = resident(rows)
    rows.swap(0, 3, 4000, 16)
    assert resident(rows) == before


@each_shape
@pytest.mark.parametrize("count", [0, 1, 37, 80])
def test_what_was_written_can_be_read(graph: DecoderGraph, count: int) -> None:
    rows = CacheRows(graph, ROWS, CAPACITY)
    written = fill(rows, 1, 80, seed=3)
    stream = io.BytesIO()
    rows.write(1, 80, stream)
    assert stream.tell() == 80 * graph.bytes_per_token
    stream.seek(0)
    rows.read(3, 80, count, stream)
    assert holds(rows, 3, written, count)
    assert not any(tensor[3, :, count:].any() for tensor in rows.tensors)
    assert stream.read() == b""


@each_shape
def test_a_stream_that_ends_too_early(graph: DecoderGraph) -> None:
    rows = CacheRows(graph, ROWS, CAPACITY)
    fill(rows, 1, 80, seed=3)
    bystander = fill(rows, 2, CAPACITY, seed=4)
    stream = io.BytesIO()
    rows.write(1, 80, stream)
    for size in (0, 1, stream.tell() - 1):
        with pytest.raises(EOFError):
            rows.read(3, 80, 80, io.BytesIO(stream.getvalue()[:size]))
    assert holds(rows, 2, bystander)


def test_too_much_memory_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError):
        CacheRows(graph_of(128, heads=8), 1 << 10, 1 << 34)

"""The loop of a worker for embeddings, with a model that only counts: whose turn it is, cancellation, messages."""

from __future__ import annotations

import base64
import io
import queue
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from foundry_cli.engine.embedding_form import Pooling, States
from foundry_cli.engine.embedding_job import MOST_ROWS
from foundry_cli.engine.embedding_loop import EmbeddingWorker
from foundry_cli.engine.embedding_runtime import EmbeddingRuntime
from foundry_cli.engine.frames import Frame, FrameReader
from foundry_cli.engine.hidden_states import PIECE_TOKENS
from foundry_cli.engine.messages import EmbeddingVectors, read_item
from foundry_cli.errors import EngineError, InvalidRequestError


class CountingModel:
    """Its vectors are the number of tokens; `passes` are the lengths of the rows of each."""

    size = 1
    can_pad = True
    can_continue = True

    def __init__(self, on_pass: Callable[[], object]) -> None:
        self.passes: list[list[int]] = []
        self._on_pass = on_pass

    def of_rows(self, rows: Sequence[Sequence[int]]) -> list[States]:
        self.passes.append([len(row) for row in rows])
        self._on_pass()
        if any(666 in row for row in rows):
            raise EngineError("The model failed to run: it is tired")
        return [np.full((len(row), 1), len(row), dtype=np.float32) for row in rows]

    def in_pieces(self, tokens: Sequence[int]) -> Iterator[States]:
        for start in range(0, len(tokens), PIECE_TOKENS):
            count = len(tokens[start : start + PIECE_TOKENS])
            self.passes.append([-count])
            self._on_pass()
            yield np.full((count, 1), len(tokens), dtype=np.float32)


class Sink(io.BytesIO):
    """Keeps the frames that are sent, and calls `on_end` when every request of `waiting` has its end."""

    def __init__(self, waiting: set[int], on_end: Callable[[], object]) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self._reader = FrameReader()
        self._waiting = waiting
        self._on_end = on_end

    def write(self, data: Any) -> int:
        for frame in self._reader.feed(data):
            self.frames.append(frame)
            if frame["op"] in ("embedded", "error"):
                self._waiting.discard(frame["id"])
        if not self._waiting:
            self._on_end()
        return len(data)


class Bench:
    """A worker in this thread. `then[n]` are frames that arrive during the n-th pass; the pipe ends when all is done."""

    def __init__(
        self, *frames: Frame, then: dict[int, list[Frame]] | None = None, clock: Callable[[], float] = lambda: 0
    ) -> None:
        self.model = CountingModel(self._arrive)
        self._then = then or {}
        self._inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        runtime = SimpleNamespace(
            states=self.model, form=SimpleNamespace(pooling=Pooling.last), name="embedding", kernels="none",
            files=SimpleNamespace(context_length=9999), encode=self._encode, check_dimensions=self._check,
            vector=lambda pooled, dimensions: pooled.vector().astype("<f4").tobytes(),
        )  # fmt: skip
        everything = [*frames, *(frame for arriving in self._then.values() for frame in arriving)]
        cancelled = {frame["id"] for frame in everything if frame["op"] == "cancel"}
        self._sink = Sink({frame["id"] for frame in everything} - cancelled, lambda: self._inbox.put(None))
        self._worker = EmbeddingWorker(cast(EmbeddingRuntime, runtime), self._inbox, self._sink, clock=clock)
        for frame in frames:
            self._inbox.put(frame)

    @staticmethod
    def _encode(entry: Any, name: str) -> list[int]:
        if not entry:
            raise InvalidRequestError(f"{name}: there is nothing in it.", param=name)
        return list(entry.encode() if isinstance(entry, str) else entry)

    @staticmethod
    def _check(dimensions: int | None) -> None:
        if dimensions == 7:
            raise InvalidRequestError("dimensions: not 7.", param="dimensions")

    def _arrive(self) -> None:
        for frame in self._then.get(len(self.model.passes), []):
            self._inbox.put(frame)

    def run(self) -> list[Frame]:
        """All frames that are sent until every request has its end, or was cancelled."""
        self._worker.run()
        return self._sink.frames


def embed(identity: int, *entries: Any, dimensions: int | None = None) -> Frame:
    return {"op": "embed", "id": identity, "input": list(entries), "dimensions": dimensions}


def vectors(frames: list[Frame], identity: int) -> dict[int, float]:
    found = {}
    for frame in frames:
        if frame["op"] == "embeddings" and frame["id"] == identity:
            item = read_item(frame)
            assert isinstance(item, EmbeddingVectors)
            found.update(zip(item.places, np.frombuffer(item.data, "<f4").tolist(), strict=True))
    return found


def test_every_entry_gets_its_vector_wherever_it_was_computed() -> None:
    frames = Bench(embed(1, "ccc", "a", [1, 2], "x" * 700, "bb")).run()
    assert vectors(frames, 1) == {0: 3.0, 1: 1.0, 2: 2.0, 3: 700.0, 4: 2.0}
    assert frames[-1] == {"op": "embedded", "id": 1, "tokens": 3 + 1 + 2 + 700 + 2}
    assert all(len(base64.b64decode(frame["vectors"])) == 4 * len(frame["places"]) for frame in frames[:-1])


def test_a_pass_has_as_many_rows_as_fit() -> None:
    bench = Bench(embed(1, *["x" * 100] * 12, *["y" * 300] * 3, *["z"] * 50))
    bench.run()
    assert bench.model.passes == [[1] * MOST_ROWS, [1] * 18, [100] * 5, [100] * 5, [100] * 2, [300], [300], [300]]


def test_rows_are_computed_alone_where_the_graph_does_not_take_them_together() -> None:
    bench = Bench(embed(1, "a", "bb", "a"))
    bench.model.can_pad = False
    assert vectors(bench.run(), 1) == {0: 1.0, 1: 2.0, 2: 1.0}
    assert bench.model.passes == [[1], [1], [2]]


def test_a_short_request_does_not_wait_for_one_with_2000_texts() -> None:
    bench = Bench(embed(1, *["x" * 100] * 2000), then={3: [embed(2, "short")]})
    frames = bench.run()
    assert bench.model.passes.index([5]) == 4  # behind one more pass of the other
    ends = [frame["id"] for frame in frames if frame["op"] == "embedded"]
    assert ends == [2, 1]
    assert len(vectors(frames, 1)) == 2000


def test_two_requests_take_turns() -> None:
    bench = Bench(embed(1, *["x" * 400] * 3), embed(2, *["y" * 300] * 3))
    bench.run()
    assert bench.model.passes == [[400], [300]] * 3


def test_of_long_texts_only_one_is_in_memory_and_short_ones_pass() -> None:
    bench = Bench(embed(1, "x" * 1500), embed(2, "y" * 1400), embed(3, "z", "zz" * 250))
    frames = bench.run()
    assert [rows for rows in bench.model.passes if rows[0] < 0] == [[-512], [-512], [-476], [-512], [-512], [-376]]
    assert [frame["id"] for frame in frames if frame["op"] == "embedded"] == [3, 1, 2]


def test_a_cancelled_request_is_computed_no_further() -> None:
    bench = Bench(embed(1, *["x" * 400] * 50), then={2: [{"op": "cancel", "id": 1}, embed(2, "a")]})
    frames = bench.run()
    assert bench.model.passes == [[400], [400], [1]]
    assert frames[-1]["id"] == 2


def test_a_long_text_that_is_cancelled_makes_room_for_the_next() -> None:
    bench = Bench(embed(1, "x" * 5000), embed(2, "y" * 600), then={2: [{"op": "cancel", "id": 1}]})
    assert vectors(bench.run(), 2) == {0: 600.0}


def test_a_wrong_entry_is_refused_before_anything_is_computed() -> None:
    bench = Bench(embed(1, "a", ""), embed(2, "a", dimensions=7))
    frames = bench.run()
    assert [(frame["op"], frame["param"]) for frame in frames] == [("error", "dimensions"), ("error", "input[1]")]
    assert bench.model.passes == []


def test_a_fault_in_one_request_does_not_end_the_others() -> None:
    frames = Bench(embed(1, [666]), embed(2, "a"), embed(3, 5)).run()
    assert {frame["id"]: frame["op"] for frame in frames} == {1: "error", 2: "embedded", 3: "error"}
    assert next(frame for frame in frames if frame["id"] == 1)["message"] == "The model failed to run: it is tired"
    assert next(frame for frame in frames if frame["id"] == 3)["message"].startswith("The engine failed: TypeError")


def test_requests_for_text_are_refused() -> None:
    (frame,) = Bench({"op": "generate", "id": 1, "request": {}}).run()
    assert (frame["op"], frame["message"]) == ("error", "The model makes embeddings, and writes no text.")


def test_long_work_says_that_it_goes_on() -> None:
    times = iter(range(0, 10_000, 2))
    frames = Bench(embed(1, "x" * 5000), clock=lambda: float(next(times))).run()
    assert sum(frame["op"] == "busy" for frame in frames) > 2

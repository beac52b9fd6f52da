"""The batched engine at work: answers that wait for each other, fail, are cancelled or run out of memory, and real models."""

from __future__ import annotations

import ctypes
import mmap
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundry_cli.engine import batch_runtime
from foundry_cli.engine.batch_runtime import BatchRuntime
from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.decoder_graph import UnusualGraphError
from foundry_cli.engine.model_files import read_model_files
from foundry_cli.engine.request import GenerationRequest
from foundry_cli.engine.runtime import LogitRows, TokenContext
from foundry_cli.engine.sampling import Logits
from foundry_cli.engine.slot_pool import PoolMemory, SlotPool
from foundry_cli.errors import EngineError, InsufficientMemoryError
from tests.engine.answers import Answering
from tests.engine.fakes import END, Bench, FakeRuntime, reply, request
from tests.engine.test_cache_rows import graph_of
from tests.engine.workers import needs_batches
from tests.models.small_decoder import Shape, write_small_decoder
from tests.models.test_qwen2_reference import DIRECTORY

pytestmark = needs_batches


@dataclass
class ByteRuntime(FakeRuntime):
    """The model of bytes in rows: a step takes all tokens of a row from the memory for keys and values."""

    rows: int = 12

    def new_cache(self, budget: int) -> SlotPool:  # type: ignore[override]
        """See `Runtime.new_cache`; a token is a byte here."""
        longest = min(budget, self.context_length)
        self.memory = CacheRows(graph_of(1, heads=1), self.rows, longest + 1)
        self.pool = SlotPool(PoolMemory(self.memory, self._run, 1, budget, longest))
        return self.pool

    def append_each(self, contexts: Sequence[TokenContext], tokens: Sequence[int]) -> LogitRows:
        """See `Runtime.append_each`."""
        first, held = self.pool.arrange(contexts)
        ids = np.zeros((len(held), 1), dtype=np.int64)
        index = [context.row - first for context in contexts]  # type: ignore[attr-defined]
        ids[index, 0] = [token or 1 for token in tokens]
        logits = self._run(first, ids, held)[index, -1]
        for context, token in zip(contexts, tokens, strict=True):
            context.tokens.append(token)
        return logits

    def _run(self, first: int, ids: NDArray[np.int64], held: Sequence[int], *, is_long: bool = False) -> NDArray[np.float32]:
        logits = np.zeros((len(ids), 1, END + 1), dtype=np.float32)
        for row, (new, past) in enumerate(zip(ids, held, strict=True)):
            memory = self.memory.tensors[0][first + row, 0, :, 0]
            memory[past : past + len(new)] = new
            tokens = memory[: past + len(new)].astype(int).tolist()
            if new[-1] and ord(">") in tokens:  # else it fills a gap, or the prompt goes on
                logits[row] = self.answer(tokens)
        self.now += ids.shape[1]
        self.steps.append((chr(int(self.memory.tensors[0][first, 0, 0, 0])), ids.shape[1]))
        self.on_step(len(self.steps))
        return logits


def bench(answer: bytes | Callable[[list[int]], Logits] = b"hello", *, memory_budget: int = 1 << 14, **options: Any) -> Bench:
    return Bench(ByteRuntime(reply(answer) if isinstance(answer, bytes) else answer, **options), memory_budget=memory_budget)


def during(worker: Bench, number: int, action: Callable[[], None]) -> None:
    worker.runtime.on_step = lambda step: action() if step == number else None


def run(worker: Bench) -> None:
    """Let all requests end; then nothing is in use."""
    worker.run()
    check_that_nothing_is_in_use(worker)


def check_that_nothing_is_in_use(worker: Bench) -> None:
    pool: Any = worker.runtime.pool  # type: ignore[attr-defined]
    assert not any(slot.is_leased for slot in pool._slots)


def pieces(worker: Bench) -> int:
    """Tokens of prompts that were computed."""
    return sum(count for _, count in worker.runtime.steps if count > 1)


def cached(worker: Bench, identity: int) -> int:
    return int(worker.end(identity)["usage"]["cached_tokens"])


LONG = "x" * 999  # 1,000 tokens with the `>` of the template


def test_the_same_prompt_four_times_is_read_once() -> None:
    worker = bench()
    for identity in range(1, 5):
        worker.ask(identity, request(LONG))
    run(worker)
    assert [worker.text(identity) for identity in range(1, 5)] == ["hello"] * 4
    assert [cached(worker, identity) for identity in range(1, 5)] == [0, 998, 998, 998]
    assert pieces(worker) == 1000 + 3 * 2


def test_who_waits_goes_on_when_the_reader_is_cancelled() -> None:
    worker = bench()
    during(worker, 3, lambda: worker.cancel(1))
    for identity in (1, 2, 3):
        worker.ask(identity, request(LONG))
    run(worker)
    assert worker.end(1)["reason"] == "cancelled"
    assert (worker.text(2), cached(worker, 2)) == ("hello", 384)
    assert (worker.text(3), cached(worker, 3)) == ("hello", 998)


def test_who_waits_is_cancelled() -> None:
    worker = bench()
    during(worker, 3, lambda: worker.cancel(2, 3))
    for identity in (1, 2, 3, 4):
        worker.ask(identity, request(LONG))
    run(worker)
    assert [worker.end(identity)["reason"] for identity in (1, 2, 3, 4)] == ["stop", "cancelled", "cancelled", "stop"]
    assert worker.end(2)["usage"]["completion_tokens"] == 0


def test_who_waits_goes_on_when_the_reader_fails() -> None:
    failing = iter([True])

    def answer(tokens: list[int]) -> Logits:
        if next(failing, False):
            raise EngineError("out of order")
        return reply(b"hello")(tokens)

    worker = bench(answer)
    for identity in (1, 2):
        worker.ask(identity, request(LONG))
    run(worker)
    assert worker.end(1)["code"] == "engine_error"
    assert (worker.text(2), cached(worker, 2)) == ("hello", 0)


def test_all_clients_go_during_a_prompt() -> None:
    worker = bench()
    during(worker, 5, lambda: worker.cancel(1, 2, 3))
    for identity, text in ((1, "a" * 600), (2, "b" * 600), (3, "a" * 600)):
        worker.ask(identity, request(text))
    run(worker)
    assert {worker.end(identity)["reason"] for identity in (1, 2, 3)} == {"cancelled"}
    assert worker.answer(request("c"))[0] == "hello"


def test_a_fault_in_one_row_ends_that_answer_only() -> None:
    def answer(tokens: list[int]) -> Logits:
        if tokens[0] == ord("b") and len(tokens) == 5:
            raise EngineError("a broken row")
        return reply(b"hello world")(tokens)

    worker = bench(answer)
    for identity, text in enumerate("abcd", 1):
        worker.ask(identity, request(text))
    run(worker)
    assert [worker.text(identity) for identity in (1, 2, 3, 4)] == ["hello world", "hel", "hello world", "hello world"]
    assert worker.end(2)["code"] == "engine_error"


def test_answers_in_a_batch_are_those_they_are_alone() -> None:
    def letters(tokens: list[int]) -> Logits:
        logits = np.full(END + 1, -np.inf, dtype=np.float32)
        logits[ord("a") : ord("z") + 1] = np.random.default_rng(tokens).normal(size=26)
        return logits

    asked = [request("q" * (7 * number), temperature=1.0, seed=number, max_tokens=3 + 9 * number) for number in range(1, 12)]
    worker = bench(letters)
    for identity, each in enumerate(asked, 1):
        worker.ask(identity, each)
    during(worker, 40, lambda: worker.cancel(5, 7))
    run(worker)
    for identity, each in enumerate(asked, 1):
        if identity not in (5, 7):
            assert worker.text(identity) == bench(letters).answer(each)[0]


def test_answers_that_have_no_memory_to_grow_take_turns() -> None:
    text = bytes(97 + index % 26 for index in range(1500))
    worker = bench(text, memory_budget=2000, context_length=8192)
    for identity in (1, 2, 3):
        worker.ask(identity, request(chr(96 + identity)))
    run(worker)
    assert {worker.text(identity) for identity in (1, 2, 3)} == {text.decode()}
    assert {worker.end(identity)["usage"]["completion_tokens"] for identity in (1, 2, 3)} == {1501}


def test_an_answer_larger_than_all_memory_says_so() -> None:
    worker = bench(b"x" * 3000, memory_budget=1000, context_length=8192)
    assert worker.answer(request("a"))[1]["code"] == "insufficient_memory"
    assert worker.answer(request("b" * 1200))[1]["code"] == "insufficient_memory"
    assert worker.answer(request("c", max_tokens=3))[0] == "xxx"
    check_that_nothing_is_in_use(worker)


def test_more_requests_than_rows() -> None:
    worker = bench(rows=2)
    for identity in range(1, 9):
        worker.ask(identity, request(chr(96 + identity)))
    run(worker)
    assert {worker.text(identity) for identity in range(1, 9)} == {"hello"}


def order_of(worker: Bench, op: str = "text") -> list[int]:
    """Who was told something, by the first time."""
    return list(dict.fromkeys(frame["id"] for frame in worker.frames if frame["op"] == op))


def asked_during(worker: Bench, step: int, identity: int, asked: GenerationRequest) -> None:
    during(worker, step, lambda: worker.ask(identity, asked))


def test_a_short_request_does_not_wait_for_the_beginning_that_others_want() -> None:
    worker = bench()
    worker.ask(1, request("x" * 4000))
    worker.ask(2, request("x" * 4000))
    asked_during(worker, 3, 3, request("short"))
    run(worker)
    assert order_of(worker) == [3, 1, 2]


def test_work_in_the_background_takes_no_places() -> None:
    worker = bench(b"x" * 300)
    for identity in range(1, 9):
        worker.ask(identity, request(chr(96 + identity), priority="background"))
    asked_during(worker, 30, 9, request("i", max_tokens=5))
    run(worker)
    assert order_of(worker, "finish")[0] == 9


def test_nobody_waits_for_what_is_read_in_the_background() -> None:
    worker = bench(b"x" * 500)
    worker.ask(1, request("x" * 2000, priority="background"))
    late = {3: (2, request("run")), 20: (3, request("x" * 2000, max_tokens=5))}
    worker.runtime.on_step = lambda step: worker.ask(*late[step]) if step in late else None
    run(worker)
    assert worker.end(3)["usage"]["cached_tokens"] < 1000, "it waited for the rest"


# Real models


def new_answering(directory: Path, budget: int = 1 << 28, count: int = 40) -> tuple[BatchRuntime, Answering]:
    runtime = BatchRuntime(read_model_files(directory), threads=2)
    return runtime, Answering(runtime, runtime.new_cache(budget), count=count)


def prompt(length: int, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(3, 250), k=length)


def test_a_context_of_sixteen_tokens_is_used_to_its_end(tmp_path: Path) -> None:
    directory = write_small_decoder(tmp_path, Shape(context_length=16))
    _, alone = new_answering(directory, count=12)
    runtime, together = new_answering(directory, count=12)
    prompts = [prompt(4, seed) for seed in range(8)]
    expected = alone.alone(prompts)
    assert {len(answer.tokens) for answer in expected} == {12}
    assert [answer.tokens for answer in together.together(prompts)] == [answer.tokens for answer in expected]
    with pytest.raises(InsufficientMemoryError):
        runtime.new_cache(1 << 20).acquire(prompt(17), 1)


def test_full_rows_between_those_that_write(tmp_path: Path) -> None:
    """What fills a gap is written behind the last token that a conversation can have."""
    directory = write_small_decoder(tmp_path, Shape(context_length=64))
    runtime, _ = new_answering(directory)
    cache = runtime.new_cache(1 << 20)
    leases = [cache.acquire(prompt(length, seed), 60) for seed, length in enumerate((10, 64, 10))]
    contexts = [lease.context for lease in leases if lease]
    for seed, context in enumerate(contexts):
        context.append(prompt((10, 64, 10)[seed], seed))
    for _ in range(5):
        logits = runtime.append_each([contexts[2], contexts[0]], [5, 5])
        assert np.isfinite(logits).all()


def test_less_memory_than_the_context(tmp_path: Path) -> None:
    directory = write_small_decoder(tmp_path, Shape())
    runtime, _ = new_answering(directory)
    cache = runtime.new_cache(100 * 2 * 2 * 2 * 16 * 4)
    with pytest.raises(InsufficientMemoryError, match="101 tokens"):
        cache.acquire(prompt(101), 1)
    lease = cache.acquire(prompt(100), 50)
    assert lease
    assert lease.context.max_length == 100


def test_a_token_that_the_model_does_not_have_harms_nobody_else() -> None:
    runtime, _ = new_answering(DIRECTORY)
    cache = runtime.new_cache(1 << 28)
    contexts = []
    for seed in (1, 2):
        lease = cache.acquire(prompt(20, seed), 50)
        assert lease
        lease.context.append(prompt(20, seed))
        contexts.append(lease.context)
    with pytest.raises(EngineError, match="failed to run"):
        runtime.append_each(contexts, [5, 1 << 30])
    after = runtime.append_each(contexts, [5, 6]).copy()
    again, _ = new_answering(DIRECTORY)
    lease = again.new_cache(1 << 28).acquire(prompt(20, 1), 50)
    assert lease
    lease.context.append(prompt(20, 1))
    assert np.array_equal(again.append_each([lease.context], [5])[0], after[0])


def resident(rows: CacheRows) -> int:
    total = 0
    for tensor in rows.tensors:
        found = (ctypes.c_ubyte * -(-tensor.nbytes // mmap.PAGESIZE))()
        ctypes.CDLL(None).mincore(ctypes.c_void_p(tensor.ctypes.data), ctypes.c_size_t(tensor.nbytes), found)
        total += sum(value & 1 for value in found) * mmap.PAGESIZE
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="mincore")
def test_an_idle_conversation_takes_little_more_than_its_keys_and_values() -> None:
    runtime, answering = new_answering(DIRECTORY, count=10)
    rows: CacheRows = runtime._passes.rows  # type: ignore[union-attr]
    assert resident(rows) == 0
    for seed in range(3):
        answering.alone([prompt(1000, seed)])
    size = 1009 * 3 * 2 * 2 * 16 * 4
    assert 3 * size <= resident(rows) <= 1.1 * 3 * size


def test_an_error_without_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(batch_runtime, "open_cpu_session", fail)
    with pytest.raises(UnusualGraphError):
        BatchRuntime(read_model_files(DIRECTORY), threads=1)

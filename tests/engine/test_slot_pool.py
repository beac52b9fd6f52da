"""Which row holds which conversation. The model is a fake one whose keys and values are the tokens themselves."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.decoder_graph import CacheTensor, DecoderGraph
from foundry_cli.engine.runtime import Lease, TokenContext
from foundry_cli.engine.slot_pool import PoolMemory, SlotPool
from foundry_cli.errors import InsufficientMemoryError

INTEGER, REAL = np.dtype(np.int64), np.dtype(np.float32)
GRAPH = DecoderGraph("i", "m", None, "l", (CacheTensor("k", "p", 1, 1), CacheTensor("v", "q", 2, 1)), REAL, INTEGER, REAL)


@dataclass
class FakeModel:
    """Keeps token ids in the memory for keys and values, and refuses to run on anything else than it was told."""

    rows: CacheRows
    budget: int  # tokens
    longest: int  # tokens

    def __post_init__(self) -> None:
        self.pool = SlotPool(PoolMemory(self.rows, self.run, 1, self.budget, self.longest))
        self.moves = 0

    def run(self, first: int, ids: NDArray[np.int64], held: Sequence[int], *, is_long: bool = False) -> NDArray[np.float32]:
        """Write the ids behind those that are held. The logit is the sum over all tokens of a row."""
        sums = np.zeros((len(ids), 1, 1), dtype=np.float32)
        for row, (new, past) in enumerate(zip(ids, held, strict=True)):
            assert past + len(new) <= self.rows.capacity
            for tensor in self.rows.tensors:
                tensor[first + row, :, past : past + len(new), 0] = new
            sums[row] = self.rows.tensors[0][first + row, 0, : past + len(new), 0].sum()
        return sums

    def step(self, contexts: Sequence[TokenContext], tokens: Sequence[int]) -> list[float]:
        """One token for each, as `BatchRuntime.append_each` does it."""
        before = [context.row for context in contexts]  # type: ignore[attr-defined]
        first, held = self.pool.arrange(contexts)
        after = [context.row for context in contexts]  # type: ignore[attr-defined]
        self.moves += before != after
        ids = np.zeros((len(held), 1), dtype=np.int64)
        ids[[row - first for row in after], 0] = tokens
        sums = self.run(first, ids, held)
        for context, token in zip(contexts, tokens, strict=True):
            context.tokens.append(token)
        return [float(sums[row - first, 0, 0]) for row in after]

    def check(self, context: TokenContext) -> None:
        """The memory of the row says what the context says."""
        row: int = context.row  # type: ignore[attr-defined]
        for tensor in self.rows.tensors:
            for head in tensor[row, :, : len(context.tokens), 0]:
                assert head.tolist() == context.tokens

    def take(self, tokens: list[int], room: int = 10) -> Lease:
        lease = self.pool.acquire(tokens, room)
        assert lease is not None
        assert lease.context.tokens == tokens[: lease.cached_tokens]
        assert lease.cached_tokens <= max(0, len(tokens) - 2)
        self.check(lease.context)
        return lease

    def read(self, lease: Lease, tokens: list[int]) -> None:
        lease.context.append(tokens[len(lease.context.tokens) :])
        self.check(lease.context)

    def running(self, count: int) -> list[Lease]:
        """So many conversations that have been read."""
        leases = [self.take(chat(number)) for number in range(count)]
        for number, lease in enumerate(leases):
            self.read(lease, chat(number))
        return leases

    def use(self, tokens: list[int], answer: Sequence[int] = (), room: int = 10) -> Lease:
        """One whole answer: the lease, as it was given."""
        lease = self.take(tokens, room)
        self.read(lease, tokens)
        for token in answer:
            self.step([lease.context], [token])
        self.check(lease.context)
        self.pool.release(lease.context, len(tokens))
        time.sleep(1e-6)  # the order of two releases must be told by the clock
        return lease


def model(*, rows: int = 8, capacity: int = 5000, budget: int = 20_000) -> FakeModel:
    return FakeModel(CacheRows(GRAPH, rows, capacity + 1), budget, min(capacity, budget))


def row(lease: Lease) -> int:
    return int(lease.context.row)  # type: ignore[attr-defined]


def chat(seed: int, length: int = 100) -> list[int]:
    return random.Random(seed).choices(range(1, 100_000), k=length)


def test_the_same_conversation_goes_on_in_place() -> None:
    bench = model()
    first = bench.use(chat(1), answer=[7, 8, 9])
    second = bench.use([*chat(1), 7, 8, 9, *chat(2, 20)])
    assert second.context is first.context
    assert (first.cached_tokens, second.cached_tokens) == (0, 103)


def test_an_answer_whose_tokens_come_back_as_others() -> None:
    bench = model()
    first = bench.use(chat(1), answer=chat(9, 50))
    second = bench.use([*chat(1)[:-4], *chat(2, 60)])
    assert second.context is first.context
    assert second.cached_tokens == 96


@pytest.mark.parametrize("length", [1, 2, 3, 100])
def test_of_a_repeated_prompt_two_tokens_are_computed(length: int) -> None:
    bench = model()
    assert [bench.use(chat(1, length)).cached_tokens for _ in range(3)] == [0, *[max(0, length - 2)] * 2]


def test_another_conversation_with_the_same_beginning_is_a_copy() -> None:
    bench = model()
    first = bench.use([*chat(1, 50), *chat(2)])
    second = bench.use([*chat(1, 50), *chat(3)])
    assert second.context is not first.context
    assert second.cached_tokens == 50
    assert bench.use([*chat(1, 50), *chat(2), 5, 5]).cached_tokens == 150
    assert bench.use([*chat(1, 50), *chat(3), 5, 5]).cached_tokens == 150


def test_a_copy_of_an_answer_that_is_running() -> None:
    bench = model()
    first = bench.take(chat(1))
    bench.read(first, chat(1))
    second = bench.take([*chat(1, 90), 1, 2, 3])
    assert second.cached_tokens == 90
    bench.step([first.context], [4])
    bench.read(second, [*chat(1, 90), 1, 2, 3])
    bench.check(first.context)


def test_who_wants_what_another_is_reading_waits_and_copies() -> None:
    bench = model()
    prompt = chat(1, 500)
    first = bench.take(prompt)
    assert bench.pool.find_reading(prompt)
    first.context.append(prompt[:128])
    assert bench.pool.find_reading(prompt)
    assert bench.pool.find_reading([*prompt[:300], 1, 2, 3])
    assert not bench.pool.find_reading([*prompt[:180], *chat(2, 20)])
    bench.take([*prompt[:180], *chat(2, 20)])  # the rest of what they share is read again as quickly
    bench.read(first, prompt)
    others = [bench.take(prompt) for _ in range(3)]
    assert [lease.cached_tokens for lease in others] == [498] * 3
    for lease in (first, *others):
        assert len(lease.context.tokens) in (498, 500)
        bench.check(lease.context)


@pytest.mark.parametrize("is_error", [False, True])
def test_who_waits_goes_on_when_the_other_is_given_up(is_error: bool) -> None:
    bench = model()
    prompt = chat(1, 500)
    first = bench.take(prompt)
    first.context.append(prompt[:128])
    assert bench.pool.find_reading(prompt)
    if is_error:
        bench.pool.discard(first.context)
    else:
        bench.pool.release(first.context, len(prompt))
    assert not bench.pool.find_reading(prompt)
    assert bench.take(prompt).cached_tokens == (0 if is_error else 128)


def test_what_was_read_before_a_cancel_goes_on_in_place() -> None:
    bench = model()
    prompt = chat(1, 1000)
    first = bench.take(prompt)
    first.context.append(prompt[:400])
    bench.pool.release(first.context, len(prompt))
    second = bench.take(prompt)
    assert second.context is first.context
    assert second.cached_tokens == 400


def test_an_answer_that_has_nothing_is_not_kept() -> None:
    bench = model(rows=2)
    for _ in range(5):
        bench.pool.release(bench.take(chat(1)).context, 100)
    assert [bench.take(chat(number)).cached_tokens for number in (1, 2)] == [0, 0]


def test_a_conversation_that_another_continues_is_not_kept_twice() -> None:
    bench = model(rows=3)
    first, second = bench.take(chat(1, 40)), bench.take(chat(2))
    bench.read(first, chat(1, 40))
    bench.pool.release(first.context, 40)
    longer = bench.take(chat(1, 300)[:300])
    bench.read(longer, chat(1, 300))
    bench.pool.release(longer.context, 300)
    bench.read(second, chat(2))
    assert bench.take(chat(1, 300)).cached_tokens == 298
    assert bench.take(chat(3)).cached_tokens == 0


# Memory


def test_what_was_used_longest_ago_gives_way() -> None:
    bench = model(budget=400)
    for number in (1, 2, 3, 1):
        bench.use(chat(number))
    bench.use(chat(4, 130))  # number 2 is the one used longest ago
    assert [bench.use(chat(number)).cached_tokens for number in (1, 3, 2)] == [98, 98, 0]


def test_rows_run_out() -> None:
    bench = model(rows=3)
    for number in range(4):
        bench.use(chat(number))
    assert [bench.use(chat(number)).cached_tokens for number in (3, 2, 1, 0)] == [98, 98, 98, 0]


def test_a_running_answer_is_never_touched() -> None:
    bench = model(budget=450)
    running = bench.take(chat(1), room=100)
    bench.read(running, chat(1))
    for number in range(2, 8):
        bench.use(chat(number))
        bench.check(running.context)
    assert bench.pool.acquire(chat(9, 300), 10) is None
    bench.check(running.context)
    assert bench.take(chat(9, 240), 10).cached_tokens == 0


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_nothing_is_free_for_the_moment(rows: int) -> None:
    bench = model(rows=rows)
    leases = [bench.take(chat(number)) for number in range(rows)]
    for lease, number in zip(leases, range(rows), strict=True):
        bench.read(lease, chat(number))
    assert bench.pool.acquire(chat(99), 10) is None
    assert bench.pool.acquire(chat(0), 10) is None
    bench.pool.release(leases[0].context, 100)
    assert bench.take(chat(99)).cached_tokens == 0


def test_an_answer_that_has_to_wait_costs_the_idle_ones_nothing() -> None:
    bench = model(budget=1000)
    bench.use(chat(1))
    running = bench.take(chat(2, 500))
    assert bench.pool.acquire(chat(3, 600), 10) is None, "not even with all that is idle"
    bench.pool.discard(running.context)
    assert bench.use(chat(1)).cached_tokens == 98


def test_without_memory_for_a_copy_the_original_is_used() -> None:
    bench = model(budget=300)
    first = bench.use([*chat(1), *chat(2, 80)])
    second = bench.use([*chat(1), *chat(3, 80)])
    assert second.context is first.context
    assert second.cached_tokens == 100


def test_too_large_for_all_memory() -> None:
    bench = model(budget=1000)
    with pytest.raises(InsufficientMemoryError, match=r"tokens needs"):
        bench.pool.acquire(chat(1, 1001), 10)
    lease = bench.take(chat(1, 900), room=513)
    assert lease.context.max_length == 1000
    assert not bench.pool.extend(lease.context, 1500)


def test_a_context_is_never_longer_than_its_row() -> None:
    bench = model(capacity=1000)
    lease = bench.take(chat(1, 900), room=513)
    assert lease.context.max_length == 1000
    with pytest.raises(InsufficientMemoryError):
        bench.pool.acquire(chat(2, 1001), 1)


def test_extending() -> None:
    bench = model(budget=1000)
    bench.use(chat(9))
    lease = bench.take(chat(1), room=10)
    assert bench.pool.extend(lease.context, 700)
    assert lease.context.max_length == 700
    assert not bench.pool.extend(lease.context, 600)
    assert lease.context.max_length == 700
    other = bench.take(chat(2), room=100)
    assert not bench.pool.extend(lease.context, 900)
    bench.pool.discard(other.context)
    assert bench.pool.extend(lease.context, 900)


def test_what_is_given_up_is_free() -> None:
    bench = model(budget=300, rows=2)
    for _ in range(10):
        lease = bench.take(chat(1, 250))
        bench.read(lease, chat(1, 250))
        bench.pool.discard(lease.context)
    assert bench.take(chat(1, 250)).cached_tokens == 0


def test_only_little_that_is_idle_is_kept() -> None:
    rows = CacheRows(GRAPH, 8, 1001)
    memory = PoolMemory(
        rows, lambda first, ids, held, is_long=False: np.zeros((1, 1, 1), dtype=np.float32), 1 << 20, 1 << 40, 1000
    )
    pool = SlotPool(memory)
    for number in range(6):
        lease = pool.acquire(chat(number, 200), 10)
        assert lease
        lease.context.append(chat(number, 200))
        pool.release(lease.context, 200)
    found = [pool.acquire(chat(number, 200), 10) for number in range(6)]
    assert [bool(lease and lease.cached_tokens) for lease in found] == [False] * 4 + [True] * 2


# Rows


def test_gaps_are_closed_after_some_steps() -> None:
    bench = model(rows=8)
    leases = bench.running(6)
    for number in (1, 3, 4):
        bench.pool.release(leases[number].context, 100)
    running = [leases[0], leases[2], leases[5]]
    for step in range(20):
        bench.step([lease.context for lease in running], [step + 1] * 3)
        for lease in leases:
            bench.check(lease.context)
    rows = sorted(map(row, running))
    assert rows[2] - rows[0] == 2
    assert bench.moves == 1
    assert [bench.use(chat(number)).cached_tokens for number in (1, 3, 4)] == [98] * 3


def test_an_idle_conversation_makes_way_for_a_new_one_beside_it() -> None:
    bench = model(rows=8)
    leases = bench.running(5)
    bench.pool.release(leases[2].context, 100)
    new = bench.take(chat(9))
    assert row(new) == 2
    bench.check(leases[2].context)
    assert bench.use(chat(2)).cached_tokens == 98


def test_among_free_rows_and_idle_ones_a_new_one_takes_the_place_that_leaves_no_gap() -> None:
    bench = model(rows=8)
    leases = bench.running(6)
    bench.pool.release(leases[2].context, 100)
    bench.pool.discard(leases[3].context)
    assert row(bench.take(chat(10))) == 3  # free
    assert row(bench.take(chat(11))) == 2  # idle
    assert row(bench.take(chat(12))) == 6  # the idle one has not made way to there
    bench.pool.release(leases[0].context, 100)
    bench.check(leases[2].context)


def test_a_long_idle_conversation_stays_where_it_is() -> None:
    bench = model(rows=8)
    leases = [bench.take(chat(number, length)) for number, length in enumerate((100, 3000, 100))]
    for number, lease in enumerate(leases):
        bench.read(lease, chat(number, (100, 3000, 100)[number]))
    bench.pool.release(leases[1].context, 3000)
    assert row(bench.take(chat(9))) == 3
    assert row(leases[1]) == 1


def test_when_nothing_runs_idle_conversations_stay_where_they_are() -> None:
    bench = model(rows=8)
    used = [bench.use(chat(number)) for number in range(3)]
    assert [row(lease) for lease in used] == [0, 1, 2]
    bench.take(chat(9))
    assert [row(lease) for lease in used] == [0, 1, 2]


def test_rows_of_answers_that_are_being_read_move_too() -> None:
    bench = model(rows=4)
    first, reading, last = (bench.take(chat(number, 300)) for number in range(3))
    bench.read(first, chat(0, 300))
    bench.read(last, chat(2, 300))
    for piece in range(0, 300, 50):
        for step in range(5):
            bench.step([last.context, first.context], [step + 1, step + 1])
        reading.context.append(chat(1, 300)[piece : piece + 50])
        for lease in (first, reading, last):
            bench.check(lease.context)
    assert bench.moves == 1
    assert reading.context.tokens == chat(1, 300)


def test_results_are_in_the_order_of_the_contexts() -> None:
    bench = model(rows=4)
    leases = [bench.take([number, number]) for number in (10, 20, 30)]
    for lease, number in zip(leases, (10, 20, 30), strict=True):
        bench.read(lease, [number, number])
    contexts = [leases[2].context, leases[0].context, leases[1].context]
    assert bench.step(contexts, [3, 1, 2]) == [63, 21, 42]


# What is told


def warnings_for(bench: FakeModel, tokens: list[int], caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "foundry.engine"):
        bench.use(tokens)
    return [record.getMessage() for record in caplog.records]


def test_a_conversation_that_is_read_again_is_told(caplog: pytest.LogCaptureFixture) -> None:
    bench = model()
    bench.use(chat(1, 1000))
    changed = [*chat(1, 1000)[:3], 5, *chat(1, 1000)[4:], *chat(2, 30)]
    (line,) = warnings_for(bench, changed, caplog)
    assert line == "a known conversation is read again from token 3 of 1000 on: 1 tokens there were exchanged for 1"
    changed = [*chat(1, 500), 7, *chat(1, 1000)[500:], *chat(2, 30)]
    (line,) = warnings_for(bench, changed, caplog)
    assert line == "a known conversation is read again from token 500 of 1000 on: 1 tokens were put in there"


def test_nothing_is_told_of_other_conversations(caplog: pytest.LogCaptureFixture) -> None:
    bench = model()
    bench.use(chat(1, 1000))
    assert warnings_for(bench, [*chat(1, 500), *chat(2, 600)], caplog) == []
    assert warnings_for(bench, [*chat(1, 1000), 5, 5], caplog) == []
    assert warnings_for(bench, chat(3, 1000), caplog) == []


def test_nothing_is_told_of_a_prompt_that_was_not_read_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    bench = model()
    lease = bench.take(chat(1, 1000))
    lease.context.append(chat(1, 1000)[:300])
    bench.pool.release(lease.context, 1000)
    assert warnings_for(bench, [*chat(1, 299), *chat(2, 700)], caplog) == []


# Everything at once


class Chaos:
    """Random operations on a pool; what it has must be what a dictionary of lists has."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        rows, self.longest = self.random.choice([1, 2, 4, 6]), self.random.choice([60, 300, 900])
        budget = self.random.choice([self.longest, 2 * self.longest, 5 * self.longest])
        self.bench = FakeModel(CacheRows(GRAPH, rows, self.longest + 1), budget, self.longest)
        self.budget = budget
        self.running: dict[int, tuple[Lease, list[int], list[int]]] = {}  # lease, prompt, what it must hold
        self.number = 0
        self.history: list[list[int]] = [[1] * 20]

    def prompt(self) -> list[int]:
        """Often one that is known, its beginning, or its next turn."""
        known = list(self.random.choice(self.history))
        cut = known[: self.random.randrange(len(known) + 1)] if self.random.random() < 0.5 else known
        length = self.random.choice([1, 2, 10, 100, self.longest])
        longer = [*cut, *(self.random.randrange(1, 50) for _ in range(self.random.randrange(1, length + 1)))]
        return longer[: self.longest]

    def begin(self) -> None:
        tokens, room = self.prompt(), self.random.choice([1, 5, 50])
        lease = self.bench.pool.acquire(tokens, room)
        if lease is None:
            assert self.running, "with nothing running there is always a place"
            return
        assert len(tokens) <= lease.context.max_length <= self.longest
        assert lease.context.tokens == tokens[: lease.cached_tokens]
        self.number += 1
        self.running[self.number] = lease, tokens, tokens[: lease.cached_tokens]

    def read(self) -> None:
        for lease, tokens, held in self.running.values():
            piece = tokens[len(held) : len(held) + self.random.randrange(1, 80)]
            if piece and self.random.random() < 0.5:
                lease.context.append(piece)
                held.extend(piece)

    def write(self) -> None:
        ready = [item for item in self.running.values() if len(item[2]) >= len(item[1])]
        for lease, _, held in ready:
            if len(held) == lease.context.max_length:
                self.bench.pool.extend(lease.context, len(held) + 5)
        ready = [item for item in ready if len(item[2]) < item[0].context.max_length and self.random.random() < 0.9]
        if ready:
            self.random.shuffle(ready)
            tokens = [self.random.randrange(1, 50) for _ in ready]
            sums = self.bench.step([lease.context for lease, _, _ in ready], tokens)
            for (_, _, held), token, total in zip(ready, tokens, sums, strict=True):
                held.append(token)
                assert total == sum(held)

    def end(self) -> None:
        if not self.running:
            return
        lease, prompt, held = self.running.pop(self.random.choice(list(self.running)))
        if self.random.random() < 0.2:
            self.bench.pool.discard(lease.context)
            return
        self.bench.pool.release(lease.context, len(prompt))
        if held:
            self.history = [*self.history[-5:], held]

    def check(self) -> None:
        pool: Any = self.bench.pool
        for lease, _, held in self.running.values():
            assert lease.context.tokens == held
        for slot in pool._slots:
            self.bench.check(slot.context)
        rows = [slot.context.row for slot in pool._slots]
        assert len(set(rows)) == len(rows)
        assert sum(slot.is_leased for slot in pool._slots) == len(self.running)
        assert pool._used() <= self.budget


@pytest.mark.parametrize("seed", range(25))
def test_random_operations(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(150):
        chaos.random.choice([chaos.begin, chaos.begin, chaos.read, chaos.read, chaos.write, chaos.write, chaos.end])()
        chaos.check()
    for lease, prompt, _ in list(chaos.running.values()):
        chaos.bench.pool.release(lease.context, len(prompt))
    chaos.running.clear()
    assert chaos.bench.pool.acquire(list(range(100, 99 + chaos.longest)), 1), "all memory can be had again"

"""Who of those that wait is next, over the real pool of conversations with a fake model."""

from __future__ import annotations

from collections.abc import Sequence as Several

import pytest

from foundry_cli.engine.runtime import Reading
from foundry_cli.engine.sequence import Sequence
from foundry_cli.engine.slot_pool import SlotPool
from foundry_cli.engine.waiting_line import MOST_PASSED_OVER, WaitingLine
from tests.engine.fakes import FakeRuntime, reply, request
from tests.engine.test_slot_pool import FakeModel, chat, model

LONG = chat(1, 500)


class Line:
    """A line before a pool; whoever is admitted stays."""

    def __init__(self, bench: FakeModel | None = None) -> None:
        self.bench = bench or model(rows=64)
        self.line = WaitingLine(self.bench.pool)
        self._runtime = FakeRuntime(reply(b""))
        self._identities = iter(range(1, 1000))

    def join(self, tokens: list[int], *, background: bool = False) -> Sequence:
        asked = request(max_tokens=5, priority="background" if background else "interactive")
        sequence = Sequence.create(next(self._identities), asked, tokens, self._runtime, 0.0)
        self.line.append(sequence)
        return sequence

    def admit(self, *, background: bool = True) -> list[Sequence]:
        """Everyone who gets a place and memory now."""
        admitted = []
        while sequence := self.line.next(background=background):
            if sequence.start(self.bench.pool):
                self.line.take(sequence)
                admitted.append(sequence)
            else:
                self.line.note_full(sequence)
        return admitted


def test_those_who_wait_for_a_beginning_hide_nobody() -> None:
    bench = Line()
    copies = [bench.join(LONG) for _ in range(8)]
    other = bench.join(chat(2, 20))
    assert bench.admit() == [copies[0], other]
    copies[0].read(500)
    assert bench.admit() == copies[1:]
    assert [sequence.cached_tokens for sequence in copies[1:]] == [498] * 7


def test_nobody_is_passed_over_without_end() -> None:
    bench = Line()
    first, second = bench.join(LONG), bench.join(LONG)
    others = [bench.join(chat(number, 10)) for number in range(2, 5 + MOST_PASSED_OVER)]
    assert bench.admit() == [first, *others[:MOST_PASSED_OVER]]
    first.read(500)
    assert bench.admit() == [second, *others[MOST_PASSED_OVER:]]


def test_only_those_behind_pass_over() -> None:
    bench = Line()
    first = bench.join(LONG)
    others = [bench.join(chat(number, 10)) for number in range(2, 2 + MOST_PASSED_OVER)]
    second = bench.join(LONG)
    assert bench.admit() == [first, *others]
    late = bench.join(chat(99, 10))
    assert bench.admit() == [late]
    assert list(bench.line) == [second]


def test_who_waits_goes_on_when_the_other_is_gone() -> None:
    bench = Line()
    first, second = bench.join(LONG), bench.join(LONG)
    assert bench.admit() == [first]
    assert first.context
    bench.bench.pool.discard(first.context)
    assert bench.admit() == [second]


def test_who_shares_only_a_beginning_does_not_wait_for_the_rest() -> None:
    bench = Line()
    first, second = bench.join(LONG), bench.join([*LONG[:200], *chat(2, 100)])
    assert bench.admit() == [first]
    first.read(128)
    assert bench.admit() == []
    first.read(128)
    assert bench.admit() == [second]
    assert second.cached_tokens == 200


def test_work_in_the_background_comes_last_and_only_where_it_may() -> None:
    bench = Line()
    slow, quick = bench.join(chat(1), background=True), bench.join(chat(2))
    assert bench.admit(background=False) == [quick]
    assert bench.admit() == [slow]


def test_background_work_without_memory_stops_only_its_kind() -> None:
    bench = Line(model(budget=400))
    bench.join(chat(1, 200))
    large, small = bench.join(chat(2, 300), background=True), bench.join(chat(3, 10), background=True)
    assert len(bench.admit()) == 1
    quick = bench.join(chat(4, 20))
    assert bench.admit() == [quick]
    assert list(bench.line) == [large, small]


def test_who_has_no_memory_stops_all_behind_until_something_changes() -> None:
    bench = Line(model(budget=400))
    first = bench.join(chat(1, 200))
    large, small = bench.join(chat(2, 300)), bench.join(chat(3, 10))
    background = bench.join(chat(4, 10), background=True)
    assert bench.admit() == [first]
    assert first.context
    bench.bench.pool.discard(first.context)
    assert bench.admit() == []
    bench.line.note_change()
    assert bench.admit() == [large, small, background]


def test_the_one_without_memory_leaves_the_line() -> None:
    bench = Line(model(budget=400))
    bench.join(chat(1, 200))
    large, small = bench.join(chat(2, 300)), bench.join(chat(3, 10))
    assert len(bench.admit()) == 1
    bench.line.remove(large)
    assert bench.admit() == [small]
    assert not bench.line


def test_one_who_was_moved_is_first() -> None:
    bench = Line()
    bench.join(chat(1))
    (moved,) = bench.admit()
    bench.join(chat(2))
    bench.line.appendleft(moved)
    assert next(iter(bench.line)) is moved


class CountingPool(SlotPool):
    """Counts how often tokens are compared."""

    compared = 0

    def find_reading(self, tokens: Several[int]) -> Reading | None:
        self.compared += 1
        return super().find_reading(tokens)


@pytest.mark.parametrize("waiting", [1, 60])
def test_waiting_costs_one_comparison(waiting: int) -> None:
    bench = Line()
    pool = bench.bench.pool = CountingPool(bench.bench.pool._memory)
    bench.line = WaitingLine(pool)
    first, *_ = [bench.join(LONG) for _ in range(1 + waiting)]
    bench.admit()
    compared = pool.compared
    assert compared <= 2 + waiting
    for _ in range(10):
        first.read(32)
        assert bench.admit() == []
    assert pool.compared == compared

"""Why a conversation is read again: what is told is what happened, and nothing is told of other conversations."""

from __future__ import annotations

import logging

import pytest

from foundry_cli.engine.rereading import why_read_again
from tests.engine.test_slot_pool import FakeModel, chat, model, warnings_for

KNOWN = chat(1, 1000)
MORE = chat(2, 30)


@pytest.mark.parametrize(
    ("tokens", "common", "told"),
    [
        ([*KNOWN[:3], 5, *KNOWN[4:], *MORE], 3, "1 tokens there were exchanged for 1"),
        ([*KNOWN[:3], 5, 6, 7, *KNOWN[3:], *MORE], 3, "3 tokens were put in there"),
        ([*KNOWN[:3], *KNOWN[100:], *MORE], 3, "97 tokens were left out there"),
        ([*KNOWN[:3], 5, *KNOWN[4:600], 5, 6, *KNOWN[600:], *MORE], 3, None),  # no more than 40% of it is known to be the same
        ([*KNOWN[:300], 5, *KNOWN[301:600], 5, 6, *KNOWN[600:], *MORE], 300, "300 tokens there were exchanged for 302"),
        ([*KNOWN[:740], 5, *KNOWN[741:], *MORE], 740, "1 tokens there were exchanged for 1"),
        ([*KNOWN[:990], *MORE, *MORE], 990, None),
        ([*KNOWN[:800], 5, *KNOWN[801:], *MORE], 800, None),  # little is read again
        ([*KNOWN[:3], 5, *KNOWN[4:]], 3, None),  # another attempt, or the same ending of another question
        ([*KNOWN[:3], *chat(3, 900), *KNOWN[-40:], *MORE], 3, None),
        (chat(3, 1000), 0, None),
        ([], 0, None),
        ([7] * 1000, 0, None),
    ],
)
def test_what_is_told(tokens: list[int], common: int, told: str | None) -> None:
    assert why_read_again(KNOWN, tokens, common) == told


def test_what_repeats_itself() -> None:
    known = [1, *[2, 3] * 200, *[4, 4, 4, 4]]
    assert why_read_again(known, [9, *known[1:], *MORE], 0) == "1 tokens there were exchanged for 1"
    assert why_read_again([4] * 400, [5] * 400, 0) is None


@pytest.mark.parametrize("length", range(0, 300, 7))
def test_short_ones(length: int) -> None:
    assert why_read_again(KNOWN[:length], [5, *KNOWN[1:length], *MORE], 0) is None or length >= 256


def test_the_beginning_is_not_blamed_for_what_is_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    bench = model()
    bench.use(KNOWN)
    (line,) = warnings_for(bench, [*KNOWN[:20], 5, *KNOWN[21:], *MORE], caplog)
    assert line == "a known conversation is read again from token 20 of 1000 on: 1 tokens there were exchanged for 1"


def running(bench: FakeModel, tokens: list[int]) -> None:
    bench.read(bench.take(tokens), tokens)


@pytest.mark.parametrize("read", [0, 40, 1000])
def test_nothing_is_told_of_what_took_the_place_of_a_conversation(caplog: pytest.LogCaptureFixture, read: int) -> None:
    """Under memory pressure a slot is cut down to what is common and gets another text."""
    bench = model(budget=2600, rows=8)
    first, second, third = [*KNOWN[:3], *chat(3, 1100)], [*KNOWN[:3], *chat(4, 1100)], [*KNOWN[:3], *chat(5, 50)]
    bench.use(first)
    running(bench, chat(9, 1000))
    lease = bench.take(second, room=200)
    lease.context.append(second[len(lease.context.tokens) :][:read])
    with caplog.at_level(logging.WARNING, "foundry.engine"):
        assert bench.take(third, room=10).cached_tokens == 0
    assert caplog.records == []

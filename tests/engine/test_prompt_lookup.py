"""What follows in the prompt where the last tokens stood there, and drafts that do not pay."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from foundry_cli.engine.prompt_lookup import PromptLookup

PROMPT = [ord(letter) for letter in "to be or not to be, that is the question: be or be not?"]


def lookup_of(prompt: list[int]) -> PromptLookup:
    """After a step without a draft, which took one second."""
    lookup = PromptLookup(prompt)
    lookup.charge(0, 1, 1.0)
    return lookup


def drafted(answer: str, *, prompt: list[int] = PROMPT, most: int = 9) -> str:
    return "".join(map(chr, lookup_of(prompt).draft(prompt + [ord(letter) for letter in answer], most)))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" th", "e q"),  # the last of two places
        (", th", "at "),
        ("xyz, t", "hat"),
        ("be ", "not"),  # the last of three places
        (" to be", ", t"),  # the last of two
        ("r not to be", ", t"),
        (" be or", " be"),
        ("or be or", " be"),
        ("to be or", " no"),  # the place with more in common, though it is not the last one
        ("e q", "ues"),
        ("not?", ""),  # there the prompt ends
        ("no", ""),
        ("thx", ""),
    ],
)
def test_a_draft_is_what_followed(answer: str, expected: str) -> None:
    assert drafted(answer) == expected


def test_the_end_of_the_prompt_cuts_a_draft() -> None:
    assert drafted(" be n") == "ot?"
    assert drafted(" be not") == "?"


def test_of_equal_places_one_with_enough_behind_it() -> None:
    assert drafted("=====", prompt=[ord("=")] * 30) == "==="
    assert drafted("abc", prompt=list(b"abcdefghabcxyzuvwabc!")) == "xyz"
    assert drafted("abc", prompt=list(b"abc12abc1")) == "12a"


@pytest.mark.parametrize("prompt", [[], [1], [1, 2], [1, 2, 3]], ids=len)
def test_a_prompt_of_few_tokens(prompt: list[int]) -> None:
    for answer in ([1], [1, 2], [1, 2, 3]):
        assert lookup_of(prompt).draft([*prompt, *answer], 9) == []


def test_what_the_answer_repeats_of_itself_is_not_drafted() -> None:
    assert drafted("hmm hmm hmm hm") == ""


def test_no_more_than_there_is_room_for() -> None:
    assert [drafted(" th", most=most) for most in (-3, 0, 1, 2, 3)] == ["", "", "e", "e ", "e q"]


def test_a_draft_that_was_right_makes_the_next_one_longer() -> None:
    lookup, tokens = lookup_of(PROMPT), [*PROMPT, *b" th"]
    lengths = []
    for written in (4, 8, 3, 4):  # the whole draft and one more; part of it; all of a short one
        lengths.append(len(lookup.draft(tokens, 9)))
        lookup.charge(lengths[-1], written, 1.0)
    assert lengths == [3, 7, 7, 3]
    assert len(lookup.draft(tokens, 9)) == 7


def test_nothing_is_drafted_before_it_is_known_what_a_step_takes() -> None:
    assert PromptLookup(PROMPT).draft([*PROMPT, *b" th"], 9) == []


def answer(outcomes: Iterable[tuple[int, float]], steps: int) -> tuple[float, int, int]:
    """Seconds, tokens and drafts of an answer whose every step could have a draft; a step without takes one second.

    `outcomes`: of each draft, tokens that are chosen and seconds.
    """
    lookup, results = lookup_of(PROMPT), iter(outcomes)
    seconds, tokens, drafts = 1.0, 1, 0
    for _ in range(steps):
        draft = lookup.draft([*PROMPT, *b" th"], 9)
        written, took = next(results) if draft else (1, 1.0)
        lookup.charge(len(draft), written, took)
        seconds, tokens, drafts = seconds + took, tokens + written, drafts + bool(draft)
    return seconds, tokens, drafts


@pytest.mark.parametrize("steps", [10, 100, 1000])
@pytest.mark.parametrize(
    "outcome",
    [[(1, 1.4)], [(2, 2.5)], [(1, 2.5)], [(4, 5.0)], [(1, 2.5), (4, 2.5)], [(3, 1.5), *[(1, 1.4)] * 4]],
    ids=["wrong", "right and slow", "wrong and slow", "quite right and slow", "now and then right", "seldom right"],
)
def test_drafts_never_cost_more_than_one_of_them_and_a_thirtieth(outcome: list[tuple[int, float]], steps: int) -> None:
    seconds, tokens, drafts = answer(itertools.cycle(outcome), steps)
    worst = max(took - written for written, took in outcome)
    assert seconds <= 1.031 * tokens + worst
    assert drafts > 0


def test_drafts_that_are_wrong_are_still_tried() -> None:
    assert 10 < answer(itertools.repeat((1, 1.4)), 1000)[2] < 100


def test_drafts_that_pay_are_always_made() -> None:
    assert answer(itertools.repeat((4, 1.5)), 100)[2] == 100
    wrong_first = [*[(1, 1.4)] * 3, *[(4, 1.5)] * 1000]
    assert answer(wrong_first, 300)[2] > 200


def test_a_prompt_that_says_one_thing_only_is_searched_quickly() -> None:
    lookup = lookup_of([7] * 200_000)
    assert lookup.draft([7] * 200_100, 9) == [7, 7, 7]
    assert len(lookup._places(7)) <= 1000

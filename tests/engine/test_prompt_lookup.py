"""What follows in the prompt where the last tokens stood there, and drafts that do not pay."""

from __future__ import annotations

import pytest

from foundry_cli.engine.prompt_lookup import PromptLookup

PROMPT = [ord(letter) for letter in "to be or not to be, that is the question: be or be not?"]


def drafted(answer: str, *, prompt: list[int] = PROMPT, most: int = 9) -> str:
    return "".join(map(chr, PromptLookup(prompt).draft(prompt + [ord(letter) for letter in answer], most)))


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
        assert PromptLookup(prompt).draft([*prompt, *answer], 9) == []


def test_what_the_answer_repeats_of_itself_is_not_drafted() -> None:
    assert drafted("hmm hmm hmm hm") == ""


def test_no_more_than_there_is_room_for() -> None:
    assert [drafted(" th", most=most) for most in (-3, 0, 1, 2, 3)] == ["", "", "e", "e ", "e q"]


def test_a_draft_that_was_right_makes_the_next_one_longer() -> None:
    lookup, tokens = PromptLookup(PROMPT), [*PROMPT, *b" th"]
    lengths = []
    for written in (4, 8, 3, 4):  # the whole draft and one more; part of it; all of a short one
        lengths.append(len(lookup.draft(tokens, 9)))
        lookup.charge(lengths[-1], written, 1.0)
    assert lengths == [3, 7, 7, 3]
    assert len(lookup.draft(tokens, 9)) == 7


def drafts_of(lookup: PromptLookup, count: int, *, written: int, seconds: float) -> list[bool]:
    """Of `count` steps for which there is a place in the prompt, which were drafted for."""
    made = []
    for _ in range(count):
        draft = lookup.draft([*PROMPT, *b" th"], 9)
        made.append(bool(draft))
        lookup.charge(len(draft), written if draft else 1, seconds if draft else 1.0)
    return made


def test_drafts_that_are_wrong_become_rare() -> None:
    lookup = PromptLookup(PROMPT)
    made = drafts_of(lookup, 1000, written=1, seconds=1.1)
    assert made[:12] == [True, False, True, False, False, True, False, False, False, False, True, False]
    assert sum(made) < 25
    assert sum(made[-200:]) >= 2  # they are still tried


def test_drafts_that_are_right_and_take_too_long_become_rare_too() -> None:
    lookup = PromptLookup(PROMPT)
    lookup.charge(0, 1, 1.0)
    assert sum(drafts_of(lookup, 1000, written=2, seconds=2.1)) < 25


def test_one_that_pays_brings_them_back() -> None:
    lookup = PromptLookup(PROMPT)
    drafts_of(lookup, 200, written=1, seconds=1.1)
    made = drafts_of(lookup, 200, written=3, seconds=1.5)
    first = made.index(True)
    assert all(made[first:])

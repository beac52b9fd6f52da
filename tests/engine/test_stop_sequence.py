"""Stop sequences, however the text is cut."""

from __future__ import annotations

from itertools import combinations

import pytest

from foundry_cli.engine.stop_sequence import StopSequences


def shown(pieces: list[str], *sequences: str) -> tuple[str, bool]:
    stops = StopSequences(sequences)
    text = "".join(stops.add(piece) for piece in pieces)
    return text + stops.flush(), stops.is_stopped


CASES = [
    ("hello", (), "hello", False),
    ("hello", ("",), "hello", False),
    ("hello", ("x",), "hello", False),
    ("hello", ("l",), "he", True),
    ("hello", ("hello",), "", True),
    ("hello", ("h",), "", True),
    ("hello", ("o",), "hell", True),
    ("hello", ("helloo",), "hello", False),
    ("aaab", ("aab",), "a", True),
    ("ababac", ("abac",), "ab", True),
    ("abcd", ("abcd", "bc"), "a", True),  # `bc` is complete first
    ("abcd", ("bc", "bcd"), "a", True),
    ("abcabd", ("abd", "cab"), "ab", True),
    ("xENDy", ("END", "ND"), "x", True),
    ("a\n\nb", ("\n\n",), "a", True),
    ("日本語です", ("語で",), "日本", True),
]


@pytest.mark.parametrize(("text", "sequences", "expected", "is_stopped"), CASES)
def test_every_way_of_cutting(text: str, sequences: tuple[str, ...], expected: str, is_stopped: bool) -> None:
    for count in range(len(text)):
        for cuts in combinations(range(1, len(text)), count):
            pieces = [text[start:end] for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
            assert shown(pieces, *sequences) == (expected, is_stopped), pieces


def test_nothing_of_a_sequence_is_shown_early() -> None:
    stops = StopSequences(["<end>"])
    assert [stops.add(piece) for piece in ("a<", "e", "nd", "x")] == ["a", "", "", "<endx"]


def test_text_is_not_held_longer_than_needed() -> None:
    stops = StopSequences(["aab"])
    assert [stops.add(piece) for piece in "aaaa"] == ["", "", "a", "a"]
    assert stops.flush() == "aa"


def test_nothing_comes_after_a_match() -> None:
    stops = StopSequences(["x"])
    assert [stops.add("ax"), stops.add("more"), stops.flush()] == ["a", "", ""]

"""Incremental decoding, with the runtime's behaviour at bytes that are no character."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, product

import pytest

from foundry_cli.engine.detokenizer import Detokenizer
from tests.engine.fakes import decode_like_the_runtime

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
SPECIAL = 1 << 20


class Vocabulary:
    """Tokens made on demand, one per piece of bytes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def tokens(self, pieces: Sequence[bytes]) -> list[int]:
        first = len(self.pieces)
        self.pieces += pieces
        return list(range(first, len(self.pieces)))

    def decode(self, tokens: Sequence[int]) -> str:
        return decode_like_the_runtime([byte for token in tokens if token != SPECIAL for byte in self.pieces[token]])


def stream(decode: Callable[[Sequence[int]], str], tokens: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(decode)
    return [*(detokenizer.add(token) for token in tokens), detokenizer.flush()]


@pytest.mark.parametrize("text", ["hello", "aé日😀", "😀😀", "\N{FAMILY}\u200d\N{GIRL}", "x\N{COMBINING ACUTE ACCENT}y"])
def test_every_way_of_cutting_the_bytes(text: str) -> None:
    data = text.encode()
    for count in range(len(data)):
        for cuts in combinations(range(1, len(data)), count):
            vocabulary = Vocabulary()
            tokens = vocabulary.tokens([data[a:b] for a, b in zip((0, *cuts), (*cuts, len(data)), strict=True)])
            parts = stream(vocabulary.decode, tokens)
            assert "".join(parts) == text
            assert not any(REPLACEMENT in part for part in parts)


@pytest.mark.parametrize("bad", [b"\xff", b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xff" * 9])
def test_text_after_bytes_that_are_no_character_is_not_lost(bad: bytes) -> None:
    vocabulary = Vocabulary()
    text = b"a" + bad + "bé😀!".encode()
    parts = stream(vocabulary.decode, vocabulary.tokens([bytes([byte]) for byte in text]))
    shown = "".join(parts)
    assert shown.startswith("a" + REPLACEMENT)
    assert shown.endswith("bé😀!")
    assert set(shown[1:-4]) == {REPLACEMENT}


def test_a_character_right_behind_bad_bytes_survives_however_many_they_are() -> None:
    for count in range(1, 9):
        vocabulary = Vocabulary()
        tokens = vocabulary.tokens([bytes([byte]) for byte in b"\xf0" * count + "😀".encode()])
        assert "".join(stream(vocabulary.decode, tokens)).strip(REPLACEMENT) == "😀"


def test_half_a_character_at_the_end_is_left_out() -> None:
    vocabulary = Vocabulary()
    assert "".join(stream(vocabulary.decode, vocabulary.tokens([b"ab", "😀".encode()[:3]]))) == "ab"


def test_all_short_sequences_of_difficult_bytes_end_and_keep_letters() -> None:
    for data in product((0x61, 0x80, 0xC3, 0xE2, 0xF0, 0xFF), repeat=5):
        vocabulary = Vocabulary()
        shown = "".join(stream(vocabulary.decode, vocabulary.tokens([bytes([byte]) for byte in data])))
        assert shown.count("a") == data.count(0x61), data


def test_nothing_comes_out_for_control_tokens() -> None:
    vocabulary = Vocabulary()
    first, second = vocabulary.tokens([b"a", b"b"])
    assert stream(vocabulary.decode, [SPECIAL, first, SPECIAL, SPECIAL, second, SPECIAL]) == ["", "a", "", "", "b", "", ""]


def sentencepiece(tokens: Sequence[int]) -> str:
    """Words with a blank before each, but not before the first of what is decoded."""
    return "".join(" abc"[0] + chr(token) for token in tokens if token != SPECIAL).removeprefix(" ")


@pytest.mark.parametrize("inserted", [(), (SPECIAL,), (SPECIAL, SPECIAL)])
def test_leading_blanks_that_depend_on_the_neighbours(inserted: tuple[int, ...]) -> None:
    tokens = [token for letter in "xyz" for token in (ord(letter), *inserted)]
    assert "".join(stream(sentencepiece, tokens)) == sentencepiece(tokens) == "x y z"


def test_no_more_is_decoded_for_a_long_answer() -> None:
    """The work for one token does not grow with the answer."""
    longest = 0

    def decode(tokens: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(tokens))
        return decode_like_the_runtime(tokens)

    stream(decode, list("é".encode() * 200 + b"\xff" * 50))
    assert longest <= 8

"""Foreign text on the terminal."""

from __future__ import annotations

import pytest

from foundry_cli.repl.sanitizer import Sanitizer, encodable, sanitize

CASES = {
    "plain": ("Grüße, 世界 😀\tand\nmore", "Grüße, 世界 😀\tand\nmore"),
    "colour": ("a\x1b[31mred\x1b[0m b", "ared b"),
    "cursor": ("a\x1b[2J\x1b[10;10Hb\x1b[?1049hc", "abc"),
    "clipboard": ("a\x1b]52;c;ZXZpbA==\x07b", "ab"),
    "link": ("a\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\b", "atextb"),
    "title": ("a\x1b]0;owned\x1b\\b", "ab"),
    "device control": ("a\x1bPq#0\x1b\\b\x1b_x\x1b\\c\x1b^y\x1b\\d\x1bXz\x1b\\e", "abcde"),
    "eight bit": ("a\x9b31mb\x9d0;t\x9cc\x90q\x9cd", "abcd"),
    "reset": ("a\x1bcb\x1b(0c\x1b7d", "abcd"),
    "backspace": ("safe\x08\x08\x08\x08evil\x7f", "safeevil"),
    "bell": ("a\x07b\x00c\x0ed", "abcd"),
    "carriage return": ("good\rbad\r\nnext\r\r\nend", "good\nbad\nnext\n\nend"),
    "other line ends": ("a\x85b\u2028c\u2029d", "a\nb\nc\nd"),
    "bidi": ("a\u202eb\u202cc\u2066d\u2069e", "abcde"),
    "surrogate": ("a\ud83db", "a\ufffdb"),
    "joined emoji": ("👩\u200d💻 ❤\ufe0f", "👩\u200d💻 ❤\ufe0f"),
    "unfinished string": ("a\x1b]0;title\nb", "a\nb"),
    "sequence in a string": ("a\x1b]0;x\x1b[31mb", "ab"),
    "broken sequence": ("a\x1b[3\nb\x1b\nc\x1b[éd", "a\nb\nc\u00e9d"),
    "cancelled string": ("a\x1b", "a"),
}


@pytest.mark.parametrize(("text", "clean"), CASES.values(), ids=CASES)
def test_text_is_the_same_wherever_it_is_cut(text: str, clean: str) -> None:
    assert sanitize(text) == clean
    for cut in range(len(text) + 1):
        sanitizer = Sanitizer()
        assert sanitizer.feed(text[:cut]) + sanitizer.feed(text[cut:]) == clean
    sanitizer = Sanitizer()
    assert "".join(map(sanitizer.feed, text)) == clean


def test_a_string_without_end_swallows_only_so_much() -> None:
    rest = sanitize("\x1b]52;" + "x" * 10_000)
    assert 5_000 < len(rest) < 10_000
    assert sanitize("\x1b[" + "1" * 100 + "mtext").endswith("mtext")


def test_emoji_are_left_out_where_they_cannot_be_written() -> None:
    assert encodable("Grüße 😀 \u2192 é ✓\ufe0f", "latin-1") == "Grüße  ? é "
    assert encodable("Grüße 😀", "cp437") == "Grüße "
    assert encodable("Grüße 😀", "utf-8") == "Grüße 😀"

"""Tokens to text while they arrive: whole characters only, and the same text as decoding everything at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER = 4  # bytes of UTF-8, hence tokens that one character can be spread over


class Detokenizer:
    """Incremental decoder for one answer.

    A tokenizer's output for a token depends on its neighbours (leading blanks, bytes of one character), so a window
    is decoded twice, without and with the new token, and the difference is new. The window starts at a token whose text
    is already out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._emitted = 0  # tokens of the window whose text is out
        self._emitted_text = ""  # their text, decoded alone

    def add(self, token: int) -> str:
        """The text that `token` completes; empty while a character is only half there."""
        self._window.append(token)
        text = self._decode(self._window)
        if not text.endswith(_REPLACEMENT):
            return self._advance(text)
        pending = self._window[self._emitted :]
        for start in range(1, len(pending)):  # the runtime drops what follows bytes that are no character
            if (tail := self._decode(pending[start:])) and _REPLACEMENT not in tail:
                self._restart(pending[start:], tail)
                return _REPLACEMENT + tail
        if len(pending) < _LONGEST_CHARACTER:
            return ""
        new = text[len(self._emitted_text) :]
        self._restart([], "")
        return new

    def flush(self) -> str:
        """What is left at the end, without the bytes of a character that never became whole."""
        if self._emitted == len(self._window):
            return ""
        return self._advance(self._decode(self._window).rstrip(_REPLACEMENT))

    def _advance(self, text: str) -> str:
        new = text[len(self._emitted_text) :]
        tokens = self._window[self._emitted :]
        self._restart(tokens, self._decode(tokens))
        return new

    def _restart(self, tokens: list[int], text: str) -> None:
        self._window, self._emitted, self._emitted_text = tokens, len(tokens), text

"""Tokens to text while they arrive: whole characters only, and the same text as decoding everything at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER = 4  # bytes of UTF-8, hence tokens that one character can be spread over


class Detokenizer:
    """Incremental decoder for one answer.

    A tokenizer's output for a token depends on its neighbours (leading blanks, bytes of one character), so a window
    of the last tokens is decoded, and what is out already is left off. A token may end one character and begin the next.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []  # begins at the beginning of a character
        self._shown = ""  # the part of its text that is out
        self._pending = 0  # tokens at its end that hold an unfinished character

    def add(self, token: int) -> str:
        """The text that `token` completes; empty while a character is only half there."""
        self._window.append(token)
        text = self._decode(self._window)
        if not text.endswith(_REPLACEMENT):
            return self._complete(text)
        if len(text) - 1 > len(self._shown):
            new = text[len(self._shown) : -1]
            self._shown, self._pending = text[:-1], 1
            return new
        self._pending += 1
        return self._recover(self._window[-self._pending :])

    def flush(self) -> str:
        """What is left at the end, without the bytes of a character that never became whole."""
        return self._decode(self._window).removesuffix(_REPLACEMENT)[len(self._shown) :] if self._pending else ""

    def _complete(self, text: str) -> str:
        new = text[len(self._shown) :]
        if not new and not self._pending and len(self._window) > 1:
            self._window.pop()  # a control token: the neighbours are those around it
            return ""
        tokens = self._window[-1 - self._pending :]
        kept = self._decode(tokens)
        self._pending = 0
        if _REPLACEMENT in kept:  # it begins within a character
            self._shown = text
        else:
            self._window, self._shown = tokens, kept
        return new

    def _recover(self, pending: list[int]) -> str:
        """Go on behind bytes that are no character; the runtime drops what follows them."""
        for start in range(1, len(pending)):
            if (tail := self._decode(pending[start:])) and _REPLACEMENT not in tail:
                self._window, self._shown, self._pending = pending[start:], tail, 0
                return _REPLACEMENT + tail
        if len(pending) < _LONGEST_CHARACTER:
            return ""
        # The first cannot become a character any more; those behind it still can.
        self._window, self._shown, self._pending = pending[1:], "", len(pending) - 1
        return _REPLACEMENT

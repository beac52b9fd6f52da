"""A part of a reply that holds calls and their markers, and no text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from foundry_cli.engine.reply_format import CallStart, ReplyPiece, Text
from foundry_cli.engine.reply_formats.call_book import CallBook

LONGEST_NAME = 200
"""Characters that a name, with the markers around it, may have; what is longer is no call."""


class Section(ABC):
    """Reads one section behind its `opening`, a character at a time, until `is_over`."""

    def __init__(self, opening: str, book: CallBook) -> None:
        self.is_over = False
        self.has_call = False
        self.rest = ""  # when it is over: characters that were read and do not belong to it
        self._book = book
        self._held = opening  # becomes text if it turns out to be no call
        self._matched = ""  # of a closing marker

    def read(self, character: str) -> Sequence[ReplyPiece]:
        """What is certain after one more character."""
        self._held += character
        return self._read(character)

    @abstractmethod
    def _read(self, character: str) -> Sequence[ReplyPiece]:
        """The same; `character` is the last of what is held."""

    def end(self) -> Sequence[ReplyPiece]:
        """What is left at the end of the reply. A marker alone, and a call without a name, are nothing."""
        return []

    def _begin(self, name: str) -> CallStart:
        self._is_certain()
        return self._book.begin(name)

    def _is_certain(self) -> None:
        """What was read so far belongs to a call."""
        self.has_call, self._held = True, ""

    def _refuse(self, unread: int = 1) -> Sequence[ReplyPiece]:
        """It is no call: what is held is text; the last `unread` characters are looked at again, as they may open a section."""
        text, self.rest = self._held[:-unread], self._held[-unread:]
        text = text.lstrip(" \t\r\n,;") if self.has_call else text
        self.is_over, self.has_call = True, False
        return [Text(text)] if text else []

    def _read_closing(self, closing: str, character: str) -> Sequence[ReplyPiece]:
        """Compare one more character with the marker at the end."""
        self._matched += character
        if self._matched == closing and self.has_call:
            return self._finish()
        if closing.startswith(self._matched) and self._matched != closing:
            return []
        return self._leave() if self.has_call else self._refuse(len(self._matched))

    def _stop(self) -> Sequence[ReplyPiece]:
        """The last character does not belong to a section."""
        return self._leave() if self.has_call else self._refuse()

    def _leave(self) -> Sequence[ReplyPiece]:
        """The section was over before what is held."""
        self.is_over, self.rest = True, self._held.lstrip()
        return []

    def _finish(self) -> Sequence[ReplyPiece]:
        """The section is over with the last character."""
        self.is_over = True
        return []


SectionFactory = Callable[[str, CallBook], Section]

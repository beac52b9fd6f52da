"""A part of a reply that holds calls and their markers, and no text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from foundry_cli.engine.reply_format import CallStart, ReplyPiece, Text
from foundry_cli.engine.reply_formats.call_book import CallBook


class Section(ABC):
    """Reads one section behind its `opening`, a character at a time, until `is_over`."""

    def __init__(self, opening: str, book: CallBook) -> None:
        self.is_over = False
        self.has_call = False
        self.rest = ""  # when it is over: characters that were read and do not belong to it
        self._book = book
        self._held = opening  # becomes text if it turns out to be no call

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

    def _refuse(self) -> Sequence[ReplyPiece]:
        """It is no call: what is held is text, and the last character is looked at again, as it may open another section."""
        text = self._held[:-1].lstrip(" \t\r\n,;") if self.has_call else self._held[:-1]
        self.is_over, self.has_call, self.rest = True, False, self._held[-1:]
        return [Text(text)] if text else []

    def _leave(self) -> Sequence[ReplyPiece]:
        """The section was over before what is held."""
        self.is_over, self.rest = True, self._held.lstrip()
        return []

    def _finish(self) -> Sequence[ReplyPiece]:
        """The section is over with the last character."""
        self.is_over = True
        return []


SectionFactory = Callable[[str, CallBook], Section]

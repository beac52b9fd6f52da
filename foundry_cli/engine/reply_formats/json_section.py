"""A section of calls that are JSON objects: one, several behind each other, or an array of them."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_cli.engine.reply_format import ReplyPiece, Text
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.json_call import JsonCall
from foundry_cli.engine.reply_formats.section import Section


class JsonSection(Section):
    """`closing` is the marker at its end, if there is one; a model may leave it off.

    `is_bare`: the opening is something that also a text may have; the section is one only when it has a whole call.
    """

    def __init__(self, opening: str, book: CallBook, closing: str = "", is_bare: bool = False) -> None:
        super().__init__(opening, book)
        self._closing = closing
        self._is_bare = is_bare
        self._is_array = opening.endswith("[")
        self._call: JsonCall | None = None

    def end(self) -> Sequence[ReplyPiece]:
        """A text that only looked like the beginning of a call is text."""
        pieces = [] if self._call is None else list(self._call.end())
        if self._is_bare and not self.has_call and self._held:
            return [Text(self._held)]
        return pieces

    def _read(self, character: str) -> Sequence[ReplyPiece]:
        return self._read_between(character) if self._call is None else self._read_call(self._call, character)

    def _read_between(self, character: str) -> Sequence[ReplyPiece]:
        if self._matched or (self._closing and character == self._closing[0]):
            return self._read_closing(self._closing, character)
        if character == "{":
            self._call = JsonCall(self._book.knows, self._begin, self._is_bare)
            return self._read_call(self._call, character)
        if character == "]" and self._is_array and self.has_call:
            self._is_array, self._held = False, ""
            return [] if self._closing else self._finish()
        if character == "[" and not self.has_call and not self._is_array:
            self._is_array = True
            return []
        if character.isspace() or (character in ",;" and self.has_call):
            return []
        return self._stop()

    def _read_call(self, call: JsonCall, character: str) -> Sequence[ReplyPiece]:
        pieces = call.read(character)
        if call.is_refused:
            return self._refuse()
        if call.is_started:
            self._held = ""
        if call.is_complete or call.is_broken:
            self._call = None
        if call.is_broken:
            self._held = character
            return [*pieces, *self._read_between(character)]
        return pieces

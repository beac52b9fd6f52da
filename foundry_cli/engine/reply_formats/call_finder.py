"""The parser of an answer: text, and sections of calls in it."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_cli.engine.reply_format import CallArguments, ReplyPiece, Text
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.section import Section, SectionFactory
from foundry_cli.engine.request import ToolUse


class CallFinder:
    """Finds the sections. Blanks before and behind one belong to the markup."""

    def __init__(self, openings: Openings, new_section: SectionFactory, tools: ToolUse) -> None:
        self._openings = openings
        self._new_section = new_section
        self._book = CallBook(tools)
        self._section: Section | None = None
        self._held = ""  # text that may belong to an opening
        self._is_beginning = True  # nothing but blanks came since the beginning, or since a call
        self._is_behind_call = False  # the same since a call

    @property
    def is_reasoning(self) -> bool:
        """Never: thoughts are parted before."""
        return False

    def add(self, text: str) -> Sequence[ReplyPiece]:
        """What is certain after more text."""
        pieces: list[ReplyPiece] = []
        while text:
            text = self._find(text, pieces) if self._section is None else self._read(self._section, text, pieces)
        return _joined(pieces)

    def end(self) -> Sequence[ReplyPiece]:
        """What was held back."""
        if self._section is not None:
            return self._section.end()
        return [Text(self._held)] if self._held else []

    def _find(self, text: str, pieces: list[ReplyPiece]) -> str:
        """Look for an opening; what is behind it."""
        text = self._held + text
        if self._is_behind_call:
            text = text.lstrip()
        place = self._openings.find(text, self._is_beginning)
        start, end = place or (len(text) - self._openings.held(text), len(text))
        shown = text[:start].rstrip() if place else text[:start]
        if shown:
            pieces.append(Text(shown))
            self._is_beginning = self._is_behind_call = False
        self._held = text[len(shown) : end]
        if place:
            self._section, self._held = self._new_section(self._held, self._book), ""
        return text[end:]

    def _read(self, section: Section, text: str, pieces: list[ReplyPiece]) -> str:
        """Go on in `section`; what is behind it."""
        for position, character in enumerate(text, start=1):
            pieces += section.read(character)
            if section.is_over:
                self._section = None
                self._is_beginning = self._is_behind_call = section.has_call
                return section.rest + text[position:]
        return ""


def _joined(pieces: Sequence[ReplyPiece]) -> Sequence[ReplyPiece]:
    """Arguments come in single characters; those of one call as one piece."""
    joined: list[ReplyPiece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, CallArguments) and isinstance(last, CallArguments) and piece.index == last.index:
            joined[-1] = CallArguments(piece.index, last.text + piece.text)
        else:
            joined.append(piece)
    return joined

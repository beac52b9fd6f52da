"""An answer between two tags, which are left off."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_cli.engine.reply_format import ReplyPiece
from foundry_cli.engine.reply_formats.openings import overlap
from foundry_cli.engine.reply_formats.thought import AnswerParser


class TaggedAnswer:
    """Passes on what is between the tags; an answer without the first one as it is."""

    def __init__(self, opening: str, closing: str, answer: AnswerParser) -> None:
        self._opening = opening
        self._closing = closing
        self._answer = answer
        self._is_tagged: bool | None = None  # None: not known yet
        self._is_beginning = True  # nothing came yet
        self._held = ""

    def add(self, text: str) -> Sequence[ReplyPiece]:
        """As `ReplyParser` has it."""
        text, self._held = self._held + text, ""
        if self._is_tagged is None:
            text = self._begin(text)
        if self._is_tagged:
            text = self._without_closing(text.lstrip() if self._is_beginning else text)
        self._is_beginning = self._is_beginning and not text
        return self._answer.add(text)

    def end(self) -> Sequence[ReplyPiece]:
        """As `ReplyParser` has it."""
        return [*self._answer.add(self._held), *self._answer.end()]

    def _begin(self, text: str) -> str:
        begun = text.lstrip()
        if self._opening.startswith(begun) and begun != self._opening:
            self._held = text
            return ""
        self._is_tagged = begun.startswith(self._opening)
        return begun.removeprefix(self._opening) if self._is_tagged else text

    def _without_closing(self, text: str) -> str:
        text = text.replace(self._closing, "")
        keep = len(text) - overlap(text, self._closing)
        self._held = text[keep:]
        return text[:keep]

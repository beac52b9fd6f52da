"""What a model thinks before it answers: between two tags, of which the template may have written the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from foundry_cli.engine.reply_format import Reasoning, ReplyPiece, Text
from foundry_cli.engine.reply_formats.openings import overlap


class Beginning(Enum):
    """How a reply begins."""

    OPEN = auto()  # in a thought that the prompt has opened
    POSSIBLE = auto()  # perhaps with a thought
    CLOSED = auto()  # without one


@dataclass(frozen=True)
class ThoughtTags:
    """The two tags."""

    opening: str
    closing: str

    def beginning(self, prompt_end: str) -> Beginning:
        """How the reply to a prompt that ends so begins."""
        end = prompt_end.rstrip()
        if end.endswith(self.opening):
            return Beginning.OPEN
        return Beginning.CLOSED if end.endswith(self.closing) else Beginning.POSSIBLE


_KNOWN_TAGS = (ThoughtTags("<think>", "</think>"), ThoughtTags("[THINK]", "[/THINK]"))


def thought_tags(texts: str) -> ThoughtTags | None:
    """Those that a template knows."""
    return next((tags for tags in _KNOWN_TAGS if tags.opening in texts or tags.closing in texts), None)


class AnswerParser(Protocol):
    """Takes what is behind the thought apart."""

    def add(self, text: str) -> Sequence[ReplyPiece]:
        """As `ReplyParser` has it."""

    def end(self) -> Sequence[ReplyPiece]:
        """As `ReplyParser` has it."""


class PlainAnswer:
    """An answer without calls."""

    def add(self, text: str) -> Sequence[ReplyPiece]:
        """All of it is text."""
        return [Text(text)] if text else []

    def end(self) -> Sequence[ReplyPiece]:
        """Nothing."""
        return []


class _Place(Enum):
    BEFORE = auto()  # perhaps a tag comes
    BEGINNING = auto()  # in the thought, before its first word
    WITHIN = auto()
    BEHIND = auto()  # behind the tag, before the first word of the answer
    ANSWER = auto()


class ThoughtParser:
    """Parts the thought from the answer. Blanks around both belong to the tags."""

    def __init__(self, tags: ThoughtTags, beginning: Beginning, answer: AnswerParser) -> None:
        places = {Beginning.OPEN: _Place.BEGINNING, Beginning.POSSIBLE: _Place.BEFORE, Beginning.CLOSED: _Place.ANSWER}
        self._tags = tags
        self._answer = answer
        self._place = places[beginning]
        self._held = ""

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes next is thought."""
        return self._place in (_Place.BEGINNING, _Place.WITHIN)

    def add(self, text: str) -> Sequence[ReplyPiece]:
        """What is certain after more text."""
        text, self._held = self._held + text, ""
        pieces: list[ReplyPiece] = []
        if self._place is _Place.BEFORE:
            text = self._look_for_thought(text)
        if self.is_reasoning:
            text = self._think(text, pieces)
        if self._place is _Place.BEHIND and (text := text.lstrip()):
            self._place = _Place.ANSWER
        return [*pieces, *self._answer.add(text)] if self._place is _Place.ANSWER else pieces

    def end(self) -> Sequence[ReplyPiece]:
        """What was held back; a thought that was not closed stays a thought."""
        held, self._held = self._held, ""
        if self.is_reasoning:
            return [Reasoning(held)] if held.strip() else []
        return [*self._answer.add(held), *self._answer.end()]

    def _look_for_thought(self, text: str) -> str:
        """What is behind the opening tag; nothing while it may still come."""
        begun = text.lstrip()
        if begun.startswith(self._tags.opening):
            self._place = _Place.BEGINNING
            return begun.removeprefix(self._tags.opening)
        if self._tags.opening.startswith(begun):
            self._held = text
            return ""
        self._place = _Place.ANSWER
        return text

    def _think(self, text: str, pieces: list[ReplyPiece]) -> str:
        """Pass the thought on; what is behind the closing tag."""
        if self._place is _Place.BEGINNING:
            text = text.lstrip()
        thought, tag, rest = text.partition(self._tags.closing)
        kept = thought if tag else thought[: len(thought) - overlap(thought, self._tags.closing)]
        kept = kept.rstrip()
        if kept:
            pieces.append(Reasoning(kept))
            self._place = _Place.WITHIN
        if tag:
            self._place = _Place.BEHIND
        else:
            self._held = thought[len(kept) :]
        return rest

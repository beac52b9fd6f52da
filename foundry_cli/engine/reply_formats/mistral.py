"""Mistral: `[TOOL_CALLS]` and a JSON array, or, as newer models write it, the name, `[ARGS]` and the arguments."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_cli.engine.reply_format import CallArguments, ReplyFormat, ReplyPiece
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import CallSyntax, json_call_syntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_object import NestedScanner
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.section import LONGEST_NAME, Section
from foundry_cli.engine.reply_formats.thought import ThoughtTags
from foundry_cli.engine.request import Tool

NAME = "mistral"
_OPENING, _ARGUMENTS, _IDENTITY = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and _OPENING in template


def reply_format(template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((_OPENING,)),
        section=MistralSection,
        syntax=_named_syntax() if _ARGUMENTS in template else json_call_syntax("arguments", _OPENING + "[", ", ", "]"),
        further_markers=frozenset({_ARGUMENTS, _IDENTITY}),
    )


def _named_syntax() -> CallSyntax:
    def before(tool: Tool) -> str:
        return tool.name

    return CallSyntax(before, "", opening=_OPENING, joint=_OPENING, identity=_IDENTITY, mark=_ARGUMENTS)


class MistralSection(Section):
    """Reads what is behind the marker, in either form."""

    def __init__(self, opening: str, book: CallBook) -> None:
        super().__init__(opening, book)
        self._array: JsonSection | None = None
        self._name = ""
        self._arguments: NestedScanner | None = None
        self._index = 0

    def end(self) -> Sequence[ReplyPiece]:
        """What the array has left."""
        return self._array.end() if self._array else []

    def _read(self, character: str) -> Sequence[ReplyPiece]:
        if self._arguments:
            return self._read_arguments(self._arguments, character)
        if self._array is None and not self._name.strip() and character in "[{":
            self._array = JsonSection(self._held[:-1], self._book)
        return self._read_array(self._array, character) if self._array else self._read_name(character)

    def _read_array(self, array: JsonSection, character: str) -> Sequence[ReplyPiece]:
        pieces, self._held = array.read(character), ""
        self.is_over, self.has_call, self.rest = array.is_over, array.has_call, array.rest
        return pieces

    def _read_name(self, character: str) -> Sequence[ReplyPiece]:
        """The name, and what may be between it and the arguments."""
        if character == "{":
            return self._start(character)
        self._name += character
        is_name = character.isalnum() or character in "_-.[]" or character.isspace()
        return [] if is_name and len(self._name) <= LONGEST_NAME else self._refuse()

    def _start(self, character: str) -> Sequence[ReplyPiece]:
        name = self._name.partition("[")[0].strip()
        if not self._book.knows(name):
            return self._refuse()
        start = self._begin(name)
        self._arguments, self._index = NestedScanner(), start.index
        return [start, *self._read_arguments(self._arguments, character)]

    def _read_arguments(self, arguments: NestedScanner, character: str) -> Sequence[ReplyPiece]:
        self._held = ""
        if arguments.read(character):
            self.is_over = True
        return [CallArguments(self._index, character)]

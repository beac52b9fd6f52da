"""DeepSeek: a list between markers; V3 and R1 write the arguments as a block of code behind the name, V3.1 as they are."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_cli.engine.reply_format import CallArguments, ReplyFormat, ReplyPiece
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import CallSyntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_object import NestedScanner
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.section import LONGEST_NAME, Section
from foundry_cli.engine.reply_formats.thought import ThoughtTags
from foundry_cli.engine.request import Tool

NAME = "deepseek"
_LIST, _LIST_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"  # noqa: RUF001 - the bars are as the models have them
_CALL, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"  # noqa: RUF001
_SEPARATOR = "<｜tool▁sep｜>"  # noqa: RUF001
_KIND = "function"
_FENCE = "```"


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and _LIST in template


def reply_format(template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((_LIST,)),
        section=DeepseekSection,
        syntax=_fenced_syntax() if _FENCE in template else _plain_syntax(),
        further_markers=frozenset({_LIST_END, _CALL, _CALL_END, _SEPARATOR}),
    )


def _fenced_syntax() -> CallSyntax:
    def before(tool: Tool) -> str:
        return f"{_CALL}{_KIND}{_SEPARATOR}{tool.name}\n{_FENCE}json\n"

    return CallSyntax(before, f"\n{_FENCE}{_CALL_END}", _LIST, "\n", _LIST_END)


def _plain_syntax() -> CallSyntax:
    def before(tool: Tool) -> str:
        return f"{_CALL}{tool.name}{_SEPARATOR}"

    return CallSyntax(before, _CALL_END, _LIST, "", _LIST_END)


class DeepseekSection(Section):
    """Reads the list."""

    def __init__(self, opening: str, book: CallBook) -> None:
        super().__init__(opening, book)
        self._step = self._read_between
        self._text = ""  # of what is being read
        self._kind = ""  # what is before the separator: the name, or that it is a function
        self._arguments = NestedScanner()
        self._index = 0

    def _read(self, character: str) -> Sequence[ReplyPiece]:
        return self._step(character)

    def _read_between(self, character: str) -> Sequence[ReplyPiece]:
        """Before a call or the end of the list."""
        self._text = (self._text + character).lstrip()
        if self._text == _LIST_END and self.has_call:
            return self._finish()
        if self._text == _CALL:
            self._text, self._step = "", self._read_kind
            return []
        return [] if any(marker.startswith(self._text) for marker in (_CALL, _LIST_END)) else self._stop()

    def _read_kind(self, character: str) -> Sequence[ReplyPiece]:
        self._text += character
        if self._text.endswith(_SEPARATOR):
            self._kind, self._text, self._step = self._text.removesuffix(_SEPARATOR).strip(), "", self._read_name
        return [] if len(self._text) <= LONGEST_NAME else self._refuse()

    def _read_name(self, character: str) -> Sequence[ReplyPiece]:
        """The name, if it is not there yet, and the beginning of the block of code, if there is one."""
        if character != "{":
            self._text += character
            return [] if len(self._text) <= LONGEST_NAME else self._refuse()
        name = self._text.strip().partition("\n")[0].partition(_FENCE)[0].strip() or self._kind
        if not self._book.knows(name):
            return self._refuse()
        start = self._begin(name)
        self._index, self._arguments, self._step = start.index, NestedScanner(), self._read_arguments
        return [start, *self._read_arguments(character)]

    def _read_arguments(self, character: str) -> Sequence[ReplyPiece]:
        self._held = ""
        if self._arguments.read(character):
            self._text, self._step = "", self._read_call_end
        return [CallArguments(self._index, character)]

    def _read_call_end(self, character: str) -> Sequence[ReplyPiece]:
        """Up to the end of the call; a model may leave it off at the end of the list."""
        self._text, self._held = self._text + character, ""
        if self._text.endswith(_LIST_END):
            return self._finish()
        if self._text.endswith(_CALL_END):
            self._text, self._step = "", self._read_between
        return []

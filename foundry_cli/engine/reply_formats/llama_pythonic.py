"""Llama 3.2 and 4 with templates that ask for it: a reply that is a list of Python calls, `[name(key=value), …]`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from foundry_cli.engine.reply_format import CallArguments, ReplyFormat, ReplyPiece, Text
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import CallSyntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.lark import escaped, literal
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.python_literal import LiteralScanner, json_of
from foundry_cli.engine.reply_formats.section import Section
from foundry_cli.engine.reply_formats.thought import ThoughtTags
from foundry_cli.engine.reply_formats.tool_schemas import arguments_schema, lark_json, listed_properties
from foundry_cli.engine.request import Tool

NAME = "llama_pythonic"
_SIGNS = ("[func_name1(", "[func_name(", "pythonic")
_OPENING, _CLOSING = "<|python_start|>", "<|python_end|>"
_MOST_OPTIONAL = 6  # arguments of which none is required: each of them may be the first, so the grammar grows with the square


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and any(sign in template for sign in _SIGNS)


def reply_format(_template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((_OPENING,), brackets="["),
        section=PythonicSection,
        syntax=CallSyntax(_before, ")", "[", ", ", "]", arguments, _sign),
        further_markers=frozenset({_CLOSING}),
    )


def _before(tool: Tool) -> str:
    return f"{tool.name}("


def _sign(name: str) -> str:
    return rf"\s*\[\s*{escaped(name)}\("


def arguments(tool: Tool) -> str:
    """The arguments as `key=value`, with values in JSON; as `**{…}` where a list of pairs cannot say what the schema says."""
    schema = arguments_schema(tool)
    listed = listed_properties(schema, _is_name)
    if listed is None or not (listed.required or len(listed.schemas) <= _MOST_OPTIONAL):
        return f'"**" {lark_json(schema, is_spaced=True)}'
    if not listed.required:
        return _any_of(listed.optional, listed.schemas)
    pairs = [_pair(key, listed.schemas, ", " if place else "") for place, key in enumerate(listed.required)]
    return " ".join([*pairs, *_further(listed.optional, listed.schemas)])


def _is_name(key: str) -> bool:
    return key.isascii() and key.isidentifier()


def _pair(key: str, schemas: Mapping[str, Any], separator: str = "") -> str:
    return f"{literal(f'{separator}{key}=')} {lark_json(schemas[key], is_spaced=True)}"


def _further(keys: Sequence[str], schemas: Mapping[str, Any]) -> list[str]:
    return [f"({_pair(key, schemas, ', ')})?" for key in keys]


def _any_of(keys: Sequence[str], schemas: Mapping[str, Any]) -> str:
    """None, or some of the arguments in their order."""
    some = [" ".join([_pair(key, schemas), *_further(keys[place + 1 :], schemas)]) for place, key in enumerate(keys)]
    return f"({' | '.join(some)})?" if some else ""


class PythonicSection(Section):
    """Reads the list."""

    def __init__(self, opening: str, book: CallBook) -> None:
        super().__init__(opening, book)
        self._closing = _CLOSING if opening.strip() else ""
        self._step = self._read_list
        self._text = ""  # of the name, key or value that is being read
        self._index: int | None = None  # of the call whose arguments are being read
        self._count = 0  # arguments so far
        self._name = ""
        self._key = ""
        self._literal = LiteralScanner()

    def end(self) -> Sequence[ReplyPiece]:
        """A list that was no call yet is text."""
        return [] if self.has_call or self._closing or not self._held else [Text(self._held)]

    def _read(self, character: str) -> Sequence[ReplyPiece]:
        return self._step(character)

    def _read_list(self, character: str) -> Sequence[ReplyPiece]:
        if character == "[":
            self._step = self._read_name
        return [] if character == "[" or character.isspace() else self._refuse()

    def _read_name(self, character: str) -> Sequence[ReplyPiece]:
        if character == "(" and self._book.knows(self._text):
            self._name, self._text, self._step = self._text, "", self._read_key
            return []
        if character.isspace() and not self._text:
            return []
        self._text += character
        return [] if character.isalnum() or character in "_-." else self._refuse()

    def _read_key(self, character: str) -> Sequence[ReplyPiece]:
        if character == "=" and self._text.strip():
            self._key, self._text, self._step, self._literal = self._text.strip(), "", self._read_value, LiteralScanner()
            return self._start_call()
        if character == ")" and not self._text.strip():
            return [*self._start_call(), *self._end_call()]
        self._text += character
        if self._text.strip() == "**" and self._index is None:
            self._key, self._text, self._step, self._literal = "", "", self._read_value, LiteralScanner()
            return []
        is_key = character.isspace() or character.isalnum() or character in "_*"
        return [] if is_key else self._stop()

    def _read_value(self, character: str) -> Sequence[ReplyPiece]:
        if not self._literal.is_end(character):
            self._text += character
            if self._index is not None:
                self._held = ""
            return []
        value, self._text = json_of(self._text) or json.dumps(self._text.strip(), ensure_ascii=False), ""
        if not self._key:
            return self._take_object(value, character)
        separator = ", " if self._count else "{"
        self._count += 1
        assert self._index is not None
        argument = CallArguments(self._index, f"{separator}{json.dumps(self._key, ensure_ascii=False)}: {value}")
        if character == ",":
            self._step = self._read_key
            return [argument]
        return [argument, *self._end_call()]

    def _take_object(self, value: str, character: str) -> Sequence[ReplyPiece]:
        """All arguments at once."""
        if not value.startswith("{") or character != ")":
            return self._refuse()
        start = self._begin(self._name)
        self._step = self._read_between
        return [start, CallArguments(start.index, value)]

    def _start_call(self) -> Sequence[ReplyPiece]:
        if self._index is not None:
            return []
        start = self._begin(self._name)
        self._index, self._count = start.index, 0
        return [start]

    def _end_call(self) -> Sequence[ReplyPiece]:
        assert self._index is not None
        end = CallArguments(self._index, "}" if self._count else "{}")
        self._index, self._held, self._step = None, "", self._read_between
        return [end]

    def _read_between(self, character: str) -> Sequence[ReplyPiece]:
        if character == ",":
            self._step = self._read_name
        elif character == "]":
            self._held, self._step = "", self._read_end
            return [] if self._closing else self._finish()
        return [] if character == "," or character.isspace() else self._leave()

    def _read_end(self, character: str) -> Sequence[ReplyPiece]:
        if character.isspace() and not self._matched:
            return []
        return self._read_closing(self._closing, character)

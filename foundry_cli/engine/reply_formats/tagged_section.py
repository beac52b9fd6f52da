"""A section of calls that are written in tags, as Qwen 3 Coder does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from foundry_cli.engine.reply_format import CallArguments, ReplyPiece
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.python_literal import json_of
from foundry_cli.engine.reply_formats.section import LONGEST_NAME, Section

OPENING, CLOSING = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"

_NOTES = frozenset({"type", "title", "description", "default", "examples"})  # they do not narrow down what a text may be

_NUMBERS = frozenset({"integer", "number"})
_TYPES = {
    '"': {"string"},
    "{": {"object"},
    "[": {"array"},
    "t": {"boolean"},
    "f": {"boolean"},
    "n": {"null"},
}  # by first character


def is_plain_text(schema: Any) -> bool:
    """Whether an argument is text of any kind, which stands as it is."""
    return isinstance(schema, dict) and schema.get("type") == "string" and _NOTES.issuperset(schema)


class TaggedSection(Section):
    """Reads the tags."""

    def __init__(self, opening: str, book: CallBook) -> None:
        super().__init__(opening, book)
        self._has_outer_tag = opening.endswith(OPENING)
        self._step = self._read_tag if self._has_outer_tag else self._read_name
        self._json: JsonSection | None = None  # some write calls as Qwen 3 does
        self._text = ""  # of the tag, name, key or value that is being read
        self._name = ""
        self._key = ""
        self._index = 0
        self._count = 0  # arguments so far

    def end(self) -> Sequence[ReplyPiece]:
        """What JSON has left."""
        return self._json.end() if self._json else []

    def _read(self, character: str) -> Sequence[ReplyPiece]:
        if self._json is None and self._step == self._read_tag and not self.has_call and self._text + character == "{":
            self._json = JsonSection(self._held[:-1], self._book, CLOSING)
        if self._json is None:
            return self._step(character)
        pieces, self._held = self._json.read(character), ""
        self.is_over, self.has_call, self.rest = self._json.is_over, self._json.has_call, self._json.rest
        return pieces

    def _read_tag(self, character: str) -> Sequence[ReplyPiece]:
        """Before a function or the end of the section."""
        self._text = (self._text + character).lstrip()
        if self._text == FUNCTION:
            self._text, self._step = "", self._read_name
            return []
        if self._text == CLOSING and self.has_call:
            return self._finish()
        is_tag = any(tag.startswith(self._text) for tag in (FUNCTION, CLOSING)) and self._text != CLOSING
        return [] if is_tag else self._stop()

    def _read_name(self, character: str) -> Sequence[ReplyPiece]:
        if character != ">":
            self._text += character
            return [] if len(self._text) <= LONGEST_NAME else self._refuse()
        self._name, self._text = self._text.strip(), ""
        if not self._book.knows(self._name):
            return self._refuse()
        start = self._begin(self._name)
        self._index, self._count, self._step = start.index, 0, self._read_parameter_tag
        return [start]

    def _read_parameter_tag(self, character: str) -> Sequence[ReplyPiece]:
        """Before an argument or the end of the function, which a model may leave off."""
        self._text = (self._text + character).lstrip()
        if self._text == PARAMETER:
            self._text, self._held, self._step = "", "", self._read_key
            return []
        if self._text in (FUNCTION_END, CLOSING):
            return self._end_call()
        if any(tag.startswith(self._text) for tag in (PARAMETER, FUNCTION_END, CLOSING)):
            return []
        return [*self._end_call(), *self._leave()]

    def _end_call(self) -> Sequence[ReplyPiece]:
        end = CallArguments(self._index, "}" if self._count else "{}")
        if self._text == CLOSING or not self._has_outer_tag:
            self.is_over = True
        if self._text in (FUNCTION_END, CLOSING):
            self._text, self._held, self._step = "", "", self._read_tag
        return [end]

    def _read_key(self, character: str) -> Sequence[ReplyPiece]:
        self._held = ""
        if character == ">":
            self._key, self._text, self._step = self._text.strip(), "", self._read_value
        else:
            self._text += character
        return []

    def _read_value(self, character: str) -> Sequence[ReplyPiece]:
        self._text, self._held = self._text + character, ""
        if not self._text.endswith(PARAMETER_END):
            return []
        text = self._text.removesuffix(PARAMETER_END).removeprefix("\n").removesuffix("\n")
        separator = ", " if self._count else "{"
        self._text, self._count, self._step = "", self._count + 1, self._read_parameter_tag
        return [CallArguments(self._index, f"{separator}{json.dumps(self._key, ensure_ascii=False)}: {self._value(text)}")]

    def _value(self, text: str) -> str:
        """The value of an argument as JSON: text as it is where the schema wants text."""
        schema = self._book.property_schema(self._name, self._key)
        value, wanted = None if is_plain_text(schema) else json_of(text), schema.get("type")
        types = set(wanted) if isinstance(wanted, list) else {wanted}
        if value is None or ("string" in types and not types & _TYPES.get(value[0], _NUMBERS)):
            return json.dumps(text, ensure_ascii=False)
        return value

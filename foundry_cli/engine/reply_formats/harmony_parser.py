"""The parser of replies that are a sequence of messages, as gpt-oss writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto

from foundry_cli.engine.reply_format import CallArguments, Reasoning, ReplyPiece, Text
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.openings import first_marker, overlap
from foundry_cli.engine.request import ToolUse

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
FUNCTIONS = "functions."  # before the name of a tool

_ENDS = (END, CALL, RETURN, START, CHANNEL)  # of a message; a model may leave the first ones off
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_THOUGHT = re.compile(re.escape(CHANNEL) + r"\s*analysis\b")


class _Kind(Enum):
    TEXT = auto()
    REASONING = auto()
    CALL = auto()


class HarmonyParser:
    """Reads the header of each message, then passes its text on as what the header says."""

    def __init__(self, prompt_end: str, tools: ToolUse | None) -> None:
        self._book = None if tools is None else CallBook(tools)
        self._header: str | None = ""  # of the next message, as far as it came; None: within a message
        self._held = ""
        self._kind = _Kind.TEXT
        self._index = 0  # of the call, if it is one
        self._is_empty = True  # nothing of the message came yet
        self._shown: set[_Kind] = set()
        _, marker, begun = prompt_end.rpartition(START)
        if marker:
            self.add(begun)
            self._is_empty, self._shown = True, set()

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes next is thought."""
        return self._header is None and self._kind is _Kind.REASONING

    def add(self, text: str) -> Sequence[ReplyPiece]:
        """What is certain after more text."""
        pieces: list[ReplyPiece] = []
        while text:
            text = self._read_message(text, pieces) if self._header is None else self._read_header(text, pieces)
        return pieces

    def end(self) -> Sequence[ReplyPiece]:
        """What was held back; text without any header is the answer."""
        if self._header is None:
            return self._pass_on(self._held)
        is_text = not any(marker in self._header for marker in (START, CHANNEL)) and not self._shown
        return [Text(self._header)] if is_text and self._header.strip() not in ("", "assistant") else []

    def _read_header(self, text: str, pieces: list[ReplyPiece]) -> str:
        header, marker, rest = f"{self._header}{text}".partition(MESSAGE)
        if not marker:
            self._header = header
            return ""
        self._header, self._held, self._is_empty = None, "", True
        pieces += self._open(header)
        return rest

    def _open(self, header: str) -> Sequence[ReplyPiece]:
        recipient = _RECIPIENT.search(header)
        if recipient is None:
            self._kind = _Kind.REASONING if _THOUGHT.search(header) else _Kind.TEXT
            return []
        name = recipient[1].removeprefix(FUNCTIONS)
        if self._book is None or not self._book.knows(name):
            self._kind = _Kind.TEXT
            return []
        start = self._book.begin(name)
        self._kind, self._index = _Kind.CALL, start.index
        return [start]

    def _read_message(self, text: str, pieces: list[ReplyPiece]) -> str:
        text = self._held + text
        place = first_marker(text, _ENDS)
        if place is None:
            shown = len(text) - max(overlap(text, marker) for marker in _ENDS)
            pieces += self._pass_on(text[:shown])
            self._held = text[shown:]
            return ""
        pieces += [*self._pass_on(text[: place[0]]), *self._close()]
        self._header, self._held = "", ""
        return text[place[0] :] if text.startswith((START, CHANNEL), place[0]) else text[place[1] :]

    def _pass_on(self, text: str) -> Sequence[ReplyPiece]:
        if not text:
            return []
        if self._kind is _Kind.CALL:
            self._is_empty = False
            return [CallArguments(self._index, text)]
        if self._is_empty and self._kind in self._shown:
            text = "\n\n" + text  # between two messages of one kind
        self._is_empty = False
        self._shown.add(self._kind)
        return [Reasoning(text)] if self._kind is _Kind.REASONING else [Text(text)]

    def _close(self) -> Sequence[ReplyPiece]:
        """A call without arguments passes an empty object."""
        return [CallArguments(self._index, "{}")] if self._kind is _Kind.CALL and self._is_empty else []

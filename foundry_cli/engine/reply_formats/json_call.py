"""One call that is written as a JSON object with the name and the arguments, in any order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from foundry_cli.engine.reply_format import CallArguments, CallStart, ReplyPiece
from foundry_cli.engine.reply_formats.json_object import ObjectScanner, Step

_NAME = "name"
_FUNCTION = "function"  # some models: the name, or an object with name and arguments
_ARGUMENTS = ("arguments", "parameters")
_KNOWN_KEYS = (_NAME, _FUNCTION, *_ARGUMENTS, "type", "id")


class JsonCall:
    """Reads the object a character at a time; the arguments are passed on as they come once the name is known.

    `is_bare`: no marker said that it is a call, so only what has both, and nothing unusual before them, is one.
    """

    def __init__(self, knows: Callable[[str], bool], begin: Callable[[str], CallStart], is_bare: bool) -> None:
        self.is_started = False
        self.is_complete = False  # the object is closed
        self.is_refused = False  # this is no call, and nothing of it was passed on
        self.is_broken = False  # the call is started, and the last character does not belong to the object
        self._knows = knows
        self._begin = begin
        self._is_bare = is_bare
        self._object = ObjectScanner()
        self._name: str | None = None
        self._arguments: str | None = None  # as far as they are known at the start
        self._is_streamed = False  # more of them come
        self._index = 0

    def read(self, character: str) -> Sequence[ReplyPiece]:
        """What is certain after one more character."""
        step = self._object.read(character)
        if self.is_started:
            return self._go_on(step, character)
        if Step.BROKEN in step or (Step.VALUE in step and not self._may_have(self._key())):
            self.is_refused = True
        if Step.MEMBER in step:
            self._take_member()
        elif Step.VALUE in step and self._name is not None and self._is_object():
            self._arguments, self._is_streamed = self._object.value, True
        if Step.CLOSED in step:
            self._close()
        return self._start() if self._name is not None and self._arguments is not None and not self.is_refused else []

    def end(self) -> Sequence[ReplyPiece]:
        """A call that was cut before its arguments has a name at least."""
        if self.is_started or self.is_refused or self._name is None or self._is_bare:
            return []
        return [self._begin(self._name)]

    def _key(self) -> str:
        key = _decoded(self._object.key)
        return key if isinstance(key, str) else ""

    def _may_have(self, key: str) -> bool:
        return not self._is_bare or key in _KNOWN_KEYS

    def _is_object(self) -> bool:
        """Whether the value is an object of arguments, which can be passed on before it is complete."""
        return self._object.kind == "{" and self._key() in _ARGUMENTS

    def _take_member(self) -> None:
        key, value = self._key(), _decoded(self._object.value)
        if key == _FUNCTION and isinstance(value, dict):
            self._take_function(value)
        elif key in (_NAME, _FUNCTION):
            self._take_name(value)
        elif key in _ARGUMENTS and self._is_object():
            self._arguments = self._object.value
        elif key in _ARGUMENTS:
            self._take_arguments(value)

    def _take_function(self, function: dict[str, Any]) -> None:
        self._take_name(function.get(_NAME))
        self._take_arguments(next((function[key] for key in _ARGUMENTS if key in function), None))

    def _take_name(self, name: Any) -> None:
        if isinstance(name, str) and self._knows(name):
            self._name = name
        else:
            self.is_refused = True

    def _take_arguments(self, value: Any) -> None:
        """What is no object in the text: an object in a string, or nothing."""
        if isinstance(value, dict):
            self._arguments = json.dumps(value, ensure_ascii=False)
        elif value is None or (isinstance(value, str) and not value.strip()):
            self._arguments = "{}"
        elif isinstance(value, str) and isinstance(_decoded(value), dict):
            self._arguments = value.strip()
        else:
            self.is_refused = True

    def _close(self) -> None:
        self.is_complete = True
        if self._name is not None and self._arguments is None and not self._is_bare:
            self._arguments = "{}"
        self.is_refused = self.is_refused or self._name is None or self._arguments is None

    def _start(self) -> Sequence[ReplyPiece]:
        assert self._name is not None
        assert self._arguments is not None
        self.is_started = True
        start = self._begin(self._name)
        self._index = start.index
        return [start, CallArguments(start.index, self._arguments)]

    def _go_on(self, step: Step, character: str) -> Sequence[ReplyPiece]:
        self.is_complete = Step.CLOSED in step
        self.is_broken = Step.BROKEN in step
        if not self._is_streamed or Step.VALUE not in step:
            return []
        self._is_streamed = Step.MEMBER not in step
        return [CallArguments(self._index, character)]


def _decoded(text: str) -> Any:
    """The value of JSON; None when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

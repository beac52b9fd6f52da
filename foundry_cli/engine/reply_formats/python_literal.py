"""Python's values as JSON."""

from __future__ import annotations

import ast
import json
import warnings
from typing import Any, NoReturn


class LiteralScanner:
    """Finds the end of one value in a list of arguments."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._is_escaped = False

    def is_end(self, character: str) -> bool:
        """Whether `character`, the next one, is the comma or bracket behind the value."""
        if self._quote:
            self._read_string(character)
            return False
        if character in ",)]}" and self._depth == 0:
            return True
        if character in "'\"":
            self._quote = character
        self._depth += (character in "([{") - (character in ")]}")
        return False

    def _read_string(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif character == "\\":
            self._is_escaped = True
        elif character == self._quote:
            self._quote = ""


def json_of(literal: str) -> str | None:
    """A value, in JSON or in Python, as JSON; None when it is neither."""
    for read in (_read_json, _read_python):
        try:
            return json.dumps(read(literal), ensure_ascii=False, allow_nan=False)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _read_json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _read_python(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of escapes that it does not know
        return ast.literal_eval(text.strip())


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)

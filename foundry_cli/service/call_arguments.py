"""The arguments of tool calls, which models write: anything that a grammar for JSON lets through, cut anywhere.

What a model wrote must be readable when it is shown, and when the client sends it back as a part of the conversation. So
nothing here is refused: of a key that is there twice the last value counts, a number that no computer holds becomes the
largest one, a NUL the replacement character.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from pydantic_core import from_json

from foundry_cli.service.json_body import DEEPEST

_LEVELS_AROUND = 16  # of a request in which arguments come back as an object, at most
_MOST_DIGITS = 100  # of an integer


def arguments_of_history(text: str) -> dict[str, Any] | str:
    """The object that `text` is; what is none, or nested too deep, stays a text, since models write such things."""
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError):
        return text
    return _tame(value) if _is_object(value, DEEPEST) else text


def arguments_as_object(text: str) -> dict[str, Any]:
    """The object that `text` is or begins; of arguments that were cut those that are whole, as Anthropic's clients do it.

    Of a text or a number that is cut nothing is left: half of a path or of a price is another one. What cannot be read at
    all, or is nested too deep, is an empty object.
    """
    value: Any = arguments_of_history(text)
    if isinstance(value, str):
        try:
            value = _tame(from_json(_without_cut_number(text), allow_partial=True))
        except ValueError:  # nested too deep, or a number of thousands of digits
            return {}
    return value if _is_object(value, DEEPEST - _LEVELS_AROUND) else {}


def _without_cut_number(text: str) -> str:
    begun = text.rstrip("0123456789.eE+-")
    return begun if text[len(begun) : len(begun) + 1].isdecimal() or text[len(begun) :].startswith("-") else text


def _integer(text: str) -> int | float:
    return int(text) if len(text.lstrip("-")) <= _MOST_DIGITS else _number(text)


def _number(text: str) -> float:
    return _finite(float(text))


def _finite(number: float) -> float:
    if math.isnan(number):
        return 0.0
    return max(-sys.float_info.max, min(sys.float_info.max, number))


def _is_object(value: Any, levels: int) -> bool:
    """Whether it is an object of at most so many levels."""
    level = [value] if isinstance(value, dict) else []
    for _ in range(levels):
        level = [inner for each in level if isinstance(each, (dict, list)) for inner in _values(each)]
        if not any(isinstance(each, (dict, list)) for each in level):
            return isinstance(value, dict)
    return False


def _values(container: Any) -> list[Any]:
    return list(container.values()) if isinstance(container, dict) else container


def _tame(value: Any) -> Any:
    if isinstance(value, dict):
        return {_tame(key): _tame(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_tame(inner) for inner in value]
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
        return sys.float_info.max if value > 0 else -sys.float_info.max
    return value

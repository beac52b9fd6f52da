"""What is refused before it is compiled: a few bytes of it would keep the compiler busy for ever, or fill the memory.

Each limit is measured: what it leaves compiles in less than half a second. Whatever gets past all of them has a time limit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from foundry_cli.engine.request import Grammar

LARGEST_GRAMMAR = 512 * 1024
"""Bytes of text, for the schemas of many tools; with llguidance's own limits this bounds the time to compile it."""
LARGEST_DIVISOR = 10_000
"""Least common multiple of all `multipleOf`, without the zeros at their ends: the states of the automaton that divides."""
LARGEST_REPETITION = 10_000
"""How often counted repetitions within each other repeat what is innermost."""
MOST_PATTERNS_TOGETHER = 8
"""Patterns of a schema that may have to match the same text."""

MOST_OPTIONAL = 480
"""Properties of one object that may be left out: any of them may come next, and llguidance has 2000 places for that."""

NAMES = {"json_object": "grammar", "json_schema": "schema", "regex": "regular expression", "lark": "grammar"}
_REGEX_PART = re.compile(
    r"\\[xuUpP]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<open>\()|(?P<close>\))"
    r"|(?P<other>[?*+])|\{\s*(?P<least>\d+)\s*(?P<range>,\s*(?P<most>\d*)\s*)?\}|.",
    re.DOTALL,
)
_LARK_PART = re.compile(
    r'"(?:\\.|[^"\\\n])*"|(?://|\#)[^\n]*|/(?P<regex>(?:\\.|[^/\\\n])+)/|(?P<json>%json\s*)|(?P<operator>[&~])', re.DOTALL
)


def check_limits(grammar: Grammar) -> None:
    """Raise `ValueError` for what is beyond a limit, naming it. What is no grammar at all is for the compiler to tell."""
    name = NAMES[grammar.kind]
    check_size(grammar)
    if grammar.kind == "regex":
        _check_pattern(grammar.text, name)
    elif grammar.kind == "lark":
        _check_lark(grammar.text)
    elif grammar.kind == "json_schema":
        _check_schemas([_document(grammar.text)])


def check_size(grammar: Grammar) -> None:
    """Raise `ValueError` for a text that is too long, whoever wrote it."""
    if len(grammar.text.encode("utf-8", "replace")) > LARGEST_GRAMMAR:
        raise ValueError(f"the {NAMES[grammar.kind]} is larger than {LARGEST_GRAMMAR >> 10} KiB.")


def _document(text: str, start: int = 0) -> Any:
    """The JSON value that begins at `start`; None if there is none."""
    try:
        return json.JSONDecoder(parse_float=Decimal).raw_decode(text, start)[0]
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _check_lark(text: str) -> None:
    schemas = []
    for part in _LARK_PART.finditer(text):
        if part["operator"]:
            raise ValueError(f"the grammar uses the operator '{part['operator']}', which can take for ever to compile.")
        if part["regex"]:
            _check_pattern(part["regex"], "grammar")
        elif part["json"]:
            schemas.append(_document(text, part.end()))
    _check_schemas(schemas)


def _check_schemas(schemas: list[Any]) -> None:
    objects = [item for schema in schemas for item in _objects(schema)]
    _check_divisors(objects)
    if any(_optional(item) > MOST_OPTIONAL for item in objects):
        raise ValueError(f"the schema: an object has more than {MOST_OPTIONAL} 'properties' that are not 'required'.")
    patterns = {pattern for item in objects for pattern in _patterns(item)}
    for pattern in patterns:
        _check_pattern(pattern, "schema: 'pattern'")
    if len(patterns) > MOST_PATTERNS_TOGETHER and any(map(_is_intersection, objects)):
        raise ValueError(f"the schema has 'allOf' or '$ref' with more than {MOST_PATTERNS_TOGETHER} different 'pattern's.")


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects in `schema`, itself included, however deep they are."""
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _optional(item: dict[str, Any]) -> int:
    properties, required = item.get("properties"), item.get("required")
    return len(properties) - len(required if isinstance(required, list) else ()) if isinstance(properties, dict) else 0


def _patterns(item: dict[str, Any]) -> Iterator[str]:
    if isinstance(pattern := item.get("pattern"), str):
        yield pattern
    if isinstance(keys := item.get("patternProperties"), dict):
        yield from keys


def _is_intersection(item: dict[str, Any]) -> bool:
    """Whether patterns of different places in the schema meet here."""
    parts = item.get("allOf")
    return (isinstance(parts, list) and len(parts) > 1) or ("pattern" in item and ("$ref" in item or "allOf" in item))


def _check_divisors(objects: list[dict[str, Any]]) -> None:
    common = 1
    for item in objects:
        divisor = item.get("multipleOf")
        if isinstance(divisor, (int, Decimal)) and divisor:
            common = math.lcm(common, _states(Decimal(divisor)))
            if common > LARGEST_DIVISOR:
                raise ValueError("the schema: 'multipleOf' has too many different digits, alone or with the others.")


def _states(divisor: Decimal) -> int:
    """The digits of `divisor` as a number, without the zeros at its end."""
    digits = "".join(map(str, divisor.as_tuple().digits)).strip("0")
    return int(digits[: len(str(LARGEST_DIVISOR)) + 1] or 1)


def _check_pattern(pattern: str, name: str) -> None:
    if _largest_repetition(pattern) > LARGEST_REPETITION:
        raise ValueError(f"the {name} has counted repetitions within each other of more than {LARGEST_REPETITION} together.")


def _largest_repetition(pattern: str) -> int:
    """The largest product of the numbers of repetitions that are within each other; 1 when there is none within another."""
    groups = [1]  # of each open group: the largest product in it
    item = largest = 1  # of what the next repetition would repeat
    for part in _REGEX_PART.finditer(pattern):
        if part["least"]:
            is_nested = item > 1
            item *= max(1, int((part["most"] or part["least"])[:9]))
            largest = max(largest, item if is_nested else 1)
        elif part["open"]:
            groups.append(1)
            item = 1
        elif part["close"] and len(groups) > 1:
            item = groups.pop()
        elif not part["close"] and not part["other"]:
            item = 1
        groups[-1] = max(groups[-1], item)
    return largest

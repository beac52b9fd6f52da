"""References within a JSON schema that lead to any place in it, as references to definitions.

Whoever writes parts of a schema in other words would else take the targets of others away.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

_DEFINITIONS = "$defs"
_MOST_TARGETS = 500
_KEPT_PLACES = ("$defs", "definitions")


def with_own_targets(schema: Any) -> Any:
    """`schema` with a copy of each target among its definitions; references to definitions and to all of it stay."""
    definitions = schema.get(_DEFINITIONS, {}) if isinstance(schema, dict) else None
    if not isinstance(definitions, dict):
        return schema
    names: dict[str, str] = {}
    for reference in sorted(_references(schema)):
        if len(names) < _MOST_TARGETS and not _is_to_definition(reference) and _target(schema, reference) is not None:
            names[reference] = _new_name(definitions, len(names))
    if not names:
        return schema
    targets = {name: _renamed(_target(schema, reference), names) for reference, name in names.items()}
    renamed = _renamed(schema, names)
    return {**renamed, _DEFINITIONS: {**renamed.get(_DEFINITIONS, {}), **targets}}


def _references(value: Any) -> set[str]:
    """All texts at the key `$ref`, also where that is no reference: to find them does no harm."""
    found: set[str] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict) and isinstance(reference := item.get("$ref"), str):
            found.add(reference)
        stack += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return found


def _is_to_definition(reference: str) -> bool:
    parts = reference.split("/")
    return parts == ["#"] or (len(parts) == 3 and parts[0] == "#" and parts[1] in _KEPT_PLACES)


def _target(schema: Any, reference: str) -> Any:
    """What a JSON pointer (RFC 6901) in a fragment leads to; None when it is none, or leads nowhere."""
    first, *parts = reference.split("/")
    if first != "#":
        return None
    place = schema
    for part in parts:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict):
            place = place.get(key)
        elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            place = place[int(key)]
        else:
            return None
    return place if isinstance(place, (dict, bool)) else None


def _new_name(definitions: dict[str, Any], number: int) -> str:
    name = f"target_{number}"
    while name in definitions:
        name += "_"
    return name


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(reference := value.get("$ref"), str) and reference in names:
        renamed["$ref"] = f"#/{_DEFINITIONS}/{names[reference]}"
    return renamed

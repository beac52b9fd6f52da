"""JSON schemas as llguidance can enforce them: one word that it does not implement would have it refuse the whole schema.

`exact` says the same in its words, `loosened` leaves out what it has no words for. What it has is found out by trying:
`compiles` tells whether it takes a small schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from foundry_cli.engine.grammar_limits import MOST_OPTIONAL
from foundry_cli.engine.schema_references import with_own_targets

Compiles = Callable[[dict[str, Any]], bool]
_Change = Callable[[dict[str, Any]], Any]

_DEEPEST = 128  # schemas within each other; llguidance reads no document that is deeper
_MOST_TRIALS = 500  # in one schema: each may take some milliseconds; what is not tried stays as it is
_LONGEST_COPIES = 8 * 1024  # characters of one schema, repeated for each of the names that have it
_NAMED_PARTS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED_PARTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_PARTS = ("items", "additionalItems", "additionalProperties", "not")
_ANNOTATIONS = frozenset(
    {"$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema"}
)
_UNKNOWN = frozenset(
    {
        *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "propertyNames"),
        *("uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"),
        *("$dynamicRef", "$recursiveRef"),
    }
)
_OF_FORMATS = frozenset(
    {
        r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$",
        r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$",
    }
)
"""Patterns that llguidance cannot compile and that zod 4 writes beside the formats `duration` and `hostname`."""

_TYPES = {
    "pattern": "string",
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), "number"),
}


def exact(schema: Any, compiles: Compiles) -> Any:
    """The same without what says nothing: a format that is only an annotation, any name as the name of a property.

    A pattern is left out that is only what its format means, in the words of a library.
    """
    tried = _limited(compiles)
    return _changed(with_own_targets(schema), lambda item: _in_known_words(item, tried))


def loosened(schema: Any, compiles: Compiles) -> Any:
    """What allows all that `schema` allows, and more, but can be enforced."""
    tried = _limited(compiles)
    return _changed(with_own_targets(schema), lambda item: _without_unknown(item, tried))


def _limited(compiles: Compiles) -> Compiles:
    found: dict[str, bool] = {}

    def tried(schema: dict[str, Any]) -> bool:
        key = json.dumps(schema)
        if key not in found and len(found) < _MOST_TRIALS:
            found[key] = compiles(schema)
        return found.get(key, True)

    return tried


def _changed(schema: Any, change: _Change, depth: int = 0) -> Any:
    """`schema` with `change` applied to all schemas in it, from within; names of properties and values are no schemas."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return schema
    return change({key: _part(key, value, change, depth + 1) for key, value in schema.items()})


def _part(key: str, value: Any, change: _Change, depth: int) -> Any:
    if key in _NAMED_PARTS and isinstance(value, dict):
        return {name: _changed(item, change, depth) for name, item in value.items()}
    if key in _LISTED_PARTS and isinstance(value, list):
        return [_changed(item, change, depth) for item in value]
    return _changed(value, change, depth) if key in _PARTS else value


def _in_known_words(schema: dict[str, Any], compiles: Compiles) -> Any:
    if _is_anything(schema.get("not", False)):
        return False
    said = {key: value for key, value in schema.items() if not _says_nothing(key, value, schema, compiles)}
    return _with_names_listed(said)


def _is_anything(schema: Any) -> bool:
    return schema is True or (isinstance(schema, dict) and _ANNOTATIONS.issuperset(schema))


def _says_nothing(key: str, value: Any, schema: dict[str, Any], compiles: Compiles) -> bool:
    """Whether `key` restricts nothing, in `schema`; what llguidance takes in any case is not looked at."""
    match key, value:
        case "format", str():
            return not _is_known_format(value, compiles)
        case "pattern", str():
            return value in _OF_FORMATS and _is_known_format(schema.get("format"), compiles)
        case (("uniqueItems" | "not"), False):
            return True
        case (("unevaluatedItems" | "unevaluatedProperties"), _):
            return _is_anything(value)
        case (("dependentRequired" | "dependentSchemas" | "dependencies"), dict()):
            return not value
        case "propertyNames", _:
            return _is_anything(value) or (_takes_names(value) and not _said_of_names(value))
        case (("then" | "else"), _):
            return "if" not in schema
        case "if", _:
            return not {"then", "else"} & schema.keys()
        case (("contains" | "minContains" | "maxContains"), _):
            return "contains" not in schema or (schema.get("minContains") == 0 and "maxContains" not in schema)
    return key in ("$dynamicAnchor", "$recursiveAnchor")  # names for what is refused


def _is_known_format(value: Any, compiles: Compiles) -> bool:
    return isinstance(value, str) and compiles(_alone("format", value))


def _alone(key: str, value: Any) -> dict[str, Any]:
    return {"type": _TYPES.get(key, "string"), key: value}


def _takes_names(names: Any) -> bool:
    kind = names.get("type", "string") if isinstance(names, dict) else None
    return kind == "string" or (isinstance(kind, list) and "string" in kind)


def _said_of_names(names: dict[str, Any]) -> set[str]:
    """What restricts them. There is no way to enforce a format of names, so that it describes them, as JSON Schema has it."""
    return names.keys() - _ANNOTATIONS - {"type", "format"}


def _with_names_listed(schema: dict[str, Any]) -> dict[str, Any]:
    """`propertyNames` that lists the names, or has a pattern for them, as properties of these names and no others."""
    names, properties = schema.get("propertyNames"), schema.get("properties", {})
    if not _takes_names(names) or {"patternProperties", "unevaluatedProperties"} & schema.keys():
        return schema
    assert isinstance(names, dict)
    said, others = _said_of_names(names), schema.get("additionalProperties", True)
    allowed = names.get("enum") if said == {"enum"} else [names["const"]] if said == {"const"} else None
    if isinstance(allowed, list) and isinstance(properties, dict):
        listed = dict.fromkeys((name for name in allowed if isinstance(name, str)), others)
        known = {name: value for name, value in properties.items() if name in listed}
        if len(listed) > MOST_OPTIONAL or len(listed) * len(json.dumps(others)) > _LONGEST_COPIES:
            return schema
        return _with_names(schema, "properties", {**known, **listed, **known})
    pattern = names.get("pattern")
    if said == {"pattern"} and isinstance(pattern, str) and not properties:
        return _with_names(schema, "patternProperties", {pattern: others})
    return schema


def _with_names(schema: dict[str, Any], key: str, schemas: dict[str, Any]) -> dict[str, Any]:
    return {**_without(schema, "propertyNames"), key: schemas, "additionalProperties": False}


def _without(schema: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in keys}


def _without_unknown(schema: dict[str, Any], compiles: Compiles) -> dict[str, Any]:
    left = {key: value for key, value in schema.items() if key not in _UNKNOWN and _is_known(key, value, compiles)}
    patterns = left.get("patternProperties")
    if isinstance(patterns, dict) and not compiles({"type": "object", "patternProperties": dict.fromkeys(patterns, True)}):
        left = _without(left, "patternProperties", "additionalProperties")
    if not _is_countable(left, compiles):
        left = _without(left, "minProperties", "maxProperties")
    return _with_any_of(left)


def _is_known(key: str, value: Any, compiles: Compiles) -> bool:
    """A value that is no value for `key` stays, and is refused."""
    is_one = isinstance(value, str) if key == "pattern" else isinstance(value, (int, float)) and not isinstance(value, bool)
    return key not in _TYPES or not is_one or compiles(_alone(key, value))


def _is_countable(schema: dict[str, Any], compiles: Compiles) -> bool:
    """Whether llguidance can keep to how many properties there may be: mostly not with any that may be left out."""
    limits: dict[str, Any] = {key: schema[key] for key in ("minProperties", "maxProperties") if key in schema}
    properties, required = schema.get("properties"), schema.get("required", [])
    if not limits or not isinstance(properties, dict) or not isinstance(required, list):
        return True
    return compiles({"type": "object", "properties": dict.fromkeys(properties, True), "required": required, **limits})


def _with_any_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Any of the alternatives for exactly one of them; there may be others already."""
    parts = schema.get("allOf", [])
    if not isinstance(schema.get("oneOf"), list) or not isinstance(parts, list):
        return schema
    if "anyOf" not in schema:
        return {"anyOf" if key == "oneOf" else key: value for key, value in schema.items()}
    return {**_without(schema, "oneOf"), "allOf": [*parts, {"anyOf": schema["oneOf"]}]}

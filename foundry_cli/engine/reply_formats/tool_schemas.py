"""The JSON schemas of tools, as they are put into grammars."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foundry_cli.engine.request import Grammar, Tool, ToolUse
from foundry_cli.errors import InvalidRequestError

_OPTIONS = "x-guidance"  # read by llguidance
_DEFINITIONS = ("$defs", "definitions")
_PLAIN_KEYS = frozenset({"type", "properties", "required", "title", "description", "$schema", *_DEFINITIONS})


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """What the arguments of `tool` must be: an object.

    Where the schema lists properties and nothing else, only these are written, although it allows others: a weak model makes
    up more of them without end.
    """
    schema = {key: value for key, value in (tool.parameters or {}).items() if key != _OPTIONS}
    if (
        "properties" in schema
        and _PLAIN_KEYS.issuperset(schema)
        and set(schema.get("required", ())) <= set(schema["properties"])
    ):
        schema["additionalProperties"] = False
    return {**schema, "type": "object"}


@dataclass(frozen=True)
class ListedProperties:
    """What a schema says of an object, if that is no more than a list of properties. References hold in each schema."""

    schemas: Mapping[str, Any]
    required: Sequence[str]

    @property
    def optional(self) -> Sequence[str]:
        """The others."""
        return [key for key in self.schemas if key not in self.required]


def listed_properties(schema: Mapping[str, Any], is_name: Callable[[str], bool]) -> ListedProperties | None:
    """The list, if there is nothing else in `schema`, and all keys are names."""
    properties, required = schema.get("properties"), schema.get("required", ())
    if not isinstance(properties, dict) or not _PLAIN_KEYS.issuperset(schema.keys() - {"additionalProperties"}):
        return None
    if not set(required) <= set(properties) or not all(map(is_name, properties)):
        return None
    definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
    schemas = {key: _with_definitions(value, definitions) for key, value in properties.items()}
    return None if '"#"' in json.dumps(properties) else ListedProperties(schemas, list(required))


def _with_definitions(schema: Any, definitions: Mapping[str, Any]) -> Any:
    return {**definitions, **schema} if isinstance(schema, dict) and "$ref" in json.dumps(schema) else schema


def lark_json(schema: Any, is_spaced: bool = False) -> str:
    """JSON that satisfies `schema`, in a grammar: without blanks, or with one behind each comma and colon."""
    separators = {"item_separator": ", ", "key_separator": ": "} if is_spaced else {}
    options = {"whitespace_flexible": False, "lenient": False, **separators}
    fields = schema if isinstance(schema, dict) else {"allOf": [schema]}
    return f"%json {json.dumps({**fields, _OPTIONS: options})}"


def moved(schema: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The schema with references that hold when it is at `place`, a JSON pointer, of another one."""
    return {key: _moved(key, value, place) for key, value in schema.items()}


def _moved(key: str, value: Any, place: str) -> Any:
    if key == "$ref" and isinstance(value, str) and value.startswith("#"):
        return f"#{place}{value[1:]}"
    if isinstance(value, dict):
        return moved(value, place)
    return [_moved("", item, place) for item in value] if isinstance(value, list) else value


def enforced(use: ToolUse, enforceable: Callable[[Grammar], Grammar]) -> ToolUse:
    """The tools as a grammar can have them; `enforceable` raises `InvalidRequestError` for a schema that it cannot make so.

    That is passed on for a strict tool, and when a call is required. Otherwise any object may be the arguments of the tool.
    """
    tools = use.tools if use.named is None else tuple(tool for tool in use.tools if tool.name == use.named)
    is_required = use.is_required or use.named is not None
    return replace(use, tools=tuple(_enforced(tool, enforceable, tool.strict or is_required) for tool in tools))


def _enforced(tool: Tool, enforceable: Callable[[Grammar], Grammar], is_needed: bool) -> Tool:
    schema = Grammar("json_schema", json.dumps(arguments_schema(tool)), tool.strict)
    try:
        found = enforceable(schema)
    except InvalidRequestError:
        if is_needed:
            raise
        return replace(tool, parameters=None)
    return tool if found == schema else replace(tool, parameters=json.loads(found.text))

"""The tables of request fields in `docs`: what is honoured, what has no effect, what is refused.

They are made of what the service validates with: the models of requests with the notes in their annotations, and the
tables of further fields beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from foundry_cli.api import anthropic, completions, embeddings, openai, responses
from foundry_cli.api.field_notes import EFFECT, IN_PART, NO_EFFECT, VALUES

GENERATED = "<!-- Generated from the models of requests by 'python .ci/generate_docs.py'; do not edit. -->"

_INTRODUCTION = """\
*Honoured*: the answer is as the field says. *In part*: what cannot be honoured is refused. *No effect*: accepted, because it
would not change the answer. *Refused*: status 400, with a message that begins with the field. *Own*: an addition of Foundry.

`null` is the same as a field that is not given. Fields that are not in the table are unknown: they are ignored and named in
the header `x-foundry-ignored-fields`, or refused after `foundry service set --strict`."""

_KINDS = ("type", "role")  # fields by which an object says which one of several it is


@dataclass(frozen=True)
class Interface:
    """A route, and all that is known of its fields."""

    path: str
    reference: str
    model: type[BaseModel]
    own: frozenset[str]
    harmless: Mapping[str, str]
    unsupported: Mapping[str, str]
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def _of_tools(fields: Mapping[str, str]) -> dict[str, str]:
    return {f"tools[].{name}": reason for name, reason in fields.items()}


_OPENAI = "https://platform.openai.com/docs/api-reference"
CHAT = Interface(
    "/v1/chat/completions",
    f"{_OPENAI}/chat/create",
    openai.ChatCompletionRequest,
    openai.OWN_FIELDS,
    openai.HARMLESS_FIELDS,
    openai.UNSUPPORTED_FIELDS,
    openai.NEUTRAL_VALUES,
)
COMPLETIONS = Interface(
    "/v1/completions",
    f"{_OPENAI}/completions/create",
    completions.CompletionRequest,
    completions.OWN_FIELDS,
    completions.HARMLESS_FIELDS,
    completions.UNSUPPORTED_FIELDS,
)
EMBEDDINGS = Interface(
    "/v1/embeddings",
    f"{_OPENAI}/embeddings/create",
    embeddings.EmbeddingRequest,
    embeddings.OWN_FIELDS,
    {},
    {},
)
RESPONSES = Interface(
    "/v1/responses",
    f"{_OPENAI}/responses/create",
    responses.ResponsesRequest,
    responses.OWN_FIELDS,
    responses.HARMLESS_FIELDS,
    responses.UNSUPPORTED_FIELDS,
)
MESSAGES = Interface(
    "/v1/messages",
    "https://docs.anthropic.com/en/api/messages",
    anthropic.MessageRequest,
    anthropic.OWN_FIELDS,
    {**anthropic.HARMLESS_FIELDS, **_of_tools(anthropic.HARMLESS_TOOL_FIELDS)},
    {**anthropic.UNSUPPORTED_FIELDS, **_of_tools(anthropic.UNSUPPORTED_TOOL_FIELDS)},
)

PAGES = {
    "docs/openai-fields.md": ("Fields of OpenAI's interfaces", (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)),
    "docs/anthropic-fields.md": ("Fields of Anthropic's interface", (MESSAGES,)),
}


@dataclass(frozen=True)
class Row:
    """A field, what becomes of it, the values it may have, and why."""

    name: str
    outcome: str
    values: str = ""
    remark: str = ""


def pages() -> dict[str, str]:
    """The text of every page, by its path in the repository."""
    return {path: _page(title, interfaces) for path, (title, interfaces) in PAGES.items()}


def rows(interface: Interface) -> list[Row]:
    """Every field once, by name; those of objects after the object."""
    schema = interface.model.model_json_schema()
    found = list(_fields(schema, schema.get("$defs", {}), interface.own))
    found += [Row(name, "no effect", remark=reason) for name, reason in interface.harmless.items()]
    found += [_refused(name, reason, interface.neutral.get(name, ())) for name, reason in interface.unsupported.items()]
    return sorted(found, key=lambda row: row.name)


def _refused(name: str, reason: str, neutral: tuple[Any, ...]) -> Row:
    return Row(name, "in part" if neutral else "refused", f"only {_literals(neutral)}" if neutral else "", reason)


def _page(title: str, interfaces: tuple[Interface, ...]) -> str:
    parts = [GENERATED, f"# {title}", _INTRODUCTION]
    for interface in interfaces:
        parts += [f"## {interface.path}", f"<{interface.reference}>", _table(rows(interface))]
    return "\n\n".join(parts) + "\n"


def _table(found: list[Row]) -> str:
    lines = ["| Field | Outcome | Values | Remarks |", "|---|---|---|---|"]
    for row in found:
        cells = (f"`{row.name}`", row.outcome, row.values, row.remark)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _fields(schema: dict[str, Any], known: dict[str, Any], own: frozenset[str], prefix: str = "") -> Iterator[Row]:
    required = schema.get("required", ())
    for name, each in schema["properties"].items():
        outcome = "own" if f"{prefix}{name}" in own else _OUTCOMES[each.get(EFFECT)]
        values = f"only {_literals(each[VALUES])}" if VALUES in each else _values(each, known)
        remarks = [part["description"] for part in (each, *each.get("anyOf", ())) if "description" in part]
        yield Row(f"{prefix}{name}", outcome, values + ("; required" if name in required else ""), *remarks[:1])
        parts, place = _parts(each, known)
        if parts is not None:
            yield from _fields(parts, known, own, f"{prefix}{name}{place}.")


_OUTCOMES = {None: "honoured", NO_EFFECT: "no effect", IN_PART: "in part"}


def _parts(schema: dict[str, Any], known: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The object that a field is, or that is in its list, unless it may be something else; and what stands for the list.

    Objects that have nothing but a type need no rows.
    """
    choices = list(_choices(schema, known))
    if len(choices) == 1 and choices[0].get("type") == "array":
        return _parts(choices[0]["items"], known)[0], "[]"
    told = [choice for choice in choices if choice.get("properties", {}).keys() != {"type"}]
    return (told[0] if len(told) == 1 and "properties" in told[0] else None), ""


def _choices(schema: dict[str, Any], known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a value may be, one after the other, without null."""
    if "$ref" in schema:
        yield from _choices(known[schema["$ref"].rpartition("/")[2]], known)
    elif "anyOf" in schema or "oneOf" in schema:
        for choice in schema.get("anyOf") or schema["oneOf"]:
            yield from _choices(choice, known)
    elif schema.get("type") != "null":
        yield schema


def _values(schema: dict[str, Any], known: dict[str, Any]) -> str:
    """In words what a value may be; objects that differ in their type are told together."""
    phrases: list[str] = []
    kinds: dict[str, list[Any]] = {}
    for choice in _choices(schema, known):
        named = {key: _constants_of(choice.get("properties", {}).get(key, {}), known) for key in _KINDS}
        key = next((key for key in reversed(_KINDS) if named[key]), "")
        if key:
            kinds.setdefault(key, []).extend(named[key])
        elif (phrase := _phrase(choice, known)) not in phrases:
            phrases.append(phrase)
    phrases += [f"object with the {key} {_literals(values)}" for key, values in kinds.items()]
    return " or ".join(phrases)


def _phrase(schema: dict[str, Any], known: dict[str, Any]) -> str:
    if constants := _constants(schema):
        return _literals(constants)
    match schema.get("type"):
        case "boolean":
            return "true or false"
        case "integer" | "number" as kind:
            return f"{kind}{_range(schema.get('minimum'), schema.get('maximum'))}"
        case "string":
            pattern = f" that matches `{schema['pattern']}`" if "pattern" in schema else ""
            return f"text{_length(schema.get('minLength'), schema.get('maxLength'), 'characters')}{pattern}"
        case "array":
            size = _length(schema.get("minItems"), schema.get("maxItems"), "items")
            return f"list{size} (each: {_values(schema['items'], known)})"
        case _:
            return "object"


def _constants(schema: dict[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _constants_of(schema: dict[str, Any], known: dict[str, Any]) -> list[Any]:
    return [constant for choice in _choices(schema, known) for constant in _constants(choice)]


def _literals(values: Any) -> str:
    return ", ".join(f"`{text}`" for text in dict.fromkeys(map(json.dumps, values)))


def _range(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return f" from {least}" if least is not None else f" up to {most}" if most is not None else ""
    return f" from {least} to {most}"


def _length(least: int | None, most: int | None, unit: str) -> str:
    if least == 1 and most is None:
        return ", not empty"
    if least in (None, 0):
        return f" of at most {most} {unit}" if most is not None else ""
    return f" of {least} to {most} {unit}" if most is not None else f" of at least {least} {unit}"

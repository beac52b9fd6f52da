"""Which functions may be called, and whether one must be: the same rules for every interface.

An interface reads its own form into `Selection`; a wrong name is reported by the field that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foundry_cli.engine.request import Tool, ToolUse
from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.grammar_size import checked_schema

_SHOWN = 64  # characters of a name

FieldOf = str
"""Name of a field for errors, such as `tools[0].function`."""


@dataclass(frozen=True)
class Selection:
    """What a request says of its functions. Names come with their fields."""

    is_forbidden: bool = False
    is_required: bool = False
    named: tuple[str, FieldOf] | None = None
    allowed: Sequence[tuple[str, FieldOf]] | None = None  # None: all
    is_parallel: bool = True
    field: FieldOf = "tool_choice"
    schema_field: str = "parameters"  # where a function has its schema
    noun: str = "function"  # what the interface calls one


def tool_use(declared: Sequence[tuple[Tool, FieldOf]], selection: Selection) -> ToolUse | None:
    """The functions that may be called; None when there are none, or none of them shall be called.

    Raises `InvalidRequestError` for names that are there twice or not at all, and for a schema that is too large.
    """
    tools = _by_name(declared, selection)
    for name, field in [*(selection.allowed or ()), *([selection.named] if selection.named else [])]:
        if name not in tools:
            raise InvalidRequestError(f"{field}: there is no {selection.noun} {name[:_SHOWN]!r}.", param=field)
    if selection.allowed is not None:
        tools = {name: tools[name] for name, _ in selection.allowed}
    if selection.is_required and not tools:
        message = f"{selection.field}: there are no {selection.noun}s of which one could be required."
        raise InvalidRequestError(message, param=selection.field)
    if selection.is_forbidden or not tools:
        return None
    named = selection.named[0] if selection.named else None
    # One that is named is called once, as OpenAI has it: clients wait for the end of that call.
    return ToolUse(tuple(tools.values()), selection.is_required, named, selection.is_parallel and named is None)


def _by_name(declared: Sequence[tuple[Tool, FieldOf]], selection: Selection) -> dict[str, Tool]:
    tools: dict[str, Tool] = {}
    for tool, field in declared:
        if tool.name in tools:
            message = f"{field}.name: there are two {selection.noun}s {tool.name[:_SHOWN]!r}."
            raise InvalidRequestError(message, param=f"{field}.name")
        checked_schema(tool.parameters or {}, f"{field}.{selection.schema_field}")
        tools[tool.name] = tool
    return tools

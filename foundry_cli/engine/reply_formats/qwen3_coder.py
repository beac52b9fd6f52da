"""Qwen 3 Coder: between the tags `tool_call`, a tag with the name around one for each argument, with its text as it is."""

from __future__ import annotations

import json
from typing import Any

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats.call_syntax import CallSyntax, json_arguments
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.lark import ANYTHING, either, literal
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.tagged_section import (
    CLOSING,
    FUNCTION,
    FUNCTION_END,
    OPENING,
    PARAMETER,
    PARAMETER_END,
    TaggedSection,
    is_plain_text,
)
from foundry_cli.engine.reply_formats.thought import ThoughtTags
from foundry_cli.engine.reply_formats.tool_schemas import ListedProperties, arguments_schema, lark_json, listed_properties
from foundry_cli.engine.request import Tool

NAME = "qwen3_coder"
_END = f"\n{PARAMETER_END}\n"


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and OPENING in template and FUNCTION in template


def reply_format(_template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    rules = {"plain_text[lazy]": "PLAIN_TEXT", "PLAIN_TEXT": f"{ANYTHING} {literal(_END)}"}
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((OPENING, FUNCTION)),  # some leave the outer tag off
        section=TaggedSection,
        syntax=CallSyntax(_before, f"\n{CLOSING}", OPENING, f"\n{OPENING}", arguments=_arguments, rules=rules),
        further_markers=frozenset({CLOSING}),
    )


def _before(tool: Tool) -> str:
    if _listed(tool) is None:  # tags cannot say what the schema says
        return f'\n{{"name": "{tool.name}", "arguments": '
    return f"\n{FUNCTION}{tool.name}>\n"


def _arguments(tool: Tool) -> str:
    listed = _listed(tool)
    if listed is None:
        return f'{json_arguments(tool)} "}}"'
    required = [_parameter(key, listed.schemas[key]) for key in listed.required]
    optional = [f"({_parameter(key, listed.schemas[key])})?" for key in listed.optional]
    return " ".join([*required, *optional, literal(FUNCTION_END)])


def _listed(tool: Tool) -> ListedProperties | None:
    return listed_properties(arguments_schema(tool), lambda key: not set(key) & set("<>\n") and key.strip() == key != "")


def _parameter(key: str, schema: Any) -> str:
    """An argument. Text of any kind, or one of some texts, stands as it is, everything else as JSON."""
    begin = literal(f"{PARAMETER}{key}>\n")
    if is_plain_text(schema):
        return f"{begin} plain_text"
    choices = schema.get("enum") if isinstance(schema, dict) and schema.get("type", "string") == "string" else None
    if choices and all(_stands_for_itself(choice) for choice in choices):
        return f"{begin} {either([literal(choice) for choice in choices])} {literal(_END)}"
    return f"{begin} {lark_json(schema, is_spaced=True)} {literal(_END)}"


def _stands_for_itself(choice: Any) -> bool:
    """Whether it is a text that is read as the same one."""
    if not isinstance(choice, str) or not choice.strip() or "\n" in choice or "<" in choice:
        return False
    try:
        json.loads(choice)
    except ValueError:
        return True
    return False

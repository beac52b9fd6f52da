"""Models whose templates know no tools: the system message tells them to write a call as a JSON object in a line of its own."""

from __future__ import annotations

import json

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import json_call_syntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.thought import ThoughtTags
from foundry_cli.engine.request import Tool, ToolUse

NAME = "generic_json"
_FENCE = "```"  # many put JSON into a block of code, whatever they are told


def recognizes(_template: str, _knows_tools: bool) -> bool:
    """Any template: this is the format for all others."""
    return True


def reply_format(_template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((_FENCE + "json", _FENCE + "\n"), brackets="{[", is_by_line=True),
        section=_section,
        syntax=json_call_syntax("arguments", joint="\n", is_by_line=True),
        instructions=instructions,
    )


def instructions(tools: ToolUse) -> str:
    """The tools, and how to call them."""
    functions = "\n".join(_described(tool) for tool in tools.tools)
    return (
        "You can call functions. These are there, each with the JSON schema of its arguments:\n"
        f"{functions}\n"
        "To call one, write a line that holds only a JSON object with its name and its arguments, in this form:\n"
        '{"name": "the name", "arguments": {"an argument": "its value"}}\n'
        f"{_advice(tools)}"
    )


def _described(tool: Tool) -> str:
    fields = {"name": tool.name, "description": tool.description, "parameters": tool.parameters or {"type": "object"}}
    return json.dumps({key: value for key, value in fields.items() if value}, ensure_ascii=False)


def _advice(tools: ToolUse) -> str:
    if tools.named is not None:
        return f"Answer with a call of {tools.named} and nothing else."
    if tools.is_required:
        return (
            "Answer with a call and nothing else."
            if not tools.is_parallel
            else "Answer with one or more calls and nothing else."
        )
    number = "" if tools.is_parallel else " Call one function at most."
    return f"Call a function only if it helps with the answer; otherwise answer in plain text.{number}"


def _section(opening: str, book: CallBook) -> JsonSection:
    return JsonSection(opening, book, _FENCE if _FENCE in opening else "", is_bare=True)

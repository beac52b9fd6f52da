"""How a family writes calls, as far as a grammar needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from foundry_cli.engine.reply_formats.lark import escaped
from foundry_cli.engine.reply_formats.tool_schemas import arguments_schema, lark_json
from foundry_cli.engine.request import Tool


def json_arguments(tool: Tool) -> str:
    """The arguments as a JSON object with blanks between its parts, as most models were taught to write it."""
    return lark_json(arguments_schema(tool), is_spaced=True)


@dataclass(frozen=True)
class CallSyntax:
    """`opening` call `joint` call … `closing`; a call is `before` with the name, `mark`, the arguments, and `after`.

    `identity`: marker behind which a model may write an identifier of its own, before `mark`.
    `rules`: further ones that the arguments need.
    `sign`: without an opening, the expression that tells a call of a tool from text, up to where its arguments begin.
    `is_by_line`: such a call may stand in any line, not only at the beginning.
    `key`: the member of a JSON object that holds the arguments, if each call is one that has only it and the name.
    """

    before: Callable[[Tool], str]
    after: str
    opening: str = ""
    joint: str = ""
    closing: str = ""
    arguments: Callable[[Tool], str] = json_arguments
    sign: Callable[[str], str] | None = None
    is_by_line: bool = False
    key: str = ""
    identity: str = ""
    mark: str = ""
    rules: Mapping[str, str] = field(default_factory=dict)


def json_call_syntax(
    key: str, opening: str = "", joint: str = "", closing: str = "", start: str = "", end: str = "", is_by_line: bool = False
) -> CallSyntax:
    """Calls as JSON objects with the name and, as `key`, the arguments; each between `start` and `end`."""

    def before(tool: Tool) -> str:
        return f'{start}{{"name": "{tool.name}", "{key}": '

    def sign(name: str) -> str:
        return rf'\s*\{{\s*"name"\s*:\s*"{escaped(name)}"\s*,\s*"{key}"\s*:'

    return CallSyntax(
        before, "}" + end, opening, joint, closing, sign=None if opening else sign, is_by_line=is_by_line, key=key
    )

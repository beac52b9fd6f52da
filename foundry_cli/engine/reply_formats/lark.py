"""Pieces of grammars in llguidance's variant of Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence

from foundry_cli.engine.reply_formats.tool_schemas import lark_json
from foundry_cli.engine.request import Grammar

ANYTHING = "/(?s:.*)/"


def literal(text: str) -> str:
    """A text."""
    return json.dumps(text, ensure_ascii=False)


def written(text: str, control_tokens: Mapping[str, int]) -> str:
    """A text in which some markers may be tokens of their own."""
    names = sorted((name for name in control_tokens if name in text), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]
    return " ".join(f"<[{control_tokens[part]}]>" if part in control_tokens else literal(part) for part in parts if part)


def either(alternatives: Collection[str]) -> str:
    """One of them."""
    return f"({' | '.join(alternatives)})"


def rules(named: Mapping[str, str | None]) -> str:
    """The text of a grammar: each name and what it stands for."""
    return "".join(f"{name}: {value}\n" for name, value in named.items() if value is not None)


def repeated(item: str, joint: str, is_parallel: bool) -> str:
    """`item`, or several with `joint` between them."""
    return f"{item} ({joint} {item})*" if is_parallel else item


def sequence(*parts: str) -> str:
    """One behind the other; empty ones are left off."""
    return " ".join(part for part in parts if part)


def answer_of(grammar: Grammar) -> str:
    """A whole other grammar as part of one."""
    if grammar.kind == "json_object":
        return lark_json({"type": "object"})
    if grammar.kind == "json_schema":
        return lark_json(json.loads(grammar.text))
    if grammar.kind == "regex":
        return f"/{_without_slashes(grammar.text)}/"
    return f"%lark {{\n{grammar.text}\n}}"


def escaped(text: str) -> str:
    """A text in a regular expression."""
    return re.escape(text).replace("/", r"\/")


def _without_slashes(expression: str) -> str:
    """A slash, and a new line, would end the expression in a grammar."""
    parts: Sequence[str] = re.findall(r"\\?.", expression, re.DOTALL)
    return "".join({"/": r"\x2F", r"\/": r"\x2F", "\n": r"\n", "\\\n": r"\n"}.get(part, part) for part in parts)

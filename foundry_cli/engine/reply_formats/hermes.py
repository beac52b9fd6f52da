"""Qwen 2.5 and 3, Hermes and many others: a JSON object between the tags `tool_call`."""

from __future__ import annotations

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import json_call_syntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.thought import ThoughtTags

NAME = "hermes"
_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_OTHER_SIGNS = ("<arg_key>",)  # GLM writes no JSON between the tags


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and _OPENING in template and not any(sign in template for sign in _OTHER_SIGNS)


def reply_format(_template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((_OPENING,)),
        section=_section,
        syntax=json_call_syntax("arguments", _OPENING, "\n" + _OPENING, start="\n", end="\n" + _CLOSING),
        further_markers=frozenset({_CLOSING}),
    )


def _section(opening: str, book: CallBook) -> JsonSection:
    return JsonSection(opening, book, _CLOSING)

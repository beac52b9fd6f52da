"""Llama 3 and 4: a reply that is a JSON object with `name` and `parameters`, perhaps behind a marker."""

from __future__ import annotations

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import json_call_syntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.thought import ThoughtTags

NAME = "llama_json"
_HEADERS = ("<|start_header_id|>", "<|header_start|>")
_OPENINGS = ("<|python_tag|>", "<|python_start|>")
_CLOSING = "<|python_end|>"


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and any(header in template for header in _HEADERS)


def reply_format(_template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings(_OPENINGS, brackets="{["),
        section=_section,
        syntax=json_call_syntax("parameters", joint="; "),
        further_markers=frozenset({_CLOSING}),
    )


def _section(opening: str, book: CallBook) -> JsonSection:
    return JsonSection(opening, book, _CLOSING if _OPENINGS[1] in opening else "", is_bare=not opening.strip())

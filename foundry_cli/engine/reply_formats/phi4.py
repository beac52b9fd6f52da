"""Phi-4: a JSON array, behind the word `functools` or between `<|tool_call|>` tags, whichever the template tells of."""

from __future__ import annotations

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import json_call_syntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.thought import ThoughtTags

NAME = "phi4"
_WORD = "functools"
_OPENING, _CLOSING = "<|tool_call|>", "<|/tool_call|>"


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and any(marker in template for marker in (_WORD, "<|tool|>", _OPENING))


def reply_format(template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    opening, closing = (_WORD, "") if _WORD in template else (_OPENING, _CLOSING)
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((_OPENING, _WORD + "[")),
        section=_section,
        syntax=json_call_syntax("arguments", opening + "[", ", ", "]" + closing),
        further_markers=frozenset({_CLOSING}),
    )


def _section(opening: str, book: CallBook) -> JsonSection:
    is_word = opening.endswith("[")
    return JsonSection(opening, book, "" if is_word else _CLOSING, is_bare=is_word)

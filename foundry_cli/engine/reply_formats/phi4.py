"""Phi-4: a JSON array, behind the word `functools` or between `<|tool_call|>` tags, whichever the template tells of."""

from __future__ import annotations

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats.call_book import CallBook
from foundry_cli.engine.reply_formats.call_syntax import json_call_syntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.thought import thought_tags

NAME = "phi4"
_WORD = "functools"
_OPENING, _CLOSING = "<|tool_call|>", "<|/tool_call|>"


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and any(marker in template for marker in (_WORD, "<|tool|>", _OPENING))


def reply_format(texts: str) -> ReplyFormat:
    """The format for a template and control tokens with these texts."""
    opening, closing = (_WORD, "") if _WORD in texts else (_OPENING, _CLOSING)
    return Family(
        name=NAME,
        tags=thought_tags(texts),
        openings=Openings((_OPENING, _WORD + "[")),
        section=_section,
        syntax=json_call_syntax("arguments", opening + "[", ", ", "]" + closing),
        further_markers=frozenset({_CLOSING}),
    )


def _section(opening: str, book: CallBook) -> JsonSection:
    is_word = opening.endswith("[")
    return JsonSection(opening, book, "" if is_word else _CLOSING, is_bare=is_word)

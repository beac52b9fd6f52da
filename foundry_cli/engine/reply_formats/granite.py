"""Granite 3: a JSON array behind `<|tool_call|>`. Granite 4 writes as Hermes does, with its own other markers."""

from __future__ import annotations

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats import hermes
from foundry_cli.engine.reply_formats.call_syntax import json_call_syntax
from foundry_cli.engine.reply_formats.family import Family
from foundry_cli.engine.reply_formats.json_section import JsonSection
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.thought import ThoughtTags

NAME = "granite"
_ROLE = "<|start_of_role|>"
_OPENING = "<|tool_call|>"
_ANSWER_TAGS = ("<response>", "</response>")


def recognizes(template: str, knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return knows_tools and _ROLE in template and not hermes.recognizes(template, knows_tools)


def reply_format(template: str, tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; `tags` are those of the thoughts of its models."""
    return Family(
        name=NAME,
        tags=tags,
        openings=Openings((_OPENING, "<tool_call>")),  # some write the second one, also without a closing
        section=JsonSection,
        syntax=json_call_syntax("arguments", _OPENING + "[", ", ", "]"),
        answer_tags=_ANSWER_TAGS if _ANSWER_TAGS[0] in template else None,
    )

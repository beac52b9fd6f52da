"""How families of models write calls and thoughts, a module for each with the same names, chosen by the chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats import (
    deepseek,
    generic_json,
    granite,
    harmony,
    hermes,
    llama_json,
    llama_pythonic,
    mistral,
    phi4,
    qwen3_coder,
)
from foundry_cli.engine.reply_formats.thought import ThoughtTags, thought_tags


class _FamilyModule(Protocol):
    def recognizes(self, template: str, knows_tools: bool, /) -> bool: ...

    def reply_format(self, template: str, tags: ThoughtTags | None, /) -> ReplyFormat: ...


_FAMILIES: tuple[_FamilyModule, ...] = (
    harmony,
    deepseek,
    mistral,
    granite,
    phi4,
    qwen3_coder,
    hermes,
    llama_pythonic,
    llama_json,
    generic_json,
)
_TAG, _TAG_END = re.compile(r"\{[{%]"), re.compile(r"[%}]\}")  # of code in a template
_TOOLS = re.compile(r"\btools\b")


def find_reply_format(template: str | None, control_tokens: Mapping[str, int]) -> ReplyFormat:
    """The format of a model with this chat template, which may have none, and these control tokens.

    It is that of the first family that recognizes the template. One that does not know tools is of a family only if that
    writes all its replies in a form of its own.
    """
    source = template or ""
    family = next(family for family in _FAMILIES if family.recognizes(source, _knows_tools(source)))
    return family.reply_format(source, thought_tags("\n".join((source, *control_tokens))))


def _knows_tools(template: str) -> bool:
    """Whether the variable `tools` is used in its code."""
    codes = (_TAG_END.split(part, maxsplit=1)[0] for part in _TAG.split(template)[1:])
    return any(_TOOLS.search(code) for code in codes)

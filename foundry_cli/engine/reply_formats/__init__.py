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
_TOOLS_USED = re.compile(r"\{[{%](?:(?![%}]\}).)*\btools\b", re.DOTALL)


def find_reply_format(template: str | None, control_tokens: Mapping[str, int]) -> ReplyFormat:
    """The format of a model with this chat template, which may have none, and these control tokens.

    It is that of the first family that recognizes the template. One that does not know tools is of a family only if that
    writes all its replies in a form of its own.
    """
    source = template or ""
    knows_tools = _TOOLS_USED.search(source) is not None
    family = next(family for family in _FAMILIES if family.recognizes(source, knows_tools))
    return family.reply_format(source, thought_tags("\n".join((source, *control_tokens))))

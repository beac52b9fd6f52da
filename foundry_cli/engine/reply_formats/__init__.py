"""How families of models write calls and thoughts, a module for each with the same names, chosen by the chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats import generic_json, hermes

_FAMILIES = (hermes,)  # the first that recognizes a template
_TOOLS_USED = re.compile(r"\{[{%](?:(?![%}]\}).)*\btools\b", re.DOTALL)


def find_reply_format(template: str | None, control_tokens: Mapping[str, int]) -> ReplyFormat:
    """The format of a model with this chat template, which may have none, and these control tokens."""
    source = template or ""
    texts = "\n".join((source, *control_tokens))
    known = (family for family in _FAMILIES if family.recognizes(source)) if _TOOLS_USED.search(source) else iter(())
    return next(known, generic_json).reply_format(texts)

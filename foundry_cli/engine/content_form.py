"""Finds out whether a template wants the text of a message as it is, or as a list of parts.

Some templates go through `message.content` as through `[{"type": "text", "text": …}]`; of a plain text they write nothing, or
refuse it. A conversation with known words is written, and the words looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foundry_cli.engine.chat_template import Message
from foundry_cli.errors import FoundryError, TemplateTimeoutError

Render = Callable[[Sequence[Message]], str]

_WORDS = {"system": "probe_system", "user": "probe_user", "assistant": "probe_assistant"}
_CONVERSATIONS = (("user",), ("user", "assistant", "user"), ("system", "user"))
_FORMS = (frozenset[str](), frozenset(("user",)), frozenset((*_WORDS, "tool")))  # best first


def find_roles_with_parts(render: Render) -> frozenset[str]:
    """The roles whose texts the template behind `render`, which may raise any `FoundryError`, takes as parts.

    Raises `TemplateTimeoutError`.
    """
    usual, *others = _FORMS
    if all(_is_written(render, roles, usual) for roles in _CONVERSATIONS[:2]):
        return usual
    return max((usual, *others), key=lambda form: sum(_is_written(render, roles, form) for roles in _CONVERSATIONS))


def _is_written(render: Render, roles: tuple[str, ...], form: frozenset[str]) -> bool:
    messages = [{"role": role, "content": _WORDS[role]} for role in roles]
    try:
        text = render(with_parts(messages, form))
    except TemplateTimeoutError:
        raise
    except FoundryError:
        return False
    return all(_WORDS[role] in text for role in roles)


def with_parts(messages: Sequence[Message], roles: frozenset[str]) -> list[Message]:
    """The messages, the texts of those with one of `roles` as parts."""
    return [_with_parts(message) if message["role"] in roles else message for message in messages]


def _with_parts(message: Message) -> Message:
    text = message.get("content")
    return {**message, "content": [{"type": "text", "text": text}]} if isinstance(text, str) else message

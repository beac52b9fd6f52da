"""Tools, calls and their results as plain text, for templates that know nothing but roles and texts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from foundry_cli.engine.chat_template import Message


def tools_told(messages: Sequence[Message], instructions: str) -> list[Message]:
    """The conversation for a template that knows no tools: the system message tells of them, calls and results are text."""
    told = history_told(messages)
    if told and told[0]["role"] == "system":
        return [{**told[0], "content": f"{told[0]['content']}\n\n{instructions}"}, *told[1:]]
    return [{"role": "system", "content": instructions}, *told]


def history_told(messages: Sequence[Message]) -> list[Message]:
    """Calls and results as text. Results are one turn of the user, with what the user says next: many templates want turns."""
    told: list[Message] = []
    follows_result = False
    for message in messages:
        text = _as_text(message)
        if follows_result and text["role"] == "user":
            told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n{text['content']}"}
        else:
            told.append(text)
        follows_result = message["role"] == "tool" or (follows_result and text["role"] == "user")
    return told


def _as_text(message: Message) -> Message:
    """A call, or the result of one, as a message of the roles and texts that every template knows."""
    if message["role"] == "tool":
        name = message.get("name")
        return {"role": "user", "content": f"Result of {name or 'the call'}: {message['content']}"}
    calls = message.get("tool_calls") or ()
    if not calls:
        return message
    functions = [{"name": call["function"]["name"], "arguments": call["function"]["arguments"]} for call in calls]
    lines = [json.dumps(function, ensure_ascii=False, separators=(",", ":")) for function in functions]
    return {"role": "assistant", "content": "\n".join([message["content"], *lines] if message["content"] else lines)}

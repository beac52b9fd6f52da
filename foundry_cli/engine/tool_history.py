"""Earlier calls and their results, in the form that one template can write.

A form says what `history_probe.py` has found out about the template. The conversation comes as `GenerationRequest` has it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from foundry_cli.engine.chat_template import Message
from foundry_cli.engine.tool_text import history_told
from foundry_cli.errors import InvalidRequestError

_Pairs = list[tuple[dict[str, Any], list[Message]]]


@dataclass(frozen=True)
class HistoryForm:
    """How a template wants earlier calls."""

    is_native: bool = True  # False: it cannot write them, they are told as text
    is_one_by_one: bool = False  # one call in a message, its result behind it
    is_single: bool = False  # several calls in one answer cannot be written
    arguments: Literal["object", "text"] = "object"
    without_text: Literal["empty", "null", "absent"] = "empty"  # the content of a message that has nothing but calls
    text: Literal["beside", "before", "dropped"] = "beside"  # where the text of a message with calls goes
    thought: Literal["reasoning_content", "thinking", "joined"] = "reasoning_content"  # joined: `thinking` takes the text too
    has_short_ids: bool = False  # nine letters and digits


def has_tool_history(messages: Sequence[Message]) -> bool:
    """Whether there are earlier calls, or results of them."""
    return any(message["role"] == "tool" or message.get("tool_calls") for message in messages)


def write_history(messages: Sequence[Message], form: HistoryForm) -> list[Message]:
    """The conversation in that form. Raises `InvalidRequestError` when it cannot be written."""
    if not form.is_native:
        return history_told(messages)
    return [written for message, results in _turns(messages) for written in _write_turn(message, results, form)]


def _turns(messages: Sequence[Message]) -> Iterator[tuple[Message, Sequence[Message]]]:
    """Each message, together with the results that follow when it has calls."""
    position = 0
    while position < len(messages):
        end = position + 1
        while messages[position].get("tool_calls") and end < len(messages) and messages[end]["role"] == "tool":
            end += 1
        yield messages[position], messages[position + 1 : end]
        position = end


def _write_turn(message: Message, results: Sequence[Message], form: HistoryForm) -> list[Message]:
    calls = message.get("tool_calls") or []
    if not calls:
        return [_with_identity(message, form)]
    if form.is_single and len(calls) > 1:
        sentence = "messages: the chat template of this model cannot write several tool calls of one answer."
        raise InvalidRequestError(sentence, hint="Set parallel_tool_calls to false.", param="messages")
    before, head = _opening(message, form)
    pairs = _pairs(calls, results)
    if not form.is_one_by_one:
        return [*before, *_write_calls(head, pairs, form)]
    bare = _without_text({"role": message["role"]}, form)
    return [*before, *(new for pair in pairs for new in _write_calls(head if pair is pairs[0] else bare, [pair], form))]


def _write_calls(head: Message, pairs: _Pairs, form: HistoryForm) -> list[Message]:
    """One message of calls, and the results in the order of the calls: not all templates write identifiers."""
    calls = [_write_call(call, form) for call, _ in pairs]
    return [{**head, "tool_calls": calls}, *(_with_identity(result, form) for _, results in pairs for result in results)]


def _write_call(call: dict[str, Any], form: HistoryForm) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    if form.arguments == "text" and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    identity = _short_id(call["id"]) if form.has_short_ids else call["id"]
    return {"id": identity, "type": "function", "function": {"name": call["function"]["name"], "arguments": arguments}}


def _pairs(calls: Sequence[dict[str, Any]], results: Sequence[Message]) -> _Pairs:
    """Each call with its results; a result of no call that is known goes to the last one."""
    pairs: _Pairs = [(call, []) for call in calls]
    for result in results:
        own = [found for call, found in pairs if call["id"] == result.get("tool_call_id")]
        free = [found for found in own if not found]  # some clients give all calls the same identifier
        (free or own or [pairs[-1][1]])[0].append(result)
    return pairs


def _opening(message: Message, form: HistoryForm) -> tuple[list[Message], Message]:
    """What comes before the message with the calls, and that message without them."""
    head = {key: value for key, value in message.items() if key != "tool_calls"}
    thought = head.get("reasoning_content")
    if thought and form.thought == "joined" and head["content"]:
        thought, head["content"] = f"{thought}\n\n{head['content']}", ""
    if thought and form.thought != "reasoning_content":
        head["thinking"] = thought
    if not head["content"] or form.text == "beside":
        return [], head if head["content"] else _without_text(head, form)
    before = [{"role": head["role"], "content": head["content"]}] if form.text == "before" else []
    return before, _without_text(head, form)


def _without_text(head: Message, form: HistoryForm) -> Message:
    if form.without_text == "absent":
        return {key: value for key, value in head.items() if key != "content"}
    return {**head, "content": "" if form.without_text == "empty" else None}


def _with_identity(message: Message, form: HistoryForm) -> Message:
    if form.has_short_ids and message.get("tool_call_id"):
        return {**message, "tool_call_id": _short_id(message["tool_call_id"])}
    return message


def _short_id(identity: str) -> str:
    """Nine letters and digits; the same for the same identifier, so that results still find their calls."""
    if len(identity) == 9 and identity.isalnum():
        return identity
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:9]

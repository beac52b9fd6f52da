"""Messages of chat completions in the engine's terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from foundry_cli.api.chat_messages import (
    HARMLESS_MESSAGE_FIELDS,
    AssistantMessage,
    ChatMessage,
    FunctionCall,
    FunctionMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
    content_text,
)
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.call_arguments import arguments_of_history

_OLD_CALL = "function_call"  # the identifier of calls in the older form, which has none

Message = dict[str, Any]


def engine_messages(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """What `GenerationRequest.messages` takes.

    Raises `InvalidRequestError` when nothing is said or a result belongs to no call, `UnsupportedFieldError` for sound.
    """
    calls: dict[str, str] = {}  # identifier to name
    converted = []
    for index, message in enumerate(messages):
        if (message.model_extra or {}).get("audio"):
            field = f"messages[{index}].audio"
            raise UnsupportedFieldError(f"{field}: models read text only.", param=field)
        converted.append(_converted(message, index, calls))
    if not any(message["content"].strip() or message.get("tool_calls") for message in converted):
        raise InvalidRequestError("messages: all messages are empty.", param="messages")
    return tuple(converted)


def unknown_message_fields(messages: Sequence[ChatMessage]) -> Iterator[str]:
    """Names of fields that nobody knows."""
    for message in messages:
        yield from (f"messages[].{name}" for name in message.model_extra or {} if name not in HARMLESS_MESSAGE_FIELDS)


def _converted(message: ChatMessage, index: int, calls: dict[str, str]) -> Message:
    match message:
        case SystemMessage():
            return {"role": "system", "content": content_text(message.content)}
        case UserMessage():
            return {"role": "user", "content": content_text(message.content)}
        case AssistantMessage():
            return _assistant(message, calls)
        case ToolMessage():
            name = calls.get(message.tool_call_id)
            if name is None:
                field = f"messages[{index}].tool_call_id"
                raise InvalidRequestError(f"{field}: no call before it has the id {message.tool_call_id!r}.", param=field)
            return _result(message.tool_call_id, name, content_text(message.content))
        case FunctionMessage():
            return _result(_OLD_CALL, message.name, content_text(message.content))


def _assistant(message: AssistantMessage, calls: dict[str, str]) -> Message:
    converted: Message = {"role": "assistant", "content": content_text(message.content) or message.refusal or ""}
    if message.reasoning_content:
        converted["reasoning_content"] = message.reasoning_content
    made = [_call(call.id, call.function) for call in message.tool_calls or ()]
    if message.function_call:
        made.append(_call(_OLD_CALL, message.function_call))
    if made:
        converted["tool_calls"] = made
        calls.update((call["id"], call["function"]["name"]) for call in made)
    return converted


def _call(identity: str, function: FunctionCall) -> Message:
    arguments = arguments_of_history(function.arguments)
    return {"id": identity, "type": "function", "function": {"name": function.name, "arguments": arguments}}


def _result(identity: str, name: str, content: str) -> Message:
    return {"role": "tool", "content": content, "tool_call_id": identity, "name": name}

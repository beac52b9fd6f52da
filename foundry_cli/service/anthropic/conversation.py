"""A conversation of Anthropic's wire format as the engine's messages: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from typing import Any

from foundry_cli.api.anthropic import (
    ContentBlock,
    ConversationRequest,
    Message,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError

_BLOCKS_OF = {
    "system": (TextBlock,),
    "user": (TextBlock, ToolResultBlock),
    "assistant": (TextBlock, ToolUseBlock, ThinkingBlock, RedactedThinkingBlock),
}
_PARAGRAPH = "\n\n"  # between blocks that people wrote; what a model wrote is one text


def engine_messages(wire: ConversationRequest) -> tuple[dict[str, Any], ...]:
    """The conversation as `GenerationRequest.messages`. Raises `InvalidRequestError` naming the field.

    Messages of the same role that follow each other are one, as Anthropic says.
    """
    _check_blocks(wire.messages)
    system = wire.system if isinstance(wire.system, str) else _paragraphs(wire.system or ())
    messages = [{"role": "system", "content": system}] if system else []
    names = tool_names(wire.messages)
    for role, turn in groupby(wire.messages, key=lambda message: message.role):
        blocks = list(chain.from_iterable(_blocks(message) for message in turn))
        if role == "system":
            messages = _instructed(messages, _paragraphs(block for block in blocks if isinstance(block, TextBlock)))
        else:
            messages += [_assistant(blocks)] if role == "assistant" else _user(blocks, names)
    if not any(message["content"].strip() or message["role"] == "tool" for message in messages):
        raise InvalidRequestError("messages: all messages are empty.", param="messages")
    return tuple(messages)


def tool_names(messages: Iterable[Message]) -> dict[str, str]:
    """Names of the tools that were called, by the identifiers of the calls."""
    return {block.id: block.name for message in messages for block in _blocks(message) if isinstance(block, ToolUseBlock)}


def has_redacted_thoughts(messages: Iterable[Message]) -> bool:
    """Whether there are thoughts that only another service can read."""
    return any(isinstance(block, RedactedThinkingBlock) for message in messages for block in _blocks(message))


def _check_blocks(messages: Sequence[Message]) -> None:
    calls: set[str] = set()
    for index, message in enumerate(messages):
        for position, block in enumerate(_blocks(message)):
            if not isinstance(block, _BLOCKS_OF[message.role]):
                field = f"messages[{index}].content[{position}]"
                problem = f"{field}: a message of the {message.role} has no blocks of the type {block.type}."
                raise InvalidRequestError(problem, param=field)
            if isinstance(block, ToolUseBlock):
                calls.add(block.id)
            if isinstance(block, ToolResultBlock) and block.tool_use_id not in calls:
                field = f"messages[{index}].content[{position}].tool_use_id"
                problem = f"{field}: no tool_use before it has the id {block.tool_use_id[:80]!r}."
                raise InvalidRequestError(problem, param=field)
    if messages[-1].role == "assistant":
        raise UnsupportedFieldError(
            "messages: the last message must be the user's; an answer that has been begun cannot be continued.",
            param="messages",
        )


def _blocks(message: Message) -> Sequence[ContentBlock]:
    return [TextBlock(type="text", text=message.content)] if isinstance(message.content, str) else message.content


def _instructed(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """With one more instruction, which belongs to the one before it if nothing was said in between."""
    if messages and messages[-1]["role"] == "system":
        return [*messages[:-1], {"role": "system", "content": messages[-1]["content"] + _PARAGRAPH + text}]
    return [*messages, {"role": "system", "content": text}]


def _assistant(blocks: Iterable[ContentBlock]) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for block in blocks:
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ThinkingBlock):
            thoughts.append(block.thinking)
        elif isinstance(block, ToolUseBlock):
            function = {"name": block.name, "arguments": block.input}
            calls.append({"id": block.id, "type": "function", "function": function})
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    return {**message, "tool_calls": calls} if calls else message


def _user(blocks: Iterable[ContentBlock], names: dict[str, str]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for is_result, group in groupby(blocks, key=lambda block: isinstance(block, ToolResultBlock)):
        if is_result:
            messages += [_result(block, names) for block in group if isinstance(block, ToolResultBlock)]
        else:
            text = _paragraphs(block for block in group if isinstance(block, TextBlock))
            messages.append({"role": "user", "content": text})
    return messages


def _result(block: ToolResultBlock, names: dict[str, str]) -> dict[str, Any]:
    """Templates have no place for `is_error`, so the text says it."""
    text = block.content if isinstance(block.content, str) else _paragraphs(block.content or ())
    content = f"Error: {text}" if block.is_error and not text.lower().startswith("error") else text
    return {"role": "tool", "content": content, "tool_call_id": block.tool_use_id, "name": names[block.tool_use_id]}


def _paragraphs(blocks: Iterable[TextBlock]) -> str:
    return _PARAGRAPH.join(block.text for block in blocks)

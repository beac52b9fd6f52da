"""Answers of Anthropic's Messages interface, whole or as a stream of content blocks."""

from __future__ import annotations

from typing import Any, Literal

from foundry_cli.api.anthropic import error_body
from foundry_cli.api.sse import encode_event
from foundry_cli.engine.request import EngineEvent, Finish, Progress, ReasoningChunk, TextChunk, ToolCallChunk, Usage
from foundry_cli.errors import FoundryError
from foundry_cli.service.answer import Answer
from foundry_cli.service.call_arguments import arguments_as_object
from foundry_cli.service.errors import status_of
from foundry_cli.types import ModelInfo

BlockKind = Literal["thinking", "text", "tool_use"]

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "cancelled": "end_turn",
}
"""The engine's reasons as Anthropic's clients know them."""

_FULL = "model_context_window_exceeded"  # before the tokens were written that were asked for


class MessageWriter:
    """The answer to one request of `max_tokens`. `has_thinking`: it has blocks with what the model thought."""

    def __init__(self, identity: str, model: ModelInfo, max_tokens: int, *, has_thinking: bool) -> None:
        self._identity = f"msg_{identity}"
        self._model = model.id
        self._max_tokens = max_tokens
        self.has_thinking = has_thinking

    def whole(self, answer: Answer) -> dict[str, Any]:
        """All of the answer, which has ended."""
        assert answer.finish is not None
        content: list[dict[str, Any]] = []
        if answer.reasoning and self.has_thinking:
            content.append(_block("thinking", thinking=answer.reasoning, signature=""))
        if answer.text:
            content.append(_block("text", text=answer.text))
        for call in answer.tool_calls:
            arguments = arguments_as_object(call.arguments)
            content.append(_block("tool_use", id=call.identity, name=call.name, input=arguments))
        return {**self.message(content, usage_fields(answer.finish.usage)), **self.stop_fields(answer.finish)}

    def message(self, content: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        """A message with `content` that has not ended."""
        return {
            "id": self._identity,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def stop_fields(self, finish: Finish) -> dict[str, Any]:
        """Why the answer ended."""
        if finish.stop_sequence is not None:
            return {"stop_reason": "stop_sequence", "stop_sequence": finish.stop_sequence}
        is_full = finish.reason == "length" and finish.usage.completion_tokens < self._max_tokens
        return {"stop_reason": _FULL if is_full else _STOP_REASONS[finish.reason], "stop_sequence": None}


def usage_fields(usage: Usage) -> dict[str, Any]:
    """`usage`; with Anthropic the tokens that were still in memory do not count as input."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def _block(kind: BlockKind, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


class MessageStream:
    """The events of one answer, as they come, as server-sent events: blocks one after the other."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer
        self._has_begun = False
        self._index = -1  # of the block that is open, or was
        self._open: BlockKind | None = None

    def add(self, index: int, event: EngineEvent) -> bytes:
        """The next event of the answer; there is only one, the `index` is 0."""
        data = b"" if self._has_begun else self._begin()
        match event:
            case TextChunk():
                return data + self._open_block("text", text="") + self._delta("text_delta", text=event.text)
            case ReasoningChunk():
                return data + (self._thought(event.text) if self._writer.has_thinking else b"")
            case Progress():
                return b""  # nobody asks for it here
            case ToolCallChunk():
                return data + self._call(event)
        delta = _event("message_delta", delta=self._writer.stop_fields(event), usage=usage_fields(event.usage))
        return data + self._close_block() + delta + _event("message_stop")

    def fail(self, error: FoundryError) -> bytes:
        """The end of a stream that broke off."""
        return b"event: error\n" + encode_event(error_body(error, status_of(error)))

    def _begin(self) -> bytes:
        self._has_begun = True
        return _event("message_start", message=self._writer.message([], usage_fields(Usage()))) + _event("ping")

    def _thought(self, text: str) -> bytes:
        return self._open_block("thinking", thinking="", signature="") + self._delta("thinking_delta", thinking=text)

    def _call(self, chunk: ToolCallChunk) -> bytes:
        head = b""
        if chunk.name:
            head = self._close_block() + self._open_block("tool_use", id=chunk.identity, name=chunk.name, input={})
        return head + (self._delta("input_json_delta", partial_json=chunk.arguments) if chunk.arguments else b"")

    def _open_block(self, kind: BlockKind, **fields: Any) -> bytes:
        """Begin a block, unless one of this kind is open."""
        if self._open == kind:
            return b""
        closed = self._close_block()
        self._index, self._open = self._index + 1, kind
        return closed + _event("content_block_start", index=self._index, content_block=_block(kind, **fields))

    def _close_block(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", index=self._index)

    def _delta(self, kind: str, **fields: str) -> bytes:
        return _event("content_block_delta", index=self._index, delta={"type": kind, **fields})


def _event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\n".encode() + encode_event({"type": name, **fields})

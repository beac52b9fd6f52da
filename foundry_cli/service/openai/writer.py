"""Answers in OpenAI's wire format, whole or in chunks; one request may have several."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from foundry_cli.api.sse import DONE, encode_event, encode_value
from foundry_cli.engine.request import (
    EngineEvent,
    Finish,
    Progress,
    ReasoningChunk,
    TextChunk,
    Timing,
    TokenText,
    ToolCallChunk,
    Usage,
)
from foundry_cli.errors import FoundryError
from foundry_cli.service.answer import Answer
from foundry_cli.service.errors import body_of
from foundry_cli.service.fingerprint import system_fingerprint
from foundry_cli.types import ModelInfo

FINISH_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "cancelled": "stop"}
"""The engine's reasons as OpenAI's clients know them."""


def usage_fields(usages: Sequence[Usage]) -> dict[str, Any]:
    """`usage` of answers to the same prompt: it counts once, with what the first found of it in memory."""
    prompt, completion = usages[0].prompt_tokens, sum(usage.completion_tokens for usage in usages)
    drafted, accepted = sum(usage.draft_tokens for usage in usages), sum(usage.accepted_tokens for usage in usages)
    predicted = {"accepted_prediction_tokens": accepted, "rejected_prediction_tokens": drafted - accepted} if drafted else {}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usages[0].cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": sum(usage.reasoning_tokens for usage in usages), **predicted},
    }


def timing_fields(timings: Sequence[Timing]) -> dict[str, float]:
    """Seconds of the engine as milliseconds, up to the first token those of the first answer; an addition to OpenAI's."""
    timing = Timing(timings[0].queue, timings[0].prefill, max(timing.decode for timing in timings))
    return {f"{name}_ms": round(1000 * seconds, 3) for name, seconds in vars(timing).items()}


def logprob_fields(tokens: Iterable[TokenText]) -> dict[str, Any]:
    """`logprobs` of a choice."""
    content = [{**_token_fields(token), "top_logprobs": [_token_fields(other) for other in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def _token_fields(token: TokenText) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": None if token.data is None else list(token.data)}


def message_fields(answer: Answer, *, is_older: bool = False) -> dict[str, Any]:
    """`message` of a choice. What the model thought has the name that most servers and clients use."""
    content = None if answer.tool_calls and not answer.text else answer.text
    fields: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if answer.reasoning:
        fields["reasoning_content"] = answer.reasoning
    if answer.tool_calls and is_older:
        fields["function_call"] = {"name": answer.tool_calls[0].name, "arguments": answer.tool_calls[0].arguments}
    elif answer.tool_calls:
        fields["tool_calls"] = [
            {"id": call.identity, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.tool_calls
        ]
    return fields


def tool_call_delta(chunk: ToolCallChunk, *, is_older: bool = False) -> dict[str, Any]:
    """`delta` with a part of a call."""
    function = {"name": chunk.name, "arguments": chunk.arguments} if chunk.name else {"arguments": chunk.arguments}
    if is_older:
        return {"function_call": function}
    head = {"id": chunk.identity, "type": "function"} if chunk.name else {}
    return {"tool_calls": [{"index": chunk.index, **head, "function": function}]}


class ChatCompletionWriter:
    """The answers to one request, whole or in chunks; with log-probabilities if they are wanted.

    `is_older`: a call is told as `function_call`.
    """

    def __init__(self, identity: str, model: ModelInfo, *, has_logprobs: bool = False, is_older: bool = False) -> None:
        self._identity = f"chatcmpl-{identity}"
        self._model = model.id
        self._created = int(time.time())
        self._fingerprint = system_fingerprint(model)
        self._has_logprobs = has_logprobs
        self._is_older = is_older
        self._frames: dict[int, tuple[bytes, bytes]] = {}  # what is before and behind the text of a choice

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._identity,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._fingerprint,
            "choices": choices,
        }

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """All of the answers, which have ended."""
        finishes = [answer.finish for answer in answers if answer.finish is not None]
        choices = [
            {
                "index": index,
                "message": message_fields(answer, is_older=self._is_older),
                "logprobs": logprob_fields(answer.logprobs) if self._has_logprobs else None,
                "finish_reason": self.finish_reason(finish),
            }
            for index, (answer, finish) in enumerate(zip(answers, finishes, strict=True))
        ]
        return {**self._envelope("chat.completion", choices), **_counts(finishes)}

    def finish_reason(self, finish: Finish) -> str:
        """The engine's reason as this client knows it."""
        return "function_call" if self._is_older and finish.reason == "tool_calls" else FINISH_REASONS[finish.reason]

    def call_event(self, chunk: ToolCallChunk, index: int = 0) -> bytes:
        """A chunk with a part of a call, as an event."""
        return encode_event(self.chunk(tool_call_delta(chunk, is_older=self._is_older), index=index))

    def chunk(
        self,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        *,
        index: int = 0,
        logprobs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One chunk of a streamed answer."""
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._envelope("chat.completion.chunk", [choice])

    def text_event(self, chunk: TextChunk, index: int = 0) -> bytes:
        """A chunk with text, as an event."""
        if self._has_logprobs:
            delta = {"content": chunk.text}
            return encode_event(self.chunk(delta, index=index, logprobs=logprob_fields(chunk.logprobs)))
        if index not in self._frames:  # only the text differs from chunk to chunk, so the rest is encoded once
            before, after = encode_event(self.chunk({"content": ""}, index=index)).split(b'"content":""')
            self._frames[index] = before + b'"content":', after
        before, after = self._frames[index]
        return before + encode_value(chunk.text) + after

    def progress_chunk(self, progress: Progress, index: int = 0) -> dict[str, Any]:
        """A chunk without choices, for clients that asked how far it is; Foundry's own."""
        return {**self._envelope("chat.completion.chunk", []), "progress": {"index": index, **vars(progress)}}

    def usage_chunk(self, finishes: Sequence[Finish]) -> dict[str, Any]:
        """The last chunk, for clients that asked for the usage."""
        return {**self._envelope("chat.completion.chunk", []), **_counts(finishes)}


def _counts(finishes: Sequence[Finish]) -> dict[str, Any]:
    usage = usage_fields([finish.usage for finish in finishes])
    return {"usage": usage, "timings": timing_fields([finish.timing for finish in finishes]), "engine": finishes[0].engine}


class ChatCompletionStream:
    """The events of several answers, as they come, as server-sent events with the chunks of all choices."""

    def __init__(self, writer: ChatCompletionWriter, count: int, *, include_usage: bool) -> None:
        self._writer = writer
        self._include_usage = include_usage
        self._has_begun = [False] * count
        self._finishes: list[Finish | None] = [None] * count

    def add(self, index: int, event: EngineEvent) -> bytes:
        """The next event of answer `index`. An answer opens with its first one, so that this marks real progress."""
        if isinstance(event, Progress):
            return encode_event(self._writer.progress_chunk(event, index))
        data = b""
        if not self._has_begun[index]:
            self._has_begun[index] = True
            data = encode_event(self._writer.chunk({"role": "assistant", "content": ""}, index=index))
        match event:
            case TextChunk():
                return data + self._writer.text_event(event, index)
            case ReasoningChunk():
                return data + encode_event(self._writer.chunk({"reasoning_content": event.text}, index=index))
            case ToolCallChunk():
                return data + self._writer.call_event(event, index)
        self._finishes[index] = event
        return data + encode_event(self._writer.chunk({}, self._writer.finish_reason(event), index=index)) + self._end()

    def fail(self, error: FoundryError) -> bytes:
        """The end of a stream that broke off."""
        return encode_event(body_of(error))

    def _end(self) -> bytes:
        finishes = [finish for finish in self._finishes if finish is not None]
        if len(finishes) < len(self._finishes):
            return b""
        return (encode_event(self._writer.usage_chunk(finishes)) if self._include_usage else b"") + DONE

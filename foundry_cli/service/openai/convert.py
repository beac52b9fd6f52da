"""Translation between OpenAI's wire format and the engine's terms: pure functions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from foundry_cli.api.openai import (
    HARMLESS_FIELDS,
    HARMLESS_MESSAGE_FIELDS,
    LARGEST_COUNT,
    LARGEST_SEED,
    NEUTRAL_VALUES,
    UNSUPPORTED_FIELDS,
    ChatCompletionRequest,
)
from foundry_cli.api.sse import encode_event, encode_value
from foundry_cli.engine.request import Finish, GenerationRequest, SamplingParameters, Timing, Usage
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.types import ModelInfo

FINISH_REASONS = {"stop": "stop", "length": "length", "cancelled": "stop", "error": "stop"}
"""The engine's reasons as OpenAI's clients know them."""


@dataclass(frozen=True)
class ChatRequest:
    """A valid request: as sent, as the engine takes it, and what nobody here knows of it."""

    wire: ChatCompletionRequest
    generation: GenerationRequest
    ignored_fields: list[str]


def read_chat_request(document: dict[str, Any]) -> ChatRequest:
    """All that can be done with a request body before a model is needed. Raises as `parse_chat_request`."""
    wire = parse_chat_request(document)
    return ChatRequest(wire, to_generation_request(wire), ignored_fields(wire))


def parse_chat_request(document: dict[str, Any]) -> ChatCompletionRequest:
    """Validate a request body. Raises `InvalidRequestError` naming the field, `UnsupportedFieldError`."""
    try:
        request = ChatCompletionRequest.model_validate(document)
    except ValidationError as error:
        raise _invalid(error) from None
    _check_supported(request)
    return request


def _invalid(error: ValidationError) -> InvalidRequestError:
    errors = error.errors(include_url=False, include_context=False)
    # Of a value that may be of several types, each type has its complaint: the one that got furthest is meant.
    first = max((other for other in errors if other["loc"][:1] == errors[0]["loc"][:1]), key=lambda other: len(other["loc"]))
    field = _field_name(first["loc"])
    shown = repr(first["input"])
    value = "" if first["type"] == "missing" or len(shown) > 80 else f" (it is {shown})"
    return InvalidRequestError(f"{field}: {first['msg']}{value}.", param=field)


def _field_name(location: Iterable[int | str]) -> str:
    """`messages[0].content` for ("messages", 0, "content", "str"): names of union members are not fields."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "list"):
            name += f".{part}" if name else part
    return name or "body"


def _check_supported(request: ChatCompletionRequest) -> None:
    extra = request.model_extra or {}
    for name in UNSUPPORTED_FIELDS:
        value = extra.get(name)
        if value is not None and value not in NEUTRAL_VALUES.get(name, ()):
            raise UnsupportedFieldError(f"{name}: this field is not supported yet.", param=name)
    if request.stream_options is not None and not request.stream:
        raise InvalidRequestError("stream_options: only allowed when stream is true.", param="stream_options")
    if request.n not in (None, 1):
        raise UnsupportedFieldError("n: only one answer per request is supported yet.", param="n")
    for index, message in enumerate(request.messages):
        for name in ("tool_calls", "function_call", "audio"):
            if (message.model_extra or {}).get(name):
                field = f"messages[{index}].{name}"
                raise UnsupportedFieldError(f"{field}: this field is not supported yet.", param=field)
    if not any(message.text().strip() for message in request.messages):
        raise InvalidRequestError("messages: all messages are empty.", param="messages")


def ignored_fields(request: ChatCompletionRequest) -> list[str]:
    """Names of fields that nobody knows, to be reported in a response header."""
    names = {name for name in request.model_extra or {} if name not in HARMLESS_FIELDS and name not in UNSUPPORTED_FIELDS}
    for message in request.messages:
        names.update(f"messages[].{name}" for name in message.model_extra or {} if name not in HARMLESS_MESSAGE_FIELDS)
    return sorted(names)


def to_generation_request(request: ChatCompletionRequest) -> GenerationRequest:
    """The engine's form of a valid request. Raises `InvalidRequestError` for metadata that is no number."""
    metadata = request.metadata or {}
    return GenerationRequest(
        messages=tuple(
            {"role": "system" if message.role == "developer" else message.role, "content": message.text()}
            for message in request.messages
        ),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stop=_stop_sequences(request.stop),
        sampling=SamplingParameters(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=_first(request.top_k, _metadata_number(metadata, "top_k", LARGEST_COUNT)),
            seed=_first(request.seed, request.random_seed, _metadata_number(metadata, "random_seed", LARGEST_SEED)),
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            repetition_penalty=request.repetition_penalty,
        ),
    )


def _stop_sequences(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _metadata_number(metadata: dict[str, Any], key: str, largest: int) -> int | None:
    """Some clients of the original put these two as texts into `metadata`."""
    value = metadata.get(key)
    if value is None:
        return None
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= largest):
        message = f"metadata.{key}: {text[:40]!r} is not a number from 0 to {largest}."
        raise InvalidRequestError(message, param=f"metadata.{key}")
    return int(text)


def usage_fields(usage: Usage) -> dict[str, Any]:
    """`usage` of an answer."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def timing_fields(timing: Timing) -> dict[str, float]:
    """Seconds of the engine as milliseconds; an addition to OpenAI's format."""
    return {f"{name}_ms": round(1000 * seconds, 3) for name, seconds in vars(timing).items()}


class ChatCompletionWriter:
    """The answer to one request in OpenAI's format, whole or in chunks."""

    def __init__(self, identity: str, model: ModelInfo) -> None:
        self._identity = f"chatcmpl-{identity}"
        self._model = model.id
        self._created = int(time.time())
        # Only the text differs from chunk to chunk, so the rest is encoded once.
        self._before, self._after = encode_event(self.chunk({"content": ""})).split(b'"content":""')

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._identity,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": None,
            "choices": choices,
        }

    def whole(self, text: str, finish: Finish) -> dict[str, Any]:
        """The complete answer."""
        message = {"role": "assistant", "content": text, "refusal": None}
        reason = FINISH_REASONS[finish.reason]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        answer = self._envelope("chat.completion", [choice])
        return {**answer, "usage": usage_fields(finish.usage), "timings": timing_fields(finish.timing)}

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """One chunk of a streamed answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._envelope("chat.completion.chunk", [choice])

    def text_event(self, text: str) -> bytes:
        """A chunk with `text`, as an event."""
        return self._before + b'"content":' + encode_value(text) + self._after

    def usage_chunk(self, finish: Finish) -> dict[str, Any]:
        """The last chunk, for clients that asked for the usage."""
        chunk = self._envelope("chat.completion.chunk", [])
        return {**chunk, "usage": usage_fields(finish.usage), "timings": timing_fields(finish.timing)}

"""Requests of OpenAI's wire format in the engine's terms: pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from foundry_cli.api.openai import (
    HARMLESS_FIELDS,
    HARMLESS_MESSAGE_FIELDS,
    LARGEST_COUNT,
    LARGEST_SCHEMA,
    LARGEST_SEED,
    NEUTRAL_VALUES,
    UNSUPPORTED_FIELDS,
    ChatCompletionRequest,
    ResponseFormat,
)
from foundry_cli.api.sse import encode_value
from foundry_cli.engine.request import GenerationRequest, Grammar, SamplingParameters
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError


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
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequestError("top_logprobs: only allowed when logprobs is true.", param="top_logprobs")
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
            min_p=request.min_p or 0.0,
            logit_bias=tuple({int(token): bias for token, bias in (request.logit_bias or {}).items()}.items()),
        ),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        grammar=_grammar(request.response_format),
        priority=request.priority or "interactive",
    )


def _grammar(wanted: ResponseFormat | None) -> Grammar | None:
    """What `response_format` asks for. Whether the engine can compile it, only the engine knows."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Grammar("json_object")
    if wanted.json_schema is None:
        param = "response_format.json_schema"
        raise InvalidRequestError(f"{param}: Field required when the type is json_schema.", param=param)
    if wanted.json_schema.json_schema is None:
        return Grammar("json_object")
    schema = encode_value(wanted.json_schema.json_schema)
    if len(schema) > LARGEST_SCHEMA:
        param = "response_format.json_schema.schema"
        raise InvalidRequestError(f"{param}: the schema is larger than {LARGEST_SCHEMA >> 10} KiB.", param=param)
    return Grammar("json_schema", schema.decode())


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

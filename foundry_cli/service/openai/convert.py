"""Requests of OpenAI's chat completions in the engine's terms: pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from foundry_cli.api.limits import LARGEST_COUNT, LARGEST_SEED
from foundry_cli.api.openai import (
    HARMLESS_FIELDS,
    NEUTRAL_VALUES,
    UNSUPPORTED_FIELDS,
    ChatCompletionRequest,
    JsonSchemaFormat,
    LarkFormat,
    PlainFormat,
    RegexFormat,
    ResponseFormat,
)
from foundry_cli.api.sse import encode_value
from foundry_cli.engine.request import GenerationRequest, Grammar, SamplingParameters
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.fields import validated
from foundry_cli.service.grammar_size import check_grammar_size, checked_schema
from foundry_cli.service.openai.chat_messages import engine_messages, unknown_message_fields
from foundry_cli.service.openai.chat_tools import chat_tool_use, unknown_tool_fields
from foundry_cli.service.sampling import sampling_parameters, stop_sequences


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
    request = validated(ChatCompletionRequest, document)
    extra = request.model_extra or {}
    for name, reason in UNSUPPORTED_FIELDS.items():
        value = extra.get(name)
        if value is not None and value not in NEUTRAL_VALUES.get(name, ()):
            raise UnsupportedFieldError(f"{name}: this field is not supported: {reason}.", param=name)
    if request.stream_options is not None and not request.stream:
        raise InvalidRequestError("stream_options: only allowed when stream is true.", param="stream_options")
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequestError("top_logprobs: only allowed when logprobs is true.", param="top_logprobs")
    return request


def ignored_fields(request: ChatCompletionRequest) -> list[str]:
    """Names of fields that nobody knows, to be reported in a response header."""
    known = HARMLESS_FIELDS.keys() | UNSUPPORTED_FIELDS.keys()
    names = {name for name in request.model_extra or {} if name not in known}
    if request.stream_options:
        names.update(f"stream_options.{name}" for name in request.stream_options.model_extra or {})
    names.update(unknown_message_fields(request.messages), unknown_tool_fields(request), _unknown_format_fields(request))
    return sorted(names)


def to_generation_request(request: ChatCompletionRequest) -> GenerationRequest:
    """The engine's form of a valid request. Raises `InvalidRequestError`, `UnsupportedFieldError`."""
    return GenerationRequest(
        messages=engine_messages(request.messages),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stop=stop_sequences(request.stop),
        sampling=_sampling(request),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        grammar=answer_grammar(request.response_format),
        tools=chat_tool_use(request),
        reasoning_effort=request.reasoning_effort,
        template_names=_template_names(request.chat_template_kwargs or {}),
        priority=request.priority or "interactive",
        tells_progress=bool(request.stream_options and request.stream_options.include_progress),
    )


def _unknown_format_fields(request: ChatCompletionRequest) -> Iterator[str]:
    wanted = request.response_format
    if wanted is not None:
        yield from (f"response_format.{name}" for name in wanted.model_extra or {})
    if isinstance(wanted, JsonSchemaFormat):
        yield from (f"response_format.json_schema.{name}" for name in wanted.json_schema.model_extra or {})


def _template_names(names: dict[str, Any]) -> dict[str, Any]:
    """`names` if the template may be given them. Raises `InvalidRequestError`."""
    field = "chat_template_kwargs"
    if taken := names.keys() & _TAKEN_NAMES:
        name = f"{field}.{min(taken)}"
        raise InvalidRequestError(f"{name}: the request has a field of its own for this.", param=name)
    if len(encode_value(names)) > _LARGEST_NAMES:
        raise InvalidRequestError(f"{field}: it is larger than {_LARGEST_NAMES >> 10} KiB.", param=field)
    return names


_TAKEN_NAMES = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
_LARGEST_NAMES = 4 * 1024  # bytes, as JSON


def _sampling(request: ChatCompletionRequest) -> SamplingParameters:
    """Some clients of the original put two of the values as texts into `metadata`."""
    metadata = request.metadata or {}
    parameters = sampling_parameters(request)
    if parameters.top_k is None:
        parameters = replace(parameters, top_k=_metadata_number(metadata, "top_k", LARGEST_COUNT))
    if parameters.seed is None:
        parameters = replace(parameters, seed=_metadata_number(metadata, "random_seed", LARGEST_SEED))
    return parameters


def answer_grammar(wanted: ResponseFormat | None) -> Grammar | None:
    """What `response_format` asks for. Whether the engine can compile it, only the engine knows."""
    match wanted:
        case None:
            return None
        case PlainFormat():
            return Grammar("json_object") if wanted.type == "json_object" else None
        case RegexFormat():
            check_grammar_size(wanted.regex.encode(), "response_format.regex")
            return Grammar("regex", wanted.regex)
        case LarkFormat():
            check_grammar_size(wanted.lark_grammar.encode(), "response_format.lark_grammar")
            return Grammar("lark", wanted.lark_grammar)
        case JsonSchemaFormat():
            schema = wanted.json_schema.json_schema
            if schema is None:
                return Grammar("json_object")
            text = checked_schema(schema, "response_format.json_schema.schema")
            return Grammar("json_schema", text, wanted.json_schema.strict is True)


def _metadata_number(metadata: dict[str, Any], key: str, largest: int) -> int | None:
    value = metadata.get(key)
    if value is None:
        return None
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= largest):
        message = f"metadata.{key}: {text[:40]!r} is not a number from 0 to {largest}."
        raise InvalidRequestError(message, param=f"metadata.{key}")
    return int(text)

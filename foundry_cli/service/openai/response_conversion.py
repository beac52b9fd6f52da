"""Requests of the Responses interface in the engine's terms: pure functions, given what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from foundry_cli.api.openai import LarkFormat, PlainFormat, RegexFormat
from foundry_cli.api.response_items import HARMLESS_ITEM_FIELDS
from foundry_cli.api.responses import (
    HARMLESS_FIELDS,
    UNSUPPORTED_FIELDS,
    OtherTool,
    ResponsesRequest,
    SchemaFormat,
    TextFormat,
)
from foundry_cli.engine.request import GenerationRequest, Grammar
from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.fields import refuse_fields, validated
from foundry_cli.service.grammar_size import check_grammar_size, checked_schema
from foundry_cli.service.openai.item_conversion import Message, read_items, to_messages
from foundry_cli.service.openai.response_store import Conversation, ResponseStore
from foundry_cli.service.openai.response_tools import response_tool_use
from foundry_cli.service.sampling import sampling_parameters, stop_sequences

LOGPROBS = "message.output_text.logprobs"


@dataclass(frozen=True)
class ResponseRequest:
    """A valid request: as sent, as the engine takes it, what it is an answer to, and what nobody here knows of it."""

    wire: ResponsesRequest
    generation: GenerationRequest
    conversation: Conversation
    ignored_fields: list[str]

    @property
    def is_stored(self) -> bool:
        """Whether the response is kept. OpenAI's clients rely on that when they say nothing."""
        return self.wire.store is not False


def read_response_request(document: dict[str, Any], store: ResponseStore) -> ResponseRequest:
    """All that can be done with a request body before a model is needed.

    Raises `InvalidRequestError` naming the field, `UnsupportedFieldError`, and `ResponseNotFoundError` for a previous
    response, or an item, that is not stored.
    """
    wire = validated(ResponsesRequest, document)
    _check_supported(wire)
    before = Conversation()
    if wire.previous_response_id is not None:
        before = store.find(wire.previous_response_id, "previous_response_id").conversation_after
    items = read_items(wire.input, before.items, store.find_item)
    conversation = before.and_then(items)
    messages = to_messages(conversation.items, wire.instructions)
    if not any(message["content"].strip() or message.get("tool_calls") for message in messages):
        raise InvalidRequestError("input: all messages are empty.", param="input")
    return ResponseRequest(wire, _generation(wire, messages), conversation, sorted(set(_ignored(wire))))


def _check_supported(wire: ResponsesRequest) -> None:
    refuse_fields(wire, UNSUPPORTED_FIELDS)
    if wire.stream_options is not None and not wire.stream:
        raise InvalidRequestError("stream_options: only allowed when stream is true.", param="stream_options")


def _ignored(wire: ResponsesRequest) -> Iterator[str]:
    yield from _unknown(wire, "", HARMLESS_FIELDS.keys() | UNSUPPORTED_FIELDS.keys())
    for name, options in (("text.", wire.text), ("reasoning.", wire.reasoning), ("stream_options.", wire.stream_options)):
        if options is not None:
            yield from _unknown(options, name)
    if wire.text is not None and wire.text.format is not None:
        yield from _unknown(wire.text.format, "text.format.")
    for _, tool in wire.functions:
        yield from _unknown(tool, "tools[].")
    yield from (f"tools[].{tool.type}" for tool in wire.tools or () if isinstance(tool, OtherTool))
    for item in () if isinstance(wire.input, str) else wire.input:
        yield from _unknown(item, "input[].", HARMLESS_ITEM_FIELDS)


def _unknown(model: BaseModel, prefix: str, known: Iterable[str] = ()) -> Iterator[str]:
    return (f"{prefix}{name}" for name in model.model_extra or {} if name not in known)


def _generation(wire: ResponsesRequest, messages: list[Message]) -> GenerationRequest:
    has_logprobs = LOGPROBS in (wire.include or ()) or bool(wire.top_logprobs)
    return GenerationRequest(
        messages=tuple(messages),
        max_tokens=wire.max_output_tokens,
        stop=stop_sequences(wire.stop),
        sampling=sampling_parameters(wire),
        logprobs=(wire.top_logprobs or 0) if has_logprobs else None,
        grammar=_grammar(wire.text.format) if wire.text and wire.text.format else None,
        tools=response_tool_use(wire),
        reasoning_effort=wire.reasoning.effort if wire.reasoning else None,
        priority=wire.priority or "interactive",
    )


def _grammar(wanted: TextFormat) -> Grammar | None:
    """What `text.format` asks for. Whether the engine can compile it, only the engine knows."""
    match wanted:
        case PlainFormat():
            return Grammar("json_object") if wanted.type == "json_object" else None
        case RegexFormat():
            check_grammar_size(wanted.regex.encode(), "text.format.regex")
            return Grammar("regex", wanted.regex)
        case LarkFormat():
            check_grammar_size(wanted.lark_grammar.encode(), "text.format.lark_grammar")
            return Grammar("lark", wanted.lark_grammar)
        case SchemaFormat():
            return Grammar("json_schema", checked_schema(wanted.json_schema, "text.format.schema"), wanted.strict is True)


NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
"""What fields are called here that the engine names as chat completions do."""

"""Requests of Anthropic's Messages interface in the engine's terms: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from foundry_cli.api.anthropic import (
    HARMLESS_FIELDS,
    HARMLESS_TOOL_FIELDS,
    THREAD_FIELD,
    UNSUPPORTED_FIELDS,
    UNSUPPORTED_TOOL_FIELDS,
    ConversationRequest,
    MessageRequest,
    OutputConfig,
    Thinking,
    ThreadUnsupportedError,
    ToolChoice,
    ToolDefinition,
    is_neutral,
)
from foundry_cli.engine.request import GenerationRequest, Grammar, SamplingParameters, Tool, ToolUse
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.anthropic.conversation import engine_messages, has_redacted_thoughts
from foundry_cli.service.fields import refuse_fields, validated
from foundry_cli.service.grammar_size import checked_schema
from foundry_cli.service.tool_selection import Selection, tool_use

Wire = TypeVar("Wire", bound=ConversationRequest)


@dataclass(frozen=True)
class Conversation(Generic[Wire]):
    """A valid request: as sent, as the engine takes it, and what had no effect."""

    wire: Wire
    generation: GenerationRequest
    ignored_fields: list[str]


def read_message_request(document: dict[str, Any]) -> Conversation[MessageRequest]:
    """All that can be done with a request body before a model is needed. Raises `InvalidRequestError` naming the field."""
    wire = validated(MessageRequest, document)
    sampling = SamplingParameters(temperature=wire.temperature, top_p=wire.top_p, top_k=wire.top_k)
    return _conversation(
        wire, max_tokens=wire.max_tokens, caps_answer=True, stop=tuple(wire.stop_sequences or ()), sampling=sampling
    )


def read_count_request(document: dict[str, Any]) -> Conversation[ConversationRequest]:
    """The same for a request that only counts. Fields that say how to answer are let be: they cost no tokens."""
    wire = validated(ConversationRequest, {key: document[key] for key in document if key not in _ANSWER_FIELDS})
    return _conversation(wire)


def shows_thinking(wire: ConversationRequest) -> bool:
    """Whether the answer has thinking blocks. Those who did not ask for them do not expect any."""
    thinking = wire.thinking
    return thinking is not None and thinking.type != "disabled" and thinking.display != "omitted"


NAMES = {"reasoning_effort": "output_config.effort"}
"""What fields are called here that the engine names as chat completions do."""

_ANSWER_FIELDS = frozenset(MessageRequest.model_fields) - frozenset(ConversationRequest.model_fields)


def _conversation(wire: Wire, **answer: Any) -> Conversation[Wire]:
    if (wire.model_extra or {}).get(THREAD_FIELD) is not None:
        message = "thread: conversations are not kept here; send all of their messages without this field."
        raise ThreadUnsupportedError(message, param=THREAD_FIELD)
    refuse_fields(wire, UNSUPPORTED_FIELDS, is_neutral)
    generation = GenerationRequest(
        messages=engine_messages(wire),
        tools=_tool_use(wire.tools or (), wire.tool_choice),
        grammar=_grammar(wire.output_config),
        reasoning_effort=_effort(wire.thinking, wire.output_config),
        usual_effort="high",
        **answer,
    )
    return Conversation(wire, generation, _ignored_fields(wire))


def _ignored_fields(wire: ConversationRequest) -> list[str]:
    names = set(wire.model_extra or {}) - HARMLESS_FIELDS.keys() - UNSUPPORTED_FIELDS.keys()
    for tool in wire.tools or ():
        unknown = set(tool.model_extra or {}) - HARMLESS_TOOL_FIELDS.keys() - UNSUPPORTED_TOOL_FIELDS.keys()
        names.update(f"tools[].{name}" for name in unknown)
    if wire.thinking is not None and wire.thinking.budget_tokens is not None:
        names.add("thinking.budget_tokens")
    if has_redacted_thoughts(wire.messages):
        names.add("messages[].content[].redacted_thinking")
    return sorted(names)


def _effort(thinking: Thinking | None, config: OutputConfig | None) -> str | None:
    if thinking is not None and thinking.type == "disabled":
        return "none"
    effort = config.effort if config else None
    if effort is None:
        return "high" if thinking is not None and thinking.type == "enabled" else None
    return "xhigh" if effort == "max" else effort


def _grammar(config: OutputConfig | None) -> Grammar | None:
    if config is None or config.format is None:
        return None
    return Grammar("json_schema", checked_schema(config.format.json_schema, "output_config.format.schema"))


def _tool_use(definitions: Sequence[ToolDefinition], choice: ToolChoice | None) -> ToolUse | None:
    """The tools that can be called, None when there are none."""
    declared = [(_tool(definition, f"tools[{index}]"), f"tools[{index}]") for index, definition in enumerate(definitions)]
    kind, name = (choice.type, choice.name) if choice else ("auto", None)
    if kind == "tool" and name is None:
        raise InvalidRequestError("tool_choice.name: Field required when the type is tool.", param="tool_choice.name")
    selection = Selection(
        is_forbidden=kind == "none",
        is_required=kind in ("any", "tool"),
        named=(name, "tool_choice.name") if kind == "tool" and name is not None else None,
        is_parallel=not (choice and choice.disable_parallel_tool_use),
        schema_field="input_schema",
        noun="tool",
    )
    return tool_use(declared, selection)


def _tool(definition: ToolDefinition, field: str) -> Tool:
    if definition.type not in (None, "custom"):
        message = (
            f"{field}.type: {definition.type[:40]!r} is a tool of another service; only tools of the caller are supported."
        )
        raise UnsupportedFieldError(message, param=f"{field}.type")
    refuse_fields(definition, UNSUPPORTED_TOOL_FIELDS)
    schema = definition.input_schema
    if schema is None:
        raise InvalidRequestError(f"{field}.input_schema: Field required.", param=f"{field}.input_schema")
    if schema.get("type", "object") != "object":
        message = f"{field}.input_schema.type: the input of a tool is an object."
        raise InvalidRequestError(message, param=f"{field}.input_schema.type")
    return Tool(definition.name, definition.description or "", schema, strict=bool(definition.strict))

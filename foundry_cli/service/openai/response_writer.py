"""Responses in OpenAI's wire format: the object, whole."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from foundry_cli.api.errors import full_message
from foundry_cli.api.responses import FunctionTool, NamedFunction, ResponsesRequest, SchemaFormat, TextFormat
from foundry_cli.engine.request import EngineEvent, Finish, ReasoningChunk, TextChunk, ToolCallChunk, Usage
from foundry_cli.errors import FoundryError
from foundry_cli.service.answer import Answer
from foundry_cli.service.errors import status_of
from foundry_cli.service.openai.item_conversion import Item, new_identity
from foundry_cli.service.openai.response_output import ResponseOutput
from foundry_cli.service.openai.writer import timing_fields
from foundry_cli.types import ModelInfo

Response = dict[str, Any]

STATUSES = {"length": "incomplete", "cancelled": "cancelled"}
"""How a response has ended, by the engine's reason; all others complete it."""


def status_by(finish: Finish) -> str:
    """`status` of a response that ended so."""
    return STATUSES.get(finish.reason, "completed")


class ResponseWriter:
    """The object of one response, at any time of its life."""

    def __init__(self, model: ModelInfo, wire: ResponsesRequest) -> None:
        self.identity = new_identity("resp")
        self._created = int(time.time())
        self.has_summary = wire.reasoning is not None and wire.reasoning.asks_for_summary
        self._echo = {"model": model.id, **_echo(wire)}

    def unfinished(self) -> Response:
        """The response as it begins."""
        return self._fields("in_progress", ())

    def ended(self, output: Sequence[Item], finish: Finish) -> Response:
        """The response with all of its output. Counts are told but for one that was cancelled: nobody knows them then."""
        status = status_by(finish)
        changes: Response = {}
        if status == "incomplete":
            changes["incomplete_details"] = {"reason": "max_output_tokens"}
        if status == "completed":
            changes["completed_at"] = int(time.time())
        if status != "cancelled":
            changes.update(usage=usage_fields(finish.usage), timings=timing_fields([finish.timing]), engine=finish.engine)
        return {**self._fields(status, output), **changes}

    def failed(self, output: Sequence[Item], error: FoundryError) -> Response:
        """The response that `error` broke off."""
        return {**self._fields("failed", output), "error": _error_fields(_error_code(error), full_message(error))}

    def whole(self, answer: Answer) -> Response:
        """The response with an answer that has ended."""
        assert answer.finish is not None
        output = ResponseOutput(has_summary=self.has_summary)
        for event in _events(answer):
            output.add(event)
        end_output(output, answer.finish)
        return self.ended(output.items, answer.finish)

    def _fields(self, status: str, output: Sequence[Item]) -> Response:
        return {
            "id": self.identity,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": list(output),
            "output_text": output_text(output),
            "usage": None,
            "completed_at": None,
            **self._echo,
        }


def end_output(output: ResponseOutput, finish: Finish) -> list[Item]:
    """Close the output of an answer that ended with `finish`; the events that tell so."""
    return output.complete() if status_by(finish) == "completed" else output.close("incomplete")


def output_text(output: Iterable[Item]) -> str:
    """All text of the messages, an addition that Foundry Local has as well."""
    return "".join(part["text"] for item in output if item["type"] == "message" for part in item["content"])


def usage_fields(usage: Usage) -> dict[str, Any]:
    """`usage`; what is kept of a prompt costs nothing, so nothing counts as written to the cache."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _events(answer: Answer) -> Iterable[EngineEvent]:
    if answer.reasoning:
        yield ReasoningChunk(answer.reasoning)
    if answer.text or answer.logprobs:
        yield TextChunk(answer.text, logprobs=tuple(answer.logprobs))
    for index, call in enumerate(answer.tool_calls):
        yield ToolCallChunk(index, call.identity, call.name, call.arguments)


def _error_fields(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _error_code(error: FoundryError) -> str:
    """The one of OpenAI's few codes that fits."""
    status = status_of(error)
    return "rate_limit_exceeded" if status == 429 else "server_error" if status >= 500 else "invalid_prompt"


def _echo(wire: ResponsesRequest) -> dict[str, Any]:
    """What a response tells of its request, with the values that are used for what was not given."""
    reasoning = wire.reasoning
    text_format = wire.text.format if wire.text else None
    return {
        "background": False,
        "instructions": wire.instructions,
        "max_output_tokens": wire.max_output_tokens,
        "max_tool_calls": wire.max_tool_calls,
        "metadata": wire.metadata or {},
        "parallel_tool_calls": wire.parallel_tool_calls is not False,
        "previous_response_id": wire.previous_response_id,
        "prompt_cache_key": wire.prompt_cache_key,
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": reasoning.summary if reasoning else None},
        "safety_identifier": wire.safety_identifier,
        "service_tier": "default",
        "store": wire.store is not False,
        "temperature": wire.temperature,
        "text": {"format": _format(text_format), "verbosity": "medium"},
        "tool_choice": _choice(wire),
        "tools": [_tool(tool) for _, tool in wire.functions],
        "top_logprobs": wire.top_logprobs or 0,
        "top_p": wire.top_p,
        "truncation": "disabled",
        "user": wire.user,
    }


def _format(wanted: TextFormat | None) -> dict[str, Any]:
    match wanted:
        case SchemaFormat():
            fields = {"name": wanted.name, "description": wanted.description, "schema": wanted.json_schema}
            return {"type": wanted.type, **fields, "strict": wanted.strict is True}
        case None:
            return {"type": "text"}
        case _:
            return wanted.model_dump()


def _choice(wire: ResponsesRequest) -> str | dict[str, Any]:
    choice = wire.tool_choice
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    if isinstance(choice, NamedFunction):
        return _named(choice)
    return {"type": choice.type, "mode": choice.mode, "tools": [_named(tool) for tool in choice.tools]}


def _named(function: NamedFunction) -> dict[str, Any]:
    return {"type": function.type, "name": function.name}


def _tool(tool: FunctionTool) -> dict[str, Any]:
    fields = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": tool.type, **fields, "strict": tool.strict is True}

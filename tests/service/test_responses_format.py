"""Requests of the Responses interface in the engine's terms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry_cli.api.responses import UNSUPPORTED_FIELDS
from foundry_cli.engine.request import Grammar, SamplingParameters, Tool, ToolUse
from foundry_cli.errors import ContextLengthError, InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.fields import renamed
from foundry_cli.service.openai.response_conversion import NAMES, ResponseRequest, read_response_request
from foundry_cli.service.openai.response_store import ResponseStore

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
LOOK = {"type": "function", "name": "look", "description": "Look at it.", "parameters": SCHEMA, "strict": True}
WAIT = {"type": "function", "name": "wait"}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
LARGE = {"description": "x" * (1 << 16)}


def read(**fields: Any) -> ResponseRequest:
    """A request."""
    return read_response_request({"model": "m", "input": "Hi", **fields}, ResponseStore())


def _numbers(field: str, *wrong: Any) -> list[tuple[str, Any, str]]:
    return [(field, value, field) for value in (*wrong, "1", True, [], {})]


def _text(**text_format: Any) -> dict[str, Any]:
    return {"format": {"type": "json_schema", "name": "n", "schema": {}, **text_format}}


WRONG: list[tuple[str, Any, str]] = [
    *_numbers("max_output_tokens", 0, -1, 2**31, 1.5),
    *_numbers("temperature", -0.1, 2.1),
    *_numbers("top_p", -0.1, 1.1),
    *_numbers("top_logprobs", -1, 21, 0.5),
    *_numbers("n", 0, 2, 17),
    ("model", "", "model"),
    ("model", None, "model"),
    ("input", None, "input"),
    ("input", 5, "input"),
    ("input", [], "input"),
    ("input", "", "input"),
    ("input", " \n", "input"),
    ("input", [{"role": "user", "content": ""}], "input"),
    ("input", [USER] * 10_001, "input"),
    ("input", ["Hi"], "input[0]"),
    ("input", [USER, {"role": "tool", "content": "x"}], "input[1].role"),
    ("input", [{"role": "user"}], "input[0].content"),
    ("input", [{"role": "user", "content": 5}], "input[0].content"),
    ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}], "input[0].content[0].type"),
    ("input", [{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text"),
    ("input", [USER, {"type": "web_search_call", "id": "x"}], "input[1].type"),
    ("input", [USER, {"type": 5}], "input[1].type"),
    ("input", [USER, {**CALL, "arguments": {}}], "input[1].arguments"),
    ("input", [USER, {**CALL, "name": "no name"}], "input[1].name"),
    ("input", [USER, {**CALL, "call_id": ""}], "input[1].call_id"),
    ("input", [USER, {"type": "function_call_output", "call_id": "c", "output": "x"}, CALL], "input[1].call_id"),
    ("input", [USER, CALL, {"type": "function_call_output", "call_id": "c"}], "input[2].output"),
    ("input", [USER, {"type": "reasoning", "encrypted_content": "x"}], "input[1].encrypted_content"),
    ("input", [USER, {"type": "reasoning", "summary": [{"type": "summary_text"}]}], "input[1].summary[0].text"),
    ("instructions", ["x"], "instructions"),
    ("previous_response_id", 5, "previous_response_id"),
    ("stream", "true", "stream"),
    ("stream_options", {}, "stream_options"),
    ("tools", {}, "tools"),
    ("tools", [{"type": "web_search"}], "tools[0].type"),
    ("tools", [WAIT, {"type": "mcp", "server_label": "x"}], "tools[1].type"),
    ("tools", [{"type": "function"}], "tools[0].name"),
    ("tools", [WAIT, {"type": "function", "name": "a b"}], "tools[1].name"),
    ("tools", [WAIT, WAIT], "tools[1].name"),
    ("tools", [WAIT] * 129, "tools"),
    ("tools", [{**WAIT, "parameters": LARGE}], "tools[0].parameters"),
    ("tools", [{**WAIT, "defer_loading": True}], "tools[0].defer_loading"),
    ("tools", [{**WAIT, "allowed_callers": ["programmatic"]}], "tools[0].allowed_callers"),
    ("tool_choice", "any", "tool_choice"),
    ("tool_choice", "required", "tool_choice"),
    ("tool_choice", 5, "tool_choice"),
    ("tool_choice", {"type": "web_search_preview"}, "tool_choice.type"),
    ("tool_choice", {"type": "function"}, "tool_choice.name"),
    ("tool_choice", {"type": "function", "name": "look"}, "tool_choice.name"),
    ("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": [WAIT]}, "tool_choice.tools[0].name"),
    ("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": []}, "tool_choice.tools"),
    ("text", "json", "text"),
    ("text", {"format": {"type": "xml"}}, "text.format.type"),
    ("text", _text(name=None), "text.format.name"),
    ("text", _text(name="a b"), "text.format.name"),
    ("text", _text(schema=None), "text.format.schema"),
    ("text", _text(schema=LARGE), "text.format.schema"),
    ("text", {"format": {"type": "regex"}}, "text.format.regex"),
    ("text", {"format": {"type": "lark_grammar", "lark_grammar": "x" * (1 << 17)}}, "text.format.lark_grammar"),
    ("text", {"format": "text"}, "text.format"),
    ("text", {"verbosity": "low"}, "text.verbosity"),
    ("text", {"verbosity": "loud"}, "text.verbosity"),
    ("reasoning", "low", "reasoning"),
    ("reasoning", {"effort": "max"}, "reasoning.effort"),
    ("reasoning", {"summary": "concise"}, "reasoning.summary"),
    ("reasoning", {"generate_summary": "concise"}, "reasoning.generate_summary"),
    ("reasoning", {"context": "all_turns"}, "reasoning.context"),
    ("reasoning", {"mode": "pro"}, "reasoning.mode"),
    ("include", ["everything"], "include[0]"),
    ("truncation", "auto", "truncation"),
    ("truncation", "some", "truncation"),
    ("background", True, "background"),
    ("store", "yes", "store"),
    ("metadata", {"a": 5}, "metadata.a"),
    ("metadata", {str(number): "x" for number in range(17)}, "metadata"),
    ("metadata", {"a": "x" * 513}, "metadata.a"),
    ("stop", 5, "stop"),
    ("ttl", -1, "ttl"),
]


@pytest.mark.parametrize(("field", "value", "param"), WRONG)
def test_wrong_values_name_their_field(field: str, value: Any, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(**{field: value})
    assert caught.value.param == param
    assert caught.value.message.startswith(param)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("field", UNSUPPORTED_FIELDS)
def test_known_fields_that_would_change_the_answer(field: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        read(**{field: {"type": "other"}})
    assert caught.value.param == field


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys(UNSUPPORTED_FIELDS),
        {"tools": [], "tool_choice": "auto", "include": [], "text": {}, "reasoning": {}, "metadata": {}},
        {"text": {"format": {"type": "text"}, "verbosity": "medium"}, "truncation": "disabled", "background": False},
        {"reasoning": {"summary": "auto", "context": "auto", "mode": "standard"}, "include": ["reasoning.encrypted_content"]},
        {"user": "u", "service_tier": "auto", "prompt_cache_key": "k", "safety_identifier": "s", "max_tool_calls": 3, "n": 1},
        {"stream": True, "stream_options": {"include_obfuscation": False}, "parallel_tool_calls": True},
        dict.fromkeys(
            ("tools", "tool_choice", "text", "reasoning", "truncation", "store", "stream", "metadata", "top_logprobs")
        ),
    ],
)
def test_fields_that_ask_for_nothing(fields: dict[str, Any]) -> None:
    request = read(**fields)
    assert request.ignored_fields == []
    assert request.generation == read().generation


def test_tools_that_clients_list_beside_their_functions() -> None:
    """As Codex does."""
    function = {"type": "function", "name": "look"}
    others: list[dict[str, Any]] = [
        {"type": "web_search", "external_web_access": True},
        {"type": "namespace", "tools": [function]},
    ]
    request = read(tools=[others[0], function, others[1]])
    assert request.generation == read(tools=[function]).generation
    assert request.ignored_fields == ["tools[].namespace", "tools[].web_search"]
    with pytest.raises(UnsupportedFieldError, match="only functions of the caller") as caught:
        read(tools=others)
    assert caught.value.param == "tools[0].type"
    with pytest.raises(InvalidRequestError) as wrong:
        read(tools=[others[0], {"type": "function", "name": "no name"}])
    assert wrong.value.param == "tools[1].name"


def test_obfuscation() -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        read(stream=True, stream_options={"include_obfuscation": True})
    assert caught.value.param == "stream_options.include_obfuscation"


def test_unknown_fields_are_named() -> None:
    text = {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}
    said = {"type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [text], "phase": "commentary"}
    request = read(
        mirostat=1, input=[said, {**USER, "name": "me"}], tools=[{**WAIT, "output_schema": {}}], text={"colour": "red"},
        reasoning={"depth": 3}, stream=True, stream_options={"include_usage": True},
    )  # fmt: skip
    assert request.ignored_fields == [
        "input[].phase", "mirostat", "reasoning.depth", "stream_options.include_usage", "text.colour", "tools[].output_schema",
    ]  # fmt: skip


def test_everything_reaches_the_engine() -> None:
    sampling: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 7,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
    }
    request = read(
        instructions="Be kind.", max_output_tokens=4, stop="end", priority="background", reasoning={"effort": "low"},
        presence_penalty=1, frequency_penalty=-1, logit_bias={"5": 1}, **sampling,
    )  # fmt: skip
    generation = request.generation
    assert generation.messages == ({"role": "system", "content": "Be kind."}, USER)
    assert (generation.max_tokens, generation.stop, generation.priority) == (4, ("end",), "background")
    assert generation.sampling == SamplingParameters(
        **sampling, presence_penalty=1, frequency_penalty=-1, logit_bias=((5, 1.0),)
    )
    assert (generation.reasoning_effort, generation.tools, generation.grammar, generation.logprobs) == ("low", None, None, None)


@pytest.mark.parametrize(
    ("text_format", "grammar"),
    [
        ({"type": "json_object"}, Grammar("json_object")),
        ({"type": "regex", "regex": "a+"}, Grammar("regex", "a+")),
        ({"type": "lark_grammar", "lark_grammar": "start: /a/"}, Grammar("lark", "start: /a/")),
        (_text(schema=SCHEMA)["format"], Grammar("json_schema", json.dumps(SCHEMA, separators=(",", ":")))),
        (_text(schema={}, strict=True)["format"], Grammar("json_schema", "{}", strict=True)),
    ],
)
def test_formats(text_format: dict[str, Any], grammar: Grammar) -> None:
    assert read(text={"format": text_format}).generation.grammar == grammar


BOTH = (Tool("look", "Look at it.", SCHEMA, strict=True), Tool("wait"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ToolUse(BOTH)),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, ToolUse(BOTH, is_parallel=False)),
        ({"tool_choice": "required"}, ToolUse(BOTH, is_required=True)),
        ({"tool_choice": {"type": "function", "name": "wait"}}, ToolUse(BOTH, named="wait", is_parallel=False)),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [WAIT]}}, ToolUse(BOTH[1:])),
        ({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [WAIT]}}, ToolUse(BOTH[1:], is_required=True)),
        ({"tool_choice": "none"}, None),
    ],
)
def test_tools(fields: dict[str, Any], expected: ToolUse | None) -> None:
    assert read(tools=[LOOK, WAIT], **fields).generation.tools == expected


def test_items_become_messages() -> None:
    refusal = {"type": "refusal", "refusal": "No."}
    items: list[dict[str, Any]] = [
        {"role": "developer", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"type": "message", "role": "assistant", "content": "said"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "in short"}]},
        {**CALL, "arguments": ""},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "why"}]},
        {"type": "message", "role": "assistant", "content": [refusal]},
        {"type": "message", "role": "assistant", "content": "again"},
        USER,
    ]
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": {}}}
    assert list(read(input=items).generation.messages) == [
        {"role": "system", "content": "ab"},
        {"role": "assistant", "content": "said"},
        {"role": "assistant", "content": "", "reasoning_content": "in short", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done", "name": "look"},
        {"role": "assistant", "content": "No.", "reasoning_content": "why"},
        {"role": "assistant", "content": "again"},
        USER,
    ]


def test_items_keep_their_ids_or_get_one() -> None:
    first, second = read(input=[{**USER, "id": "msg_mine"}, USER]).conversation.items
    assert first["id"] == "msg_mine"
    assert second["id"].startswith("msg_")
    assert len(second["id"]) == len("msg_") + 32


def test_errors_of_the_engine_name_the_fields_of_this_interface() -> None:
    error = renamed(ContextLengthError("Too long.", hint="Shorten it.", param="messages"), NAMES)
    assert (type(error), error.message, error.hint, error.param) == (ContextLengthError, "Too long.", "Shorten it.", "input")
    assert renamed(InvalidRequestError("response_format: no.", param="response_format"), NAMES).message == "text.format: no."
    other = InvalidRequestError("ep: no.", param="ep")
    assert renamed(other, NAMES) is other

"""Conversion between Anthropic's wire format and the engine's terms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry_cli.api.anthropic import error_body
from foundry_cli.engine.request import (
    EngineEvent,
    Finish,
    FinishReason,
    Grammar,
    ReasoningChunk,
    SamplingParameters,
    TextChunk,
    Timing,
    Tool,
    ToolCallChunk,
    ToolUse,
    Usage,
)
from foundry_cli.errors import InvalidRequestError, QueueFullError, UnsupportedFieldError
from foundry_cli.service.answer import Answer
from foundry_cli.service.anthropic.conversion import read_count_request, read_message_request, shows_thinking
from foundry_cli.service.anthropic.writer import MessageStream, MessageWriter
from foundry_cli.types import ModelInfo

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "The weather", "input_schema": SCHEMA}
TIME = {"name": "time", "input_schema": {"type": "object"}, "type": "custom", "cache_control": {"type": "ephemeral"}}


def body(**fields: Any) -> dict[str, Any]:
    """A request."""
    return {"model": "m", "max_tokens": 9, "messages": [USER], **fields}


def text(content: str) -> dict[str, Any]:
    """A block."""
    return {"type": "text", "text": content}


def messages_of(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """The engine's messages."""
    return list(read_message_request(body(messages=list(messages), **fields)).generation.messages)


def test_texts_and_blocks() -> None:
    blocks = {"role": "user", "content": [{**text("a"), "cache_control": {"type": "ephemeral"}, "citations": None}, text("b")]}
    assert messages_of(blocks) == [{"role": "user", "content": "a\n\nb"}]
    assert messages_of(USER, system="Be kind.")[0] == {"role": "system", "content": "Be kind."}
    assert messages_of(USER, system=[text("Be kind."), text("Be brief.")])[0]["content"] == "Be kind.\n\nBe brief."
    later = {"role": "system", "content": "Be brief."}
    assert messages_of(later, USER, system="Be kind.")[0]["content"] == "Be kind.\n\nBe brief."
    assert messages_of(USER, later)[1] == later
    assert messages_of(USER, USER) == [{"role": "user", "content": "Hi\n\nHi"}]
    answers = ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": [text("b")]})
    assert messages_of(USER, *answers, USER)[1] == {"role": "assistant", "content": "ab"}


def test_calls_results_and_thoughts() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("sunny"), text("warm")]}
    failed = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such city", "is_error": True}
    empty = {"type": "tool_result", "tool_use_id": "toolu_3"}
    others = [{**call, "id": "toolu_2"}, {**call, "id": "toolu_3"}]
    _, answer, *results, question = messages_of(
        USER,
        {"role": "assistant", "content": [thought, text("Let me see."), call, *others]},
        {"role": "user", "content": [result, failed, empty, text("Well?")]},
    )
    function = {"name": "weather", "arguments": {"city": "Bonn"}}
    assert answer == {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": f"toolu_{number}", "type": "function", "function": function} for number in (1, 2, 3)],
    }
    assert results == [
        {"role": "tool", "content": "sunny\n\nwarm", "tool_call_id": "toolu_1", "name": "weather"},
        {"role": "tool", "content": "Error: no such city", "tool_call_id": "toolu_2", "name": "weather"},
        {"role": "tool", "content": "", "tool_call_id": "toolu_3", "name": "weather"},
    ]
    assert question == {"role": "user", "content": "Well?"}


def test_thoughts_of_another_service() -> None:
    message = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, text("a")]}
    conversation = read_message_request(body(messages=[USER, message, USER]))
    assert conversation.generation.messages[1] == {"role": "assistant", "content": "a"}
    assert conversation.ignored_fields == ["messages[].content[].redacted_thinking"]


def test_the_other_fields() -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop_sequences": ["a"], "metadata": {"user_id": "u"}}
    conversation = read_message_request(body(**fields, service_tier="auto", container=None, mirostat=1))
    generation = conversation.generation
    assert generation.sampling == SamplingParameters(0.5, 0.9, 3)
    assert (generation.max_tokens, generation.stop, generation.tools) == (9, ("a",), None)
    assert conversation.ignored_fields == ["mirostat"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {}),
        ({"type": "auto"}, {}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"is_parallel": False}),
        ({"type": "any"}, {"is_required": True}),
        ({"type": "tool", "name": "time"}, {"is_required": True, "named": "time", "is_parallel": False}),
    ],
)
def test_tools(choice: Any, expected: dict[str, Any]) -> None:
    generation = read_message_request(body(tools=[WEATHER, TIME], tool_choice=choice)).generation
    assert generation.tools == ToolUse(
        (Tool("weather", "The weather", SCHEMA), Tool("time", "", {"type": "object"})), **expected
    )


def test_no_tools() -> None:
    assert read_message_request(body(tools=[WEATHER], tool_choice={"type": "none"})).generation.tools is None
    assert read_message_request(body(tools=[], tool_choice={"type": "auto"})).generation.tools is None


@pytest.mark.parametrize(
    ("thinking", "effort", "expected", "is_shown"),
    [
        (None, None, None, False),
        (None, "low", "low", False),
        ({"type": "disabled"}, "high", "none", False),
        ({"type": "enabled", "budget_tokens": 1024}, None, "high", True),
        ({"type": "enabled", "budget_tokens": 1024}, "max", "xhigh", True),
        ({"type": "adaptive"}, None, None, True),
        ({"type": "adaptive", "display": "omitted"}, "high", "high", False),
    ],
)
def test_thinking(thinking: Any, effort: str | None, expected: str | None, is_shown: bool) -> None:
    conversation = read_message_request(body(thinking=thinking, output_config={"effort": effort}))
    assert conversation.generation.reasoning_effort == expected
    assert shows_thinking(conversation.wire) is is_shown
    assert ("thinking.budget_tokens" in conversation.ignored_fields) is ("budget_tokens" in (thinking or {}))


def test_structured_output() -> None:
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    expected = Grammar("json_schema", json.dumps(SCHEMA, separators=(",", ":")))
    assert read_message_request(body(output_config=config)).generation.grammar == expected


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
CALL = {"type": "tool_use", "id": "a", "name": "b", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "c"}
CALLED = {"role": "assistant", "content": [{**CALL, "id": "other"}]}
ANSWERED = {"role": "user", "content": [RESULT]}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"temperature": 1.1}, "temperature"),
    ({"top_p": "1"}, "top_p"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [text("a"), {"type": "text"}]}]}, "messages[0].content[1].text"),
    ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [CALL]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{**CALL, "input": []}]}]}, "messages[0].content[0].input"),
    ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    ({"messages": [{"role": "user", "content": [RESULT]}]}, "messages[0].content[0].tool_use_id"),
    (
        {"messages": [USER, CALLED, ANSWERED, {"role": "assistant", "content": [CALL]}, USER]},
        "messages[2].content[0].tool_use_id",
    ),
    ({"stop_sequences": "a"}, "stop_sequences"),
    ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
    ({"tools": [{**WEATHER, "name": "a b"}]}, "tools[0].name"),
    ({"tools": [{**WEATHER, "input_schema": {"type": "array"}}]}, "tools[0].input_schema.type"),
    ({"tools": [{**WEATHER, "input_schema": {"description": "x" * (1 << 16)}}]}, "tools[0].input_schema"),
    ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tool_choice": {"type": "tool"}, "tools": [WEATHER]}, "tool_choice.name"),
    ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [WEATHER]}, "tool_choice.name"),
    ({"tool_choice": {"type": "all"}}, "tool_choice.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{"role": "user", "content": [text("a"), IMAGE]}]}, "messages[0].content[1].type"),
    ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0].type"),
    ({"messages": [USER, {"role": "assistant", "content": "{"}]}, "messages"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{**WEATHER, "defer_loading": True}]}, "defer_loading"),
    ({"mcp_servers": [{"name": "a"}]}, "mcp_servers"),
    ({"container": "c"}, "container"),
    ({"thread": {"type": "create"}}, "thread"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_wrong_values(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_message_request(body(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_refused_fields(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        read_message_request(body(**fields))
    assert caught.value.param == param


def test_images_are_refused_by_name() -> None:
    for block in (IMAGE, {"type": "tool_result", "tool_use_id": "a", "content": [IMAGE]}):
        with pytest.raises(InvalidRequestError, match="image"):
            read_message_request(body(messages=[{"role": "user", "content": [block]}]))


def test_clients_go_on_without_a_thread() -> None:
    """The tool runner of Anthropic's client asks for one, and sends all messages when it is told so."""
    with pytest.raises(UnsupportedFieldError) as caught:
        read_message_request(body(thread={"type": "create"}))
    assert error_body(caught.value, 400)["error"]["details"] == {"error_code": "thread_unsupported_request"}


def test_counting_takes_what_a_message_has() -> None:
    counted = read_count_request(body(tools=[WEATHER], stream=True, temperature=99, mirostat=1))
    assert counted.generation.tools is not None
    assert counted.ignored_fields == ["mirostat"]
    with pytest.raises(InvalidRequestError):
        read_count_request({"model": "m"})


def end(reason: FinishReason = "stop", stop_sequence: str | None = None) -> Finish:
    """The end of an answer."""
    return Finish(reason, Usage(10, 5, 4, 2), Timing(), stop_sequence)


def writer(*, has_thinking: bool = True) -> MessageWriter:
    """A writer of answers of the model `m:1`."""
    model = ModelInfo("m", 1, "m")
    return MessageWriter("x", model, 3, has_thinking=has_thinking)


EVENTS: list[EngineEvent] = [
    ReasoningChunk("H"),
    ReasoningChunk("m"),
    TextChunk("Let me "),
    TextChunk("see."),
    ToolCallChunk(0, "call_1", "weather"),
    ToolCallChunk(0, arguments='{"city":'),
    ToolCallChunk(0, arguments='"Bonn"}'),
    ToolCallChunk(1, "call_2", "time", "{}"),
    end("tool_calls"),
]
USAGE = {
    "input_tokens": 6,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 4,
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 2},
}
CONTENT = [
    {"type": "thinking", "thinking": "Hm", "signature": ""},
    {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bonn"}},
    {"type": "tool_use", "id": "call_2", "name": "time", "input": {}},
]


def whole(events: list[EngineEvent], *, has_thinking: bool = True) -> dict[str, Any]:
    """The answer in one piece."""
    answer = Answer()
    for event in events:
        answer.add(event)
    return writer(has_thinking=has_thinking).whole(answer)


def streamed(events: list[EngineEvent], *, has_thinking: bool = True) -> list[dict[str, Any]]:
    """The events of a stream; their names are those of their types."""
    stream = MessageStream(writer(has_thinking=has_thinking))
    found = []
    for block in b"".join(stream.add(0, event) for event in events).decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_a_whole_message() -> None:
    message = whole(EVENTS)
    assert message["content"] == CONTENT
    assert (message["id"], message["type"], message["role"], message["model"]) == ("msg_x", "message", "assistant", "m:1")
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)
    assert message["usage"] == USAGE
    assert whole(EVENTS, has_thinking=False)["content"] == CONTENT[1:]
    assert whole([end()])["content"] == []


@pytest.mark.parametrize(
    ("finish", "reason"),
    [(end(), "end_turn"), (end("length"), "max_tokens"), (end("stop", "END"), "stop_sequence"), (end("cancelled"), "end_turn")],
)
def test_why_it_ended(finish: Finish, reason: str) -> None:
    message = whole([TextChunk("a"), finish])
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, finish.stop_sequence)
    delta = streamed([TextChunk("a"), finish])[-2]
    assert delta["delta"] == {"stop_reason": reason, "stop_sequence": finish.stop_sequence}


@pytest.mark.parametrize(
    ("arguments", "expected"), [("", {}), ('{"a":1,"b":{"c":"d', {"a": 1, "b": {}}), ('{"a":[1,', {"a": [1]})]
)
def test_a_call_that_was_cut_short(arguments: str, expected: Any) -> None:
    message = whole([ToolCallChunk(0, "call_1", "weather", arguments), end("length")])
    assert (message["content"][0]["input"], message["stop_reason"]) == (expected, "max_tokens")


def test_a_stream_is_the_same_as_the_whole() -> None:
    start, ping, *blocks, delta, stop = streamed(EVENTS)
    assert (start["message"]["content"], start["message"]["stop_reason"]) == ([], None)
    assert (ping, stop) == ({"type": "ping"}, {"type": "message_stop"})
    assert delta == {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": USAGE}
    assert _put_together(blocks) == CONTENT
    assert _put_together(streamed(EVENTS, has_thinking=False)[2:-2]) == CONTENT[1:]
    assert [event["type"] for event in streamed([end()])] == ["message_start", "ping", "message_delta", "message_stop"]


def _put_together(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks of a stream; each is open alone."""
    blocks: list[dict[str, Any]] = []
    arguments, is_open = "", False
    for event in events:
        kind = event["type"]
        if kind == "content_block_start":
            assert (event["index"], is_open) == (len(blocks), False)
            blocks.append(event["content_block"])
            arguments, is_open = "", True
            continue
        assert (event["index"], is_open) == (len(blocks) - 1, True)
        if kind == "content_block_stop":
            is_open = False
            if blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = json.loads(arguments)
            continue
        delta = event["delta"]
        arguments += delta.get("partial_json", "")
        if delta["type"] != "input_json_delta":
            key = delta["type"].removesuffix("_delta")
            blocks[-1][key] += delta[key]
    assert not is_open
    return blocks


def test_a_stream_that_broke_off() -> None:
    data = MessageStream(writer()).fail(QueueFullError("Full.", hint="Try again."))
    name, text = data.decode().removesuffix("\n\n").split("\n")
    assert name == "event: error"
    assert json.loads(text.removeprefix("data: ")) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Full. Try again."},
    }

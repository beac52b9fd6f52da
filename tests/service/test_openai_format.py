"""Conversion between OpenAI's wire format and the engine's terms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry_cli.api.openai import UNSUPPORTED_FIELDS
from foundry_cli.api.sse import decode_events, encode_event
from foundry_cli.engine.request import (
    EngineEvent,
    Finish,
    Grammar,
    Progress,
    SamplingParameters,
    TextChunk,
    Timing,
    TokenText,
    Usage,
)
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.answer import Answer
from foundry_cli.service.fingerprint import system_fingerprint
from foundry_cli.service.openai.convert import read_chat_request
from foundry_cli.service.openai.writer import ChatCompletionStream, ChatCompletionWriter
from foundry_cli.types import ModelInfo
from tests.service.local import finish

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "look"}}


def body(**fields: Any) -> dict[str, Any]:
    """A request."""
    return {"model": "m", "messages": [USER], **fields}


def _numbers(field: str, *wrong: Any) -> list[tuple[str, Any, str]]:
    return [(field, value, field) for value in (*wrong, "1", True, [], {})]


WRONG: list[tuple[str, Any, str]] = [
    *_numbers("max_tokens", 0, -1, 2**31, 2**63, 1.5, 1e308),
    *_numbers("max_completion_tokens", 0, -1, 2**31),
    *_numbers("temperature", -0.1, 2.1, 1e308),
    *_numbers("top_p", -0.1, 1.1),
    *_numbers("top_k", -1, 2**31, 1.5),
    *_numbers("seed", 2**64, -(2**63) - 1, 0.5),
    *_numbers("random_seed", 2**64, 0.5),
    *_numbers("presence_penalty", -2.1, 2.1),
    *_numbers("frequency_penalty", -2.1, 2.1),
    *_numbers("repetition_penalty", 0, 5e-324, -1, 11),
    *_numbers("n", 0, -1, 17, 2**63),
    *_numbers("min_p", -0.1, 1.1),
    *_numbers("top_logprobs", -1, 21, 0.5),
    ("top_logprobs", 1, "top_logprobs"),  # without logprobs
    ("logprobs", 1, "logprobs"),
    ("logprobs", "yes", "logprobs"),
    ("logit_bias", 5, "logit_bias"),
    ("logit_bias", [1], "logit_bias"),
    ("logit_bias", {"1": 101}, "logit_bias.1"),
    ("logit_bias", {"1": -100.5}, "logit_bias.1"),
    ("logit_bias", {"1": "5"}, "logit_bias.1"),
    ("logit_bias", {"1": True}, "logit_bias.1"),
    ("logit_bias", {"-1": 5}, "logit_bias.-1"),
    ("logit_bias", {"1.0": 5}, "logit_bias.1.0"),
    ("logit_bias", {"9" * 10: 5}, "logit_bias.9999999999"),
    ("logit_bias", {str(token): 1 for token in range(1025)}, "logit_bias"),
    ("priority", "urgent", "priority"),
    ("priority", 1, "priority"),
    ("response_format", "json", "response_format"),
    ("response_format", {}, "response_format.type"),
    ("response_format", {"type": "xml"}, "response_format.type"),
    ("response_format", {"type": "json_schema"}, "response_format.json_schema"),
    ("response_format", {"type": "json_schema", "json_schema": 5}, "response_format.json_schema"),
    ("response_format", {"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema.name"),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}},
        "response_format.json_schema.name",
    ),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "a", "schema": []}},
        "response_format.json_schema.schema",
    ),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {"description": "x" * (1 << 16)}}},
        "response_format.json_schema.schema",
    ),
    *_numbers("ttl", -1, 2**31, 1.5),
    ("stream", "true", "stream"),
    ("stream", 1, "stream"),
    ("stream_options", {}, "stream_options"),
    ("stream_options", {"include_usage": "yes"}, "stream_options.include_usage"),
    ("model", "", "model"),
    ("model", None, "model"),
    ("model", 5, "model"),
    ("model", "x" * 513, "model"),
    ("messages", [], "messages"),
    ("messages", None, "messages"),
    ("messages", "Hi", "messages"),
    ("messages", [USER] * 10_001, "messages"),
    ("messages", ["Hi"], "messages[0]"),
    ("messages", [{"role": "user", "content": ""}], "messages"),
    ("messages", [{"role": "user", "content": "  \n"}, {"role": "assistant"}], "messages"),
    ("messages", [USER, {"role": "nobody", "content": "x"}], "messages[1].role"),
    ("messages", [USER, {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
    ("messages", [USER, {"role": "tool", "content": "x", "tool_call_id": "y"}], "messages[1].tool_call_id"),
    ("messages", [USER, {"role": "function", "content": "x"}], "messages[1].name"),
    ("tools", [{"type": "custom", "custom": {"name": "x"}}], "tools[0].type"),
    ("tools", [{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name"),
    ("tools", [FUNCTION, FUNCTION], "tools[1].function.name"),
    ("tools", [FUNCTION] * 129, "tools"),
    ("tool_choice", "required", "tool_choice"),
    ("tool_choice", {"type": "function", "function": {"name": "x"}}, "tool_choice.function.name"),
    ("function_call", "always", "function_call"),
    ("function_call", {"name": "look"}, "function_call"),
    ("reasoning_effort", "huge", "reasoning_effort"),
    ("messages", [USER, {"content": "x"}], "messages[1].role"),
    ("messages", [{"role": "user", "content": 5}], "messages[0].content"),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages[0].content[0].type"),
    ("messages", [{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
    (
        "messages",
        [USER, {"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}],
        "messages[1].tool_calls[0].function",
    ),
    ("stop", 5, "stop"),
    ("stop", ["a"] * 17, "stop"),
    ("stop", ["a", 5], "stop[1]"),
    ("stop", "x" * 1001, "stop"),
    ("metadata", {"top_k": "many"}, "metadata.top_k"),
    ("metadata", {"top_k": str(2**31)}, "metadata.top_k"),
    ("metadata", {"random_seed": "-1"}, "metadata.random_seed"),
    ("metadata", [], "metadata"),
    ("user", 5, "user"),
    ("ep", 5, "ep"),
]


@pytest.mark.parametrize(("field", "value", "param"), WRONG)
def test_wrong_values_name_their_field(field: str, value: Any, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_chat_request(body(**{field: value}))
    assert caught.value.param == param
    assert caught.value.message.startswith(param)
    assert len(caught.value.message) < 300


def test_missing_fields() -> None:
    for field in ("model", "messages"):
        with pytest.raises(InvalidRequestError, match="required") as caught:
            read_chat_request({name: value for name, value in body().items() if name != field})
        assert caught.value.param == field


@pytest.mark.parametrize("field", UNSUPPORTED_FIELDS)
def test_known_fields_that_would_change_the_answer(field: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        read_chat_request(body(**{field: {"type": "other"}}))
    assert caught.value.param == field


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "auto", "functions": [], "function_call": "none"},
        {"response_format": {"type": "text"}, "modalities": ["text"], "logprobs": False, "top_logprobs": 0, "logit_bias": {}},
        dict.fromkeys(UNSUPPORTED_FIELDS),
        {"n": 1, "user": "u", "store": True, "service_tier": "auto", "parallel_tool_calls": True, "metadata": {"a": "b"}},
        {"stream": False, "stream_options": None, "max_tokens": None, "temperature": None, "stop": None, "ttl": None},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
    ],
)
def test_fields_that_ask_for_nothing(fields: dict[str, Any]) -> None:
    assert read_chat_request(body(**fields)).ignored_fields == []


def test_unknown_fields_are_named() -> None:
    answer: dict[str, Any] = {"role": "assistant", "content": "x", "refusal": None, "tool_calls": [], "reasoning_content": "y"}
    chat = read_chat_request(body(mirostat=1, chat_template="{{ x }}", messages=[USER, answer, {**USER, "name": "me"}]))
    assert chat.ignored_fields == ["chat_template", "mirostat"]


def test_everything_reaches_the_engine() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]
    messages = [{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}]
    sampling: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 7,
        "repetition_penalty": 1.1,
        "min_p": 0.1,
    }
    penalties: dict[str, Any] = {"presence_penalty": 1, "frequency_penalty": -1}
    chat = read_chat_request(
        body(messages=messages, stop="end", max_tokens=5, max_completion_tokens=4, **sampling, **penalties)
    )
    generation = chat.generation
    assert generation.messages == ({"role": "system", "content": "be kind"}, {"role": "user", "content": "ab"})
    assert (generation.max_tokens, generation.stop) == (4, ("end",))
    assert generation.sampling == SamplingParameters(**sampling, **penalties)


def test_numbers_in_metadata() -> None:
    sampling = read_chat_request(
        body(metadata={"top_k": "40", "random_seed": str(2**64 - 1), "other": "x"})
    ).generation.sampling
    assert (sampling.top_k, sampling.seed) == (40, 2**64 - 1)
    assert read_chat_request(body(top_k=1, random_seed=2, metadata={"top_k": "40"})).generation.sampling.top_k == 1


TEXTS = [
    "plain",
    'data: [DONE]\n\ndata: {"a": 1}',
    "\r\n\r",
    "\u2028\u2029\x85",
    '\N{GRINNING FACE} \x00 \x7f \\ "',
    "",
    "\ud800",
]


@pytest.mark.parametrize("has_logprobs", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_one_line_of_an_event(text: str, has_logprobs: bool) -> None:
    writer = ChatCompletionWriter("identity", ModelInfo('m"content":""', 1, "m"), has_logprobs=has_logprobs)
    for index in (0, 3, 0):
        event = writer.text_event(TextChunk(text), index)
        logprobs = {"content": [], "refusal": None} if has_logprobs else None
        assert event == encode_event(writer.chunk({"content": text}, index=index, logprobs=logprobs))
        assert event.startswith(b"data: {")
        assert len(event.decode().splitlines()) == 2  # the strictest idea of a line, and the empty one
        (decoded,) = decode_events(event.splitlines(keepends=True))
        assert decoded["choices"][0]["delta"]["content"] == text.replace("\ud800", "?")
        assert decoded["choices"][0]["index"] == index
        assert decoded["model"] == 'm"content":"":1'


def whole_answer(*events: EngineEvent) -> Answer:
    answer = Answer()
    for event in events:
        answer.add(event)
    return answer


ENVELOPE = {
    "id": "chatcmpl-identity",
    "model": "name:2",
    "system_fingerprint": system_fingerprint(ModelInfo("name", 2, "alias")),
}


def test_the_shapes_of_answers() -> None:
    writer = ChatCompletionWriter("identity", ModelInfo("name", 2, "alias"))
    usage = {
        "prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    timings = {"queue_ms": 1.0, "prefill_ms": 2.0, "decode_ms": 3.0}
    whole = writer.whole([whole_answer(TextChunk("te"), TextChunk("xt"), finish())])
    created = whole.pop("created")
    assert isinstance(created, int)
    message = {"role": "assistant", "content": "text", "refusal": None}
    assert whole == {
        **ENVELOPE, "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage, "timings": timings, "engine": "",
    }  # fmt: skip
    envelope = {**ENVELOPE, "object": "chat.completion.chunk", "created": created}
    choice = {"index": 0, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None}
    assert writer.chunk({"content": "x"}) == {**envelope, "choices": [choice]}
    assert writer.usage_chunk([finish()]) == {**envelope, "choices": [], "usage": usage, "timings": timings, "engine": ""}


SEVERAL = (
    Finish("stop", Usage(10, 3, 0), Timing(0.1, 0.2, 0.3)),
    Finish("length", Usage(10, 5, 9), Timing(0.2, 0.1, 0.5)),
)


def test_the_counts_of_several_answers() -> None:
    writer = ChatCompletionWriter("identity", ModelInfo("name", 2, "alias"))
    whole = writer.whole([whole_answer(TextChunk("a"), SEVERAL[0]), whole_answer(SEVERAL[1])])
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["a", ""]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "length"]
    counts = whole["usage"]
    assert (counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"]) == (10, 8, 18)
    assert counts["prompt_tokens_details"] == {"cached_tokens": 0}
    assert whole["timings"] == {"queue_ms": 100.0, "prefill_ms": 200.0, "decode_ms": 500.0}


def test_the_counts_of_drafts_are_there_when_there_were_drafts() -> None:
    writer = ChatCompletionWriter("identity", ModelInfo("name", 2, "alias"))
    ends = [Finish("stop", Usage(10, 30, 0, 1, drafted, accepted), Timing()) for drafted, accepted in ((7, 5), (3, 0))]
    details = writer.whole([whole_answer(end) for end in ends])["usage"]["completion_tokens_details"]
    assert details == {"reasoning_tokens": 2, "accepted_prediction_tokens": 5, "rejected_prediction_tokens": 5}


def test_a_stream_of_several_answers_chunk_by_chunk() -> None:
    stream = ChatCompletionStream(ChatCompletionWriter("i", ModelInfo("m", 1, "m")), 2, include_usage=True)

    def add(index: int, event: EngineEvent) -> list[tuple[int, Any, str | None]]:
        lines = stream.add(index, event).splitlines(keepends=True)
        choices = [choice for chunk in decode_events(lines) for choice in chunk["choices"]]
        return [(choice["index"], choice["delta"], choice["finish_reason"]) for choice in choices]

    opening = {"role": "assistant", "content": ""}
    assert add(1, TextChunk("a")) == [(1, opening, None), (1, {"content": "a"}, None)]
    assert add(0, SEVERAL[0]) == [(0, opening, None), (0, {}, "stop")]
    assert add(1, TextChunk("b")) == [(1, {"content": "b"}, None)]
    last = stream.add(1, SEVERAL[1])
    *_, ending, usage = decode_events(last.splitlines(keepends=True))
    assert ending["choices"][0]["finish_reason"] == "length"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 18)
    assert last.endswith(b"data: [DONE]\n\n")


def test_log_probabilities() -> None:
    other = TokenText("i", b"i", -1.5)
    tokens = (
        TokenText("H", b"H", -0.25, (TokenText("H", b"H", -0.25), other)),
        TokenText("\N{REPLACEMENT CHARACTER}", b"\xf0\x9f", -2.0, (TokenText("<|end|>", None, -9999.0),)),
    )
    expected = {
        "content": [
            {
                "token": "H", "logprob": -0.25, "bytes": [72],
                "top_logprobs": [
                    {"token": "H", "logprob": -0.25, "bytes": [72]},
                    {"token": "i", "logprob": -1.5, "bytes": [105]},
                ],
            },
            {
                "token": "\N{REPLACEMENT CHARACTER}", "logprob": -2.0, "bytes": [240, 159],
                "top_logprobs": [{"token": "<|end|>", "logprob": -9999.0, "bytes": None}],
            },
        ],
        "refusal": None,
    }  # fmt: skip
    writer = ChatCompletionWriter("identity", ModelInfo("m", 1, "m"), has_logprobs=True)
    whole = writer.whole([whole_answer(TextChunk("H", 1, tokens[:1]), TextChunk("", 1, tokens[1:]), finish())])
    assert whole["choices"][0]["logprobs"] == expected
    (chunk,) = decode_events(writer.text_event(TextChunk("H", 2, tokens)).splitlines(keepends=True))
    assert chunk["choices"][0]["logprobs"] == expected


def test_fields_of_the_engine_that_are_no_sampling() -> None:
    plain = read_chat_request(body()).generation
    assert (plain.logprobs, plain.grammar, plain.priority, plain.sampling.logit_bias) == (None, None, "interactive", ())
    fields: dict[str, Any] = {"logprobs": True, "logit_bias": {"5": -100, "05": 1, "7": 0.5}, "priority": "background"}
    generation = read_chat_request(body(**fields)).generation
    assert (generation.logprobs, generation.priority) == (0, "background")
    assert generation.sampling.logit_bias == ((5, 1.0), (7, 0.5))
    assert read_chat_request(body(logprobs=True, top_logprobs=20)).generation.logprobs == 20


@pytest.mark.parametrize(
    ("format_", "grammar"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar("json_object")),
        ({"type": "json_schema", "json_schema": {"name": "any"}}, Grammar("json_object")),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"const": "\u2028\N{SNOWMAN}"}}},
            Grammar("json_schema", '{"const":"\\u2028\N{SNOWMAN}"}', strict=True),
        ),
    ],
)
def test_response_formats(format_: dict[str, Any], grammar: Grammar | None) -> None:
    assert read_chat_request(body(response_format=format_)).generation.grammar == grammar


@pytest.mark.parametrize("line", [b"data: [1]\n", b"data: {\n", b"data:\n"])
def test_a_stream_that_is_not_one(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(decode_events([line]))


def test_other_lines_of_a_stream_are_skipped() -> None:
    lines = [b": comment\n", b"event: x\n", b"\n", b'data:{"a": 1}\n', b"data: [DONE]\n", b"data: nonsense\n"]
    assert list(decode_events(lines)) == [{"a": 1}]
    assert json.loads(encode_event({"a": 1})[6:]) == {"a": 1}


def test_progress_comes_in_chunks_without_choices() -> None:
    assert read_chat_request(body(stream=True, stream_options={"include_progress": True})).generation.tells_progress
    assert not read_chat_request(body(stream=True)).generation.tells_progress
    stream = ChatCompletionStream(ChatCompletionWriter("identity", ModelInfo("name", 2, "alias")), 1, include_usage=False)
    (chunk,) = decode_events(stream.add(0, Progress(1, 0, 30)).splitlines(keepends=True))
    assert chunk["choices"] == []
    assert chunk["progress"] == {"index": 0, "waiting": 1, "read_tokens": 0, "prompt_tokens": 30}


OLDER = {"name": "look"}
NAMED = {"type": "function", "function": OLDER}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [FUNCTION], "function_call": "none"}, "function_call"),
        ({"tools": [FUNCTION], "function_call": OLDER}, "function_call"),
        ({"functions": [OLDER], "tool_choice": "none"}, "tool_choice"),
        ({"functions": [OLDER], "tool_choice": "required"}, "tool_choice"),
        ({"functions": [OLDER], "tool_choice": NAMED}, "tool_choice"),
        ({"tools": [FUNCTION], "function_call": "auto"}, None),
        ({"functions": [OLDER], "tool_choice": "auto"}, None),
        ({"functions": [OLDER], "tool_choice": None, "function_call": OLDER}, None),
        ({"function_call": "none"}, None),
    ],
)
def test_the_choice_of_the_other_form(fields: dict[str, Any], param: str | None) -> None:
    if param is None:
        read_chat_request(body(**fields))
        return
    with pytest.raises(InvalidRequestError) as caught:
        read_chat_request(body(**fields))
    assert (caught.value.param, caught.value.message.startswith(f"{param}: ")) == (param, True)


def called(arguments: str, *, is_older: bool = False) -> list[dict[str, Any]]:
    """Messages with a call."""
    function = {"name": "look", "arguments": arguments}
    made = {"function_call": function} if is_older else {"tool_calls": [{"id": "a", "function": function}]}
    return [USER, {"role": "assistant", "content": "", **made}]


@pytest.mark.parametrize("is_older", [False, True])
@pytest.mark.parametrize("count", [65, 500, 100_000])
def test_arguments_that_are_nested_too_deep_stay_a_text(count: int, is_older: bool) -> None:
    for text in ('{"a":' * count + "1" + "}" * count, '{"a":' + "[" * count + "]" * count + "}"):
        messages = read_chat_request(body(messages=called(text, is_older=is_older))).generation.messages
        assert messages[1]["tool_calls"][0]["function"]["arguments"] == text


@pytest.mark.parametrize("is_older", [False, True])
def test_arguments_that_are_no_object_stay_a_text(is_older: bool) -> None:
    for text in ("", "{", "[1]", "null", "look here", '{"a": 1} and more', "{" * 500):
        messages = read_chat_request(body(messages=called(text, is_older=is_older))).generation.messages
        assert messages[1]["tool_calls"][0]["function"]["arguments"] == text
    deep = '{"a":' * 50 + "1" + "}" * 50
    messages = read_chat_request(body(messages=called(deep, is_older=is_older))).generation.messages
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == json.loads(deep)

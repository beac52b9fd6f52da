"""Conversion between OpenAI's wire format and the engine's terms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry_cli.api.openai import UNSUPPORTED_FIELDS
from foundry_cli.api.sse import decode_events, encode_event
from foundry_cli.engine.request import SamplingParameters
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.openai.convert import ChatCompletionWriter, read_chat_request
from foundry_cli.types import ModelInfo
from tests.service.local import finish

USER = {"role": "user", "content": "Hi"}


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
    *_numbers("repetition_penalty", 0, -1, 11),
    *_numbers("n", 0, -1, 17, 2**63),
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
    ("messages", [USER, {"role": "tool", "content": "x"}], "messages[1].role"),
    ("messages", [USER, {"content": "x"}], "messages[1].role"),
    ("messages", [{"role": "user", "content": 5}], "messages[0].content"),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages[0].content[0].type"),
    ("messages", [{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
    ("messages", [USER, {"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}], "messages[1].tool_calls"),
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
        {"stream": True, "stream_options": {"include_usage": True, "other": 1}},
    ],
)
def test_fields_that_ask_for_nothing(fields: dict[str, Any]) -> None:
    assert read_chat_request(body(**fields)).ignored_fields == []


def test_unknown_fields_are_named() -> None:
    answer: dict[str, Any] = {"role": "assistant", "content": "x", "refusal": None, "tool_calls": [], "reasoning_content": "y"}
    chat = read_chat_request(body(min_p=0.1, chat_template="{{ x }}", messages=[USER, answer, {**USER, "name": "me"}]))
    assert chat.ignored_fields == ["chat_template", "messages[].reasoning_content", "min_p"]


def test_everything_reaches_the_engine() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]
    messages = [{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}]
    sampling: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 7, "repetition_penalty": 1.1}
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


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_one_line_of_an_event(text: str) -> None:
    writer = ChatCompletionWriter("identity", ModelInfo('m"content":""', 1, "m"))
    event = writer.text_event(text)
    assert event == encode_event(writer.chunk({"content": text}))
    assert event.startswith(b"data: {")
    assert len(event.decode().splitlines()) == 2  # the strictest idea of a line, and the empty one
    (decoded,) = decode_events(event.splitlines(keepends=True))
    assert decoded["choices"][0]["delta"]["content"] == text.replace("\ud800", "?")
    assert decoded["model"] == 'm"content":"":1'


def test_the_shapes_of_answers() -> None:
    writer = ChatCompletionWriter("identity", ModelInfo("name", 2, "alias"))
    usage = {
        "prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    timings = {"queue_ms": 1.0, "prefill_ms": 2.0, "decode_ms": 3.0}
    whole = writer.whole("text", finish())
    created = whole.pop("created")
    assert isinstance(created, int)
    message = {"role": "assistant", "content": "text", "refusal": None}
    assert whole == {
        "id": "chatcmpl-identity", "object": "chat.completion", "model": "name:2", "system_fingerprint": None,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage, "timings": timings,
    }  # fmt: skip
    envelope = {
        "id": "chatcmpl-identity", "object": "chat.completion.chunk", "created": created, "model": "name:2",
        "system_fingerprint": None,
    }  # fmt: skip
    choice = {"index": 0, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None}
    assert writer.chunk({"content": "x"}) == {**envelope, "choices": [choice]}
    assert writer.usage_chunk(finish()) == {**envelope, "choices": [], "usage": usage, "timings": timings}


@pytest.mark.parametrize("line", [b"data: [1]\n", b"data: {\n", b"data:\n"])
def test_a_stream_that_is_not_one(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(decode_events([line]))


def test_other_lines_of_a_stream_are_skipped() -> None:
    lines = [b": comment\n", b"event: x\n", b"\n", b'data:{"a": 1}\n', b"data: [DONE]\n", b"data: nonsense\n"]
    assert list(decode_events(lines)) == [{"a": 1}]
    assert json.loads(encode_event({"a": 1})[6:]) == {"a": 1}

"""Arguments of calls as models write them: shown, and taken back."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.service.call_arguments import arguments_as_object, arguments_of_history
from foundry_cli.service.json_body import parse_object
from tests.service.local import JSON, MODEL, finish, local_service
from tests.service.test_structured_output import call, saying

LARGEST = sys.float_info.max
ODD: dict[str, Any] = {
    '{"x": 1, "x": 2}': {"x": 2},
    '{"x": 1e999, "y": [-1e999, NaN, Infinity]}': {"x": LARGEST, "y": [-LARGEST, 0.0, LARGEST]},
    f'{{"x": {"9" * 5000}, "y": -{"9" * 5000}}}': {"x": LARGEST, "y": -LARGEST},
    f'{{"x": {"9" * 100}}}': {"x": int("9" * 100)},
    '{"x": "\\u0000a", "\\u0000": 1}': {"x": "\ufffda", "\ufffd": 1},
    '{"x": "\\ud800"}': {"x": "?"},
}
DEEP = ['{"x": ' * count + "1" + "}" * count for count in (70, 300, 2000)]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
QUESTION = {"role": "user", "content": "Look."}


@pytest.mark.parametrize("text", ODD)
def test_odd_arguments_are_read_as_far_as_can_be(text: str) -> None:
    assert arguments_of_history(text) == arguments_as_object(text) == ODD[text]
    assert parse_object(json.dumps(arguments_as_object(text)).encode())  # it may come back


@pytest.mark.parametrize("text", DEEP)
def test_what_is_nested_too_deep(text: str) -> None:
    assert (arguments_of_history(text), arguments_as_object(text)) == (text, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ('{"a": 1, "b": [1, 2', {"a": 1, "b": [1]}),
        ('{"a": 1, "b": "half', {"a": 1}),
        ('{"a": 1, "b": 2', {"a": 1}),
        ('{"a": 1, "b": -2.5e', {"a": 1}),
        ('{"a": 1, "b": 2 ', {"a": 1, "b": 2}),
        ('{"a": [true', {"a": [True]}),
        ('{"x": 1, "y": ' + "[" * 300, {}),
        ("[1, 2]", {}),
        ("no object", {}),
        ('{"x": ' + "9" * 5000, {}),
    ],
)
def test_of_cut_arguments_those_that_are_whole(text: str, value: dict[str, Any]) -> None:
    assert arguments_as_object(text) == value


@pytest.mark.parametrize("text", [*ODD, *DEEP, '{"x": 1', "[1]", ""])
def test_what_a_model_has_written_can_be_shown_and_sent_back_on_every_route(tmp_path: Path, text: str) -> None:
    with local_service(tmp_path, saying(*call(text))) as local:

        def ask(path: str, **fields: Any) -> dict[str, Any]:
            status, _, answer = local.send("POST", path, json.dumps({"model": MODEL, **fields}).encode(), JSON)
            assert status == 200, answer
            return answer  # type: ignore[no-any-return]

        chat = "/v1/chat/completions"
        message = ask(chat, messages=[QUESTION], tools=TOOLS)["choices"][0]["message"]
        assert message["tool_calls"][0]["function"]["arguments"] == text
        result: dict[str, Any] = {"role": "tool", "tool_call_id": "abcdefghi", "content": "seen"}
        ask(chat, messages=[QUESTION, message, result], tools=TOOLS)

        tools = [{"type": "function", **TOOLS[0]["function"]}]  # type: ignore[dict-item]
        first = ask("/v1/responses", input=[QUESTION], tools=tools)
        result = {"type": "function_call_output", "call_id": "abcdefghi", "output": "seen"}
        ask("/v1/responses", input=[QUESTION, *first["output"], result], tools=tools)
        ask("/v1/responses", input=[result], previous_response_id=first["id"], tools=tools)

        told = [{"name": "look", "input_schema": {"type": "object"}}]
        said = ask("/v1/messages", max_tokens=9, messages=[QUESTION], tools=told)
        assert said["stop_reason"] == "tool_use"
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "abcdefghi", "content": "seen"}]}
        answer = {"role": "assistant", "content": said["content"]}
        ask("/v1/messages", max_tokens=9, messages=[QUESTION, answer, result], tools=told)


def test_the_result_of_a_call_that_was_cut_is_refused_with_the_reason(tmp_path: Path) -> None:
    cut = saying(*call('{"x": ')[:-1], replace(finish(), reason="length"))
    with local_service(tmp_path, cut) as local:
        tools = [{"type": "function", **TOOLS[0]["function"]}]  # type: ignore[dict-item]
        body = {"model": MODEL, "input": "Look.", "tools": tools}
        first = local.send("POST", "/v1/responses", json.dumps(body).encode(), JSON)[2]
        result = {"type": "function_call_output", "call_id": "abcdefghi", "output": "seen"}
        body = {"model": MODEL, "input": [result], "previous_response_id": first["id"]}
        status, _, answer = local.send("POST", "/v1/responses", json.dumps(body).encode(), JSON)
    assert status == 400
    assert "the call 'abcdefghi' was cut off before it was complete" in answer["error"]["message"]

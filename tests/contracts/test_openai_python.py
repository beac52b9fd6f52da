"""OpenAI's library for Python against the service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.conftest import CITY, CONCLUSION, ECHO, SUNNY, THOUGHT, WEATHER, Detached
from tests.contracts.running import run_python

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

_CALL = ["get_weather", WEATHER]


@pytest.fixture
def find(detached: Detached) -> Any:
    """What a case of the script finds."""
    return lambda case: run_python("openai_python.py", ("openai==3.54.0",), detached.url, case)


def test_chat(find: Any) -> None:
    assert find("chat") == {
        "content": ECHO, "finish": "stop", "model": "echo:1", "object": "chat.completion", "total": 0, "request_id": True,
    }  # fmt: skip


def test_choices(find: Any) -> None:
    facts = find("choices")
    assert facts == {"texts": [ECHO[:3]] * 2, "indexes": [0, 1], "finish": ["length"] * 2, "fingerprint": True}


def test_content_parts(find: Any) -> None:
    assert find("parts") == ECHO


def test_stream(find: Any) -> None:
    assert find("stream") == {"text": ECHO, "role": "assistant", "finish": ["stop"], "usage": True, "ids": 1}


def test_stream_helper(find: Any) -> None:
    facts = find("stream_helper")
    assert facts["text"] == ECHO
    assert facts["kinds"] == ["chunk", "content.delta", "content.done"]


def test_asynchronous_client(find: Any) -> None:
    assert find("asynchronous") == [ECHO] * 4


def test_logprobs(find: Any) -> None:
    assert find("logprobs") == [[letter, [ord(letter)], True, 2] for letter in ECHO[:3]]


def test_tools(find: Any) -> None:
    assert find("tools") == {
        "calls": [_CALL], "content": None, "finish": ["tool_calls", "stop"], "has_id": True, "answer": SUNNY,
    }  # fmt: skip


def test_tool_choices(find: Any) -> None:
    facts = find("tool_choices")
    arguments = ['{"city": "Paris"}']
    assert facts["required"] == ["tool_calls", arguments]
    assert facts["named"][1] == arguments
    assert facts["named"][0] in ("stop", "tool_calls")  # OpenAI's service itself says "stop" for a named one
    assert facts["none"] == ["stop", None]


def test_streamed_tools(find: Any) -> None:
    assert find("tools_stream") == {
        "text": "", "names": ["get_weather"], "ids": 1, "arguments": '{"city": "Paris"}', "finish": ["tool_calls"],
    }  # fmt: skip


def test_tools_with_the_stream_helper(find: Any) -> None:
    assert find("tools_helper") == {"done": ["get_weather"], "parsed": "Paris"}


def test_parse(find: Any) -> None:
    assert find("parse") == CITY
    assert find("parse_tool") == WEATHER


def test_a_parsed_answer_that_is_cut(find: Any) -> None:
    assert find("cut") == "length"


def test_json_object(find: Any) -> None:
    assert find("json_object") == CITY


def test_the_old_form_of_functions(find: Any) -> None:
    assert find("old_functions") == ["function_call", *_CALL]


def test_reasoning(find: Any) -> None:
    facts = find("reasoning")
    assert [text.strip() for text in facts["whole"]] == [text.strip() for text in facts["stream"]] == [THOUGHT, CONCLUSION]


def test_completions(find: Any) -> None:
    assert find("completions") == {
        "text": ECHO[:9],
        "finish": "length",
        "object": "text_completion",
        "stream": ECHO,
        "several": [[0, ECHO[:3]], [1, ECHO[:3]]],
    }


def test_models(find: Any) -> None:
    facts = find("models")
    assert {"echo:1", "caller:1"} <= set(facts["ids"])
    assert (facts["one"], facts["object"]) == ("echo:1", "model")


def test_errors(find: Any) -> None:
    missing = ["NotFoundError", "model_not_found", "model"]
    assert find("errors") == {
        "missing": missing,
        "value": ["BadRequestError", "invalid_value", "temperature"],
        "stream": ["BadRequestError", "invalid_value", "temperature"],
        "long": ["BadRequestError", "context_length_exceeded", "messages"],
        "schema": ["BadRequestError", "unenforceable_schema", "response_format"],
        "models": missing,
        "responses": missing,
        "completions": missing,
        "retrieve": ["NotFoundError", "response_not_found", "id"],
    }


def test_responses(find: Any) -> None:
    facts = find("response")
    assert facts["texts"] == [ECHO, "The second answer.", ECHO]
    assert (facts["status"], facts["usage"], facts["previous"]) == ("completed", True, True)
    assert facts["items"][-1] == "message"
    assert facts["deleted"][0] == "NotFoundError"


def test_streamed_responses(find: Any) -> None:
    facts = find("response_stream")
    assert facts["kinds"] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    assert facts["text"] == facts["final"] == ECHO
    assert facts["ordered"]


def test_parsed_responses(find: Any) -> None:
    assert find("response_parse") == CITY
    assert find("response_helper") == CITY


def test_tools_in_responses(find: Any) -> None:
    assert find("response_tools") == {"call": _CALL, "answers": [SUNNY, SUNNY], "streamed": WEATHER}

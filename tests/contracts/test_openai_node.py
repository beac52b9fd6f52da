"""OpenAI's library for Node against the service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.conftest import CITY, ECHO, SUNNY, WEATHER, Detached
from tests.contracts.running import run_node

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]


@pytest.fixture
def find(detached: Detached) -> Any:
    """What a case of the script finds."""
    return lambda case: run_node("openai_node.mjs", ("openai@7.57.0", "zod@4.6.7"), detached.url, case)


def test_chat(find: Any) -> None:
    assert find("chat") == {"content": ECHO, "finish": "stop", "model": "echo:1", "request_id": True}


def test_stream(find: Any) -> None:
    assert find("stream") == {"text": ECHO, "finish": ["stop"], "usage": True}
    assert find("stream_helper") == {"text": "", "final": ECHO, "text_at_end": ECHO}


def test_logprobs(find: Any) -> None:
    assert find("logprobs") == [[letter, True, 2] for letter in ECHO[:3]]


@pytest.mark.parametrize("case", ["run_tools", "run_tools_stream"])
def test_the_runner_of_tools(find: Any, case: str) -> None:
    assert find(case) == {"final": SUNNY, "calls": [WEATHER], "roles": ["user", "assistant", "tool", "assistant"]}


def test_parse(find: Any) -> None:
    assert find("parse") == CITY
    assert find("parse_tool") == WEATHER


def test_completions(find: Any) -> None:
    assert find("completions") == {"text": ECHO[:9], "finish": "length"}


def test_models(find: Any) -> None:
    facts = find("models")
    assert {"echo:1", "caller:1"} <= set(facts["ids"])
    assert facts["one"] == "echo:1"


def test_responses(find: Any) -> None:
    assert find("response") == {"texts": [ECHO, "The second answer.", ECHO]}
    assert find("response_helper") == ECHO
    assert find("response_parse") == CITY
    assert find("response_tools") == {"call": ["get_weather", WEATHER], "answer": SUNNY}


def test_streamed_responses(find: Any) -> None:
    facts = find("response_stream")
    assert facts["text"] == ECHO
    assert (facts["kinds"][0], facts["kinds"][-1]) == ("response.created", "response.completed")


def test_errors(find: Any) -> None:
    value = ["BadRequestError", 400, "invalid_value", "temperature"]
    missing = ["NotFoundError", 404, "model_not_found", "model"]
    assert find("errors") == {"missing": missing, "value": value, "stream": value, "responses": missing}

"""Anthropic's library for Python against the service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.conftest import CONCLUSION, ECHO, SUNNY, THOUGHT, WEATHER, Detached
from tests.contracts.running import run_python

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

_WHOLE = {"texts": [ECHO], "stop": "end_turn", "role": "assistant", "usage": True}


@pytest.fixture
def find(detached: Detached) -> Any:
    """What a case of the script finds."""
    return lambda case: run_python("anthropic_python.py", ("anthropic==2.12.0",), detached.url, case)


def test_create(find: Any) -> None:
    assert find("create") == {**_WHOLE, "model": "echo:1", "request_id": True}


def test_parameters(find: Any) -> None:
    facts = find("parameters")
    assert facts["stopped"] == ["The fir", "stop_sequence", "st"]
    assert facts["cut"] == {**_WHOLE, "texts": [ECHO[:3]], "stop": "max_tokens"}


def test_stream(find: Any) -> None:
    assert find("stream") == {"text": ECHO, "final": _WHOLE}
    assert find("events") == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def test_tools(find: Any) -> None:
    facts = find("tools")
    assert facts == {"call": ["get_weather", WEATHER], "stop": "tool_use", "second": {**_WHOLE, "texts": [SUNNY]}}
    assert find("tool_choices") == ["tool_use", "tool_use"]


def test_streamed_tools(find: Any) -> None:
    assert find("tools_stream") == {"pieces": WEATHER, "input": WEATHER, "name": "get_weather"}


def test_the_runner_of_tools(find: Any) -> None:
    assert find("tool_runner") == {"asked": ["Paris"], "texts": [SUNNY]}


def test_thinking(find: Any) -> None:
    blocks = [[kind, text.strip()] for kind, text in find("thinking")]
    assert blocks == [["thinking", THOUGHT], ["text", CONCLUSION]]


def test_count_tokens(find: Any) -> None:
    assert find("count_tokens") == {"same": True, "positive": True, "more": True}


def test_errors(find: Any) -> None:
    missing = ["NotFoundError", "error", "not_found_error", True]
    value = ["BadRequestError", "error", "invalid_request_error", True]
    assert find("errors") == {"missing": missing, "value": value, "stream": missing, "count": missing}

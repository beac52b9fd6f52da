"""`langchain-openai` against the service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.conftest import CITY, ECHO, SUNNY, WEATHER, Detached
from tests.contracts.running import run_python

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

_CALLS = [["get_weather", WEATHER]]


@pytest.fixture
def find(detached: Detached) -> Any:
    """What a case of the script finds."""
    return lambda case: run_python("langchain_chat.py", ("langchain-openai==1.7.3",), detached.url, case)


def test_invoke(find: Any) -> None:
    assert find("invoke") == {"content": ECHO, "finish": "stop", "tokens": True}
    assert find("responses") == ECHO


def test_stream(find: Any) -> None:
    assert find("stream") == {"text": ECHO, "usage": True}


def test_bound_tools(find: Any) -> None:
    assert find("bind_tools") == {"calls": _CALLS, "answer": SUNNY}
    assert find("stream_tools") == _CALLS


def test_structured_output(find: Any) -> None:
    assert find("structured") == {"json_schema": CITY, "json_mode": CITY, "function_calling": CITY}

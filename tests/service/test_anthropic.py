"""Anthropic's Messages interface over HTTP: answers, errors on every layer, keys, and the real service."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from foundry_cli.engine.request import EngineEvent, GenerationRequest, TextChunk, ToolCallChunk
from foundry_cli.errors import EngineDiedError, FoundryError, QueueFullError
from tests.conftest import RunningService
from tests.service.local import JSON, MODEL, LocalService, finish, local_service

PATH = "/v1/messages"
COUNT = f"{PATH}/count_tokens"
MESSAGES = [{"role": "user", "content": "Hi"}]


def ask(**fields: Any) -> dict[str, Any]:
    """A request."""
    return {"model": MODEL, "max_tokens": 9, "messages": MESSAGES, **fields}


def post(
    local: LocalService, path: str = PATH, headers: dict[str, str] = JSON, **fields: Any
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON."""
    return local.send("POST", path, json.dumps(ask(**fields)).encode(), headers)


def events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Names and data of a stream."""
    blocks = [block.split("\n") for block in body.decode().removesuffix("\n\n").split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_a_whole_answer_and_a_stream(local: LocalService) -> None:
    headers = {**JSON, "anthropic-version": "2023-06-01", "anthropic-beta": "x", "x-api-key": "any"}
    status, told, answer = post(local, headers=headers, mirostat=1)
    assert (status, told["x-foundry-ignored-fields"]) == (200, "mirostat")
    assert answer["content"] == [{"type": "text", "text": "Hello"}]
    assert (answer["stop_reason"], answer["model"], answer["usage"]["input_tokens"]) == ("end_turn", MODEL, 3)
    status, told, body = post(local, f"{PATH}?beta=true", stream=True)
    assert (status, told["content-type"].split(";")[0]) == (200, "text/event-stream")
    names = [name for name, _ in events(body)]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert names == ["message_start", "ping", *block, "message_delta", "message_stop"]


def test_models_in_the_form_of_the_client_that_asks(local: LocalService) -> None:
    theirs = {"anthropic-version": "2023-06-01"}
    listed = local.get("/v1/models", **theirs)[2]
    (model,) = [each for each in listed["data"] if each["id"] == MODEL]
    assert (model["type"], set(model)) == ("model", {"type", "id", "display_name", "created_at"})
    assert (listed["has_more"], listed["first_id"]) == (False, listed["data"][0]["id"])
    assert local.get(f"/v1/models/{MODEL}", **theirs)[2] == model
    status, _, answer = local.get("/v1/models/nobody", **theirs)
    assert (status, answer["type"], answer["error"]["type"]) == (404, "error", "not_found_error")
    assert local.get("/v1/models")[2]["object"] == "list"


def test_counting(local: LocalService) -> None:
    status, _, answer = post(local, COUNT, system="Be kind.")
    assert (status, answer) == (200, {"input_tokens": len("Be kind.Hi")})


def error_type(answer: Any) -> str:
    """The type of an error, which has Anthropic's form."""
    assert set(answer) == {"type", "error"}
    assert answer["type"] == "error"
    assert set(answer["error"]) == {"type", "message"}
    assert isinstance(answer["error"]["message"], str)
    return str(answer["error"]["type"])


@pytest.mark.parametrize("path", [PATH, COUNT])
def test_errors_have_the_form_of_the_interface(local: LocalService, path: str) -> None:
    answered, _, answer = post(local, path, messages=[])
    assert (answered, error_type(answer)) == (400, "invalid_request_error")
    answered, _, answer = post(local, path, model="no-such")
    assert (answered, error_type(answer)) == (404, "not_found_error")
    for data, headers, status, kind in [
        (b"{", JSON, 400, "invalid_request_error"),
        (b"{}", {}, 415, "invalid_request_error"),
        (b"{}", {**JSON, "host": "evil.example"}, 403, "permission_error"),
        (b"{}", {**JSON, "content-length": str(1 << 30)}, 413, "request_too_large"),
        (b"{}", {**JSON, "x": "y" * 20_000}, 431, "invalid_request_error"),
    ]:
        answered, _, answer = local.send("POST", path, data, headers)
        assert (answered, error_type(answer)) == (status, kind)
    answered, _, answer = local.get(path)
    assert (answered, error_type(answer)) == (405, "invalid_request_error")
    answered, _, answer = local.get(f"{PATH}/batches")
    assert (answered, error_type(answer)) == (404, "not_found_error")
    assert "code" in local.get("/v1/messagesx")[2]["error"]  # another route, hence OpenAI's form


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (QueueFullError("Full.", retry_seconds=7), 429, "rate_limit_error"),
        (EngineDiedError("It ended."), 503, "overloaded_error"),
        (FoundryError("It failed."), 500, "api_error"),
        (KeyError("x"), 500, "api_error"),
    ],
)
def test_errors_of_the_engine(tmp_path: Path, error: Exception, status: int, kind: str, stream: bool) -> None:
    has_begun = False

    async def answer(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        if has_begun:
            yield TextChunk("Hel")
        raise error

    with local_service(tmp_path, answer) as local:
        answered, headers, told = post(local, stream=stream)
        assert (answered, error_type(told)) == (status, kind)
        assert headers.get("retry-after") == {429: "7", 503: "2"}.get(status)
        has_begun = True
        if stream:
            *_, (name, data) = events(post(local, stream=True)[2])
            assert (name, error_type(data)) == ("error", kind)


def test_keys(tmp_path: Path) -> None:
    key = "the-key"
    with local_service(tmp_path, host="127.0.0.2", api_key=key) as local:
        address = f"127.0.0.2:{local.port}"
        for headers, status in [
            ({}, 401),
            ({"x-api-key": "wrong"}, 401),
            ({"x-api-key": key}, 200),
            ({"authorization": f"Bearer {key}"}, 200),
            ({"authorization": "Bearer wrong", "x-api-key": key}, 401),
            ({"authorization": f"Basic {key}"}, 401),
        ]:
            answer = httpx.post(f"http://{address}{PATH}", json=ask(), headers=headers)
            assert answer.status_code == status
            assert status == 200 or error_type(answer.json()) == "authentication_error"


def test_tools_reach_the_engine_and_calls_come_back(tmp_path: Path) -> None:
    asked: list[GenerationRequest] = []

    async def answer(request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        asked.append(request)
        yield ToolCallChunk(0, "call_1", "weather", '{"city":"Bonn"}')
        yield finish()

    with local_service(tmp_path, answer) as local:
        tools = [{"name": "weather", "input_schema": {"type": "object"}}]
        content = post(local, tools=tools)[2]["content"]
    assert content == [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bonn"}}]
    assert asked[0].tools is not None


def test_the_references_of_the_description_can_be_followed(local: LocalService) -> None:
    document = local.get("/openapi.json")[2]
    schemas = [document["paths"][path]["post"]["requestBody"] for path in (PATH, COUNT, "/v1/completions", "/tokenize")]
    references = list(_references(schemas))
    assert len(references) > 10
    for reference in references:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/").replace("~0", "~")]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _references(part)


def test_the_real_service(service: RunningService) -> None:
    with httpx.Client(base_url=service.url) as http:
        fields = ask(model="echo", max_tokens=99)
        answer = http.post(PATH, json=fields).json()
        assert answer["content"] == [{"type": "text", "text": "The first answer."}]
        assert answer["stop_reason"] == "end_turn"
        counted = http.post(COUNT, json={"model": "echo", "messages": MESSAGES}).json()
        usage = answer["usage"]
        assert counted["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]
        stopped = http.post(PATH, json={**fields, "stop_sequences": ["first", " answer"]}).json()
        assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "first")
        cut = http.post(PATH, json={**fields, "max_tokens": 3}).json()
        assert (cut["content"], cut["stop_reason"]) == ([{"type": "text", "text": "The"}], "max_tokens")
        capped = http.post(PATH, json={**fields, "max_tokens": 10**6}).json()
        assert (capped["content"], capped["stop_reason"]) == (answer["content"], "end_turn")
        full = http.post(PATH, json={**fields, "model": "long", "max_tokens": 10**6}).json()
        assert (len(full["content"][0]["text"]), full["stop_reason"]) == (2000, "end_turn")
        long = [{"role": "user", "content": "a" * 8170}]
        full = http.post(PATH, json={**fields, "model": "long", "messages": long, "max_tokens": 10**6}).json()
        assert full["stop_reason"] == "model_context_window_exceeded"
        assert 0 < len(full["content"][0]["text"]) < 30
        too_long = http.post(PATH, json={**fields, "model": "long", "messages": [{"role": "user", "content": "a" * 9000}]})
        assert (too_long.status_code, error_type(too_long.json())) == (400, "invalid_request_error")


def test_what_claude_code_sends(service: RunningService) -> None:
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    fields = ask(model="echo", max_tokens=32_000, thinking={"type": "adaptive"}, output_config={"effort": "high"})
    with httpx.Client(base_url=service.url) as http:
        answer = http.post(PATH, json={**fields, "context_management": edits})
        assert (answer.status_code, answer.json()["stop_reason"]) == (200, "end_turn")
        for changed, name in (
            ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management"),
            ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ):
            refused = http.post(PATH, json={**fields, **changed})
            assert (refused.status_code, error_type(refused.json())) == (400, "invalid_request_error")
            assert refused.json()["error"]["message"].startswith(f"{name}: ")

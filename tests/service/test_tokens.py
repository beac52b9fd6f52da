"""Text to tokens and back, and how many tokens a conversation has."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from foundry_cli.engine.request import EngineEvent, GenerationRequest
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.openai.tokens import read_tokenize
from tests.conftest import RunningService
from tests.service.local import JSON, MODEL, LocalService, local_service, question

COUNT = "/v1/chat/completions/tokenizer/encode/count"


async def nothing(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
    """No answer may be asked for."""
    raise AssertionError
    yield


def post(local: LocalService, path: str, **fields: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON."""
    return local.send("POST", path, json.dumps({"model": MODEL, **fields}).encode(), JSON)


def test_there_and_back(tmp_path: Path) -> None:
    with local_service(tmp_path, nothing) as local:
        status, headers, told = post(local, "/tokenize", content="Hé", add_special=True, mirostat=1)
        assert (status, told) == (200, {"tokens": [72, 195, 169], "count": 3})
        assert headers["x-foundry-ignored-fields"] == "mirostat"
        assert post(local, "/tokenize", prompt="Hé")[2] == told
        assert post(local, "/tokenize", prompt="")[2] == {"tokens": [], "count": 0}
        assert post(local, "/detokenize", tokens=told["tokens"])[2] == {"content": "Hé"}
        assert post(local, "/detokenize", tokens=[])[2] == {"content": ""}
        messages = question()["messages"]
        of_messages = post(local, "/tokenize", messages=messages)[2]
        assert of_messages["count"] == len(of_messages["tokens"]) > 0
        assert post(local, COUNT, messages=messages, max_tokens=5)[2] == {"tokenCount": of_messages["count"]}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "content"),
    ({"content": "a", "prompt": "a"}, "content"),
    ({"content": 1}, "content"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
]
REFUSED = [{"with_pieces": True}, {"return_token_strs": True}, {"add_special": False}, {"add_generation_prompt": False}]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_wrong_values(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_tokenize({"model": "m", **fields})
    assert caught.value.param == param


@pytest.mark.parametrize("fields", REFUSED)
def test_refused_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        read_tokenize({"model": "m", "content": "a", **fields})
    assert caught.value.param == next(iter(fields))


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", COUNT])
def test_models_that_are_not_there(local: LocalService, path: str) -> None:
    bodies: dict[str, dict[str, Any]] = {"/tokenize": {"content": "a"}, "/detokenize": {"tokens": [1]}}
    fields = bodies.get(path, {"messages": question()["messages"]})
    status, _, answer = local.send("POST", path, json.dumps({"model": "no-such", **fields}).encode(), JSON)
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


def test_the_real_tokenizer(service: RunningService) -> None:
    with httpx.Client(base_url=service.url) as http:

        def ask(path: str, **fields: Any) -> Any:
            response = http.post(path, json={"model": "echo", **fields})
            assert response.status_code == 200, response.text
            return response.json()

        told = ask("/tokenize", content="Hi \N{GRINNING FACE}")
        assert told["count"] == len(told["tokens"]) > 4
        assert ask("/detokenize", tokens=told["tokens"]) == {"content": "Hi \N{GRINNING FACE}"}
        messages = [{"role": "user", "content": "Hi"}]
        answer = ask("/v1/chat/completions", messages=messages, max_tokens=1)
        assert ask(COUNT, messages=messages) == {"tokenCount": answer["usage"]["prompt_tokens"]}
        assert ask("/tokenize", messages=messages)["count"] == answer["usage"]["prompt_tokens"]
        wrong = http.post("/detokenize", json={"model": "echo", "tokens": [2**30]})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_value")
        assert wrong.json()["error"]["param"] == "tokens"
        biased = http.post("/v1/chat/completions", json={"model": "echo", "messages": messages, "logit_bias": {"999999": 1}})
        assert (biased.status_code, biased.json()["error"]["param"]) == (400, "logit_bias")
        older = http.post("/v1/completions", json={"model": "echo", "prompt": "Hi", "max_tokens": 1}).json()
        assert older["system_fingerprint"] == answer["system_fingerprint"] is not None

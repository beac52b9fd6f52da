"""What is made ready before it is asked for: models after a restart, chats before the next question."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.request import EngineEvent, GenerationRequest
from foundry_cli.errors import EngineError
from tests.service.local import JSON, MODEL, TOKEN, FakeEngine, LocalService, finish, local_service, say_hello

MANAGING = {**JSON, "x-foundry-token": TOKEN}
CPU = "CPUExecutionProvider"


def _post(local: LocalService, route: str, body: Any, headers: dict[str, str] = MANAGING) -> int:
    return local.send("POST", f"/foundry/manage/{route}", json.dumps(body).encode(), headers)[0]


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "system", "content": "Be kind."}], **fields}


class Asked:
    """An engine that notes what it is asked."""

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []

    async def __call__(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """An answer."""
        self.requests.append(request)
        yield finish()


def test_a_chat_is_read_by_a_loaded_model(tmp_path: Path) -> None:
    asked = Asked()
    with local_service(tmp_path, asked) as local:
        assert _post(local, "prefill", _chat()) == 202
        _wait_for(lambda: not local.state.background)
        local.get(f"/openai/load/{MODEL}?ttl=600")
        assert asked.requests == []  # it does not load a model
        assert _post(local, "prefill", _chat(model="Fake-Model")) == 202
        _wait_for(lambda: asked.requests)
    (request,) = asked.requests
    assert (request.max_tokens, request.priority) == (0, "background")
    assert request.messages == ({"role": "system", "content": "Be kind."},)


def test_a_model_that_reads_can_be_unloaded(tmp_path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        begun.set()
        try:
            await asyncio.sleep(60)
            yield finish()
        finally:
            ended.set()

    with local_service(tmp_path, never) as local:
        local.get(f"/openai/load/{MODEL}")
        assert _post(local, "prefill", _chat()) == 202
        _wait_for(begun.is_set)
        assert local.get(f"/openai/unload/{MODEL}")[0] == 200
        assert _post(local, "prefill", _chat()) == 202
    assert ended.is_set()


def test_what_goes_wrong_is_not_told(tmp_path: Path) -> None:
    async def fail(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        raise EngineError("broken")
        yield finish()

    with local_service(tmp_path, fail) as local:
        local.get(f"/openai/load/{MODEL}")
        assert _post(local, "prefill", _chat()) == 202
        assert _post(local, "prefill", _chat(model="no-such")) == 202
        assert local.get("/health")[0] == 200


@pytest.mark.parametrize("route", ["prefill", "restore"])
def test_only_the_owner_may(local: LocalService, route: str) -> None:
    assert _post(local, route, {}, JSON) == 403
    assert _post(local, route, {}) == 400


def test_models_are_loaded_again(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        models = [{"id": "no-such:1", "ep": CPU}, {"id": MODEL, "ep": CPU, "ttl": 77, "pid": 1}]
        assert _post(local, "restore", {"models": models}) == 202
        _wait_for(lambda: local.get("/openai/loadedmodels")[2] == [MODEL])
        (loaded,) = local.get("/openai/status")[2]["loadedModels"]
        assert (loaded["ttl"], loaded["ep"]) == (77, CPU)
        assert local.started == [CPU]


@pytest.mark.parametrize(("fields", "ttl"), [({}, 600), ({"ttl": None}, None), ({"ttl": 2.5}, 2.5)])
def test_the_time_to_live_is_kept(tmp_path: Path, fields: dict[str, Any], ttl: float | None) -> None:
    with local_service(tmp_path, say_hello) as local:
        assert _post(local, "restore", {"models": [{"id": MODEL, **fields}]}) == 202
        _wait_for(lambda: local.get("/openai/loadedmodels")[2])
        assert local.get("/openai/status")[2]["loadedModels"][0]["ttl"] == ttl


@pytest.mark.parametrize("body", [{"models": 5}, {"models": [5]}, {"models": [{"id": MODEL, "ttl": 0}]}, {"models": [{}]}])
def test_a_list_that_is_none(local: LocalService, body: Any) -> None:
    assert _post(local, "restore", body) == 400


def test_models_that_are_being_loaded_are_told(tmp_path: Path) -> None:
    gate = threading.Event()

    async def start(_: str, __: Path, ___: str, *, embeds: bool = False) -> FakeEngine:
        await asyncio.to_thread(gate.wait, 20)
        return FakeEngine(say_hello)

    with local_service(tmp_path, start=start) as local:
        try:
            assert local.get("/openai/status")[2]["loadingModels"] == []
            assert _post(local, "restore", {"models": [{"id": MODEL, "ttl": 77}]}) == 202
            _wait_for(lambda: local.get("/openai/status")[2]["loadingModels"])
            status = local.get("/openai/status")[2]
            (loading,) = status["loadingModels"]
            assert (loading["id"], loading["ep"], loading["seconds"] < 20) == (MODEL, CPU, True)
            assert status["loadedModels"] == []
        finally:
            gate.set()
        _wait_for(lambda: local.get("/openai/status")[2]["loadedModels"])
        assert local.get("/openai/status")[2]["loadingModels"] == []

"""Foundry's own routes: the shapes that published clients parse, to the letter."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from foundry_cli import __version__
from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.request import TextChunk
from tests.engine.workers import program
from tests.service.local import JSON, MODEL, TOKEN, LocalService, finish, local_service, question
from tests.service.test_chat import Endless, _send

REMOVE = f"/foundry/manage/remove/{MODEL}"
MANAGING = {**JSON, "x-foundry-token": TOKEN}


def test_health(local: LocalService) -> None:
    expected = {"status": "ok", "instanceId": "identity", "pid": 1, "version": __version__, "codeDigest": ""}
    assert local.get("/health")[2] == expected


def test_status(local: LocalService) -> None:
    cache = str(local.state.inventory.cache)
    answer = local.get("/openai/status")[2]
    assert {key: value for key, value in answer.items() if key != "loadedModels"} == {
        "endpoints": [f"http://127.0.0.1:{local.port}"],
        "modelDirPath": cache,
        "modelCachePath": cache,
        "pipeName": None,
        "isAutoRegistrationResolved": True,
        "autoRegistrationStatus": "Successfully downloaded and registered the following EPs: CPUExecutionProvider.\r\n"
        "Valid EPs: CPUExecutionProvider",
        "validEps": ["CPUExecutionProvider"],
        "pid": 1,
        "version": __version__,
        "startedAt": 1795132800.0,
        "defaultTtl": 600,
        "loadingModels": [],
    }


def _listed(local: LocalService) -> dict[str, Any]:
    return next(item for item in local.get("/foundry/list")[2] if item["name"] == MODEL)


def test_list_is_a_bare_array_of_complete_items(local: LocalService) -> None:
    item = _listed(local)
    assert item == {
        "name": MODEL, "displayName": "fake-model", "alias": "fake-model", "version": "3", "publisher": "Tests",
        "uri": "local://fake-model", "parentModelUri": "", "license": "", "licenseDescription": "", "modelType": "ONNX",
        "providerType": "Local", "promptTemplate": {"prompt": "{Content}"}, "task": "chat-completion",
        "runtime": {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"}, "fileSizeMb": 0,
        "modelSettings": {"parameters": []}, "supportsToolCalling": False, "maxOutputTokens": None, "contextLength": 2048,
        "minFLVersion": None, "cached": True,
    }  # fmt: skip


def test_every_item_has_what_the_published_clients_require(local: LocalService) -> None:
    texts = ("name", "displayName", "modelType", "providerType", "uri", "version", "publisher", "task", "alias")
    for item in local.get("/foundry/list")[2]:
        for key in (*texts, "license", "licenseDescription", "parentModelUri"):
            assert isinstance(item[key], str)
        assert isinstance(item["promptTemplate"], dict)  # 0.3 refuses null
        assert item["runtime"]["deviceType"] in ("CPU", "GPU", "NPU")
        assert isinstance(item["fileSizeMb"], int)
        assert isinstance(item["modelSettings"], dict)
        assert isinstance(item["supportsToolCalling"], bool)
        assert {"maxOutputTokens", "minFLVersion"} <= item.keys()


def test_models(local: LocalService) -> None:
    assert MODEL in local.get("/openai/models")[2]
    answer = local.get("/v1/models")[2]
    assert answer["object"] == "list"
    (model,) = [item for item in answer["data"] if item["id"] == MODEL]
    assert isinstance(model.pop("created"), int)
    assert model == {
        "id": MODEL, "object": "model", "owned_by": "Tests", "parent": "fake-model", "vision": False, "toolCalling": False,
        "context_length": 2048, "maxInputTokens": 1024, "maxOutputTokens": 1024,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["fake-model:3", "fake-model%3A3", "FAKE-MODEL", "fake-model"])
def test_one_model(local: LocalService, name: str) -> None:
    status, _, model = local.get(f"/v1/models/{name}")
    assert (status, model["id"], model["object"]) == (200, MODEL, "model")


@pytest.mark.parametrize("name", ["fake-model:4", "no-such", "%00", "%ff%fe", "a/b", "..%2f..%2fetc%2fpasswd", "%20"])
def test_one_model_that_is_not_there(local: LocalService, name: str) -> None:
    status, _, answer = local.get(f"/v1/models/{name}")
    error = answer["error"]
    assert (status, error["code"], error["param"], error["type"]) == (404, "model_not_found", "model", "invalid_request_error")


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/nowhere", "GET", 404), ("/health", "DELETE", 405), ("/", "GET", 404)]
)
def test_routes_that_are_not_there(local: LocalService, path: str, method: str, status: int) -> None:
    answered, headers, answer = local.get(path, method)
    assert (answered, set(answer["error"])) == (status, {"message", "type", "param", "code"})
    assert ("allow" in headers) == (status == 405)


def test_descriptions(local: LocalService) -> None:
    document = local.get("/openapi.json")[2]
    assert document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["required"] is True
    status, headers, page = local.get("/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"//" not in page.replace(b"http://127.0.0.1", b"")  # nothing from the network


@pytest.mark.parametrize("name", [MODEL, "fake-model%3A3", "Fake-Model"])
def test_load_and_unload(tmp_path: Path, name: str) -> None:
    with local_service(tmp_path) as local:
        for query in ("?ttl=600&ep=", "?ep=cpu", "", "?unload=false", "?device=CPU&ttl=0"):  # as the SDKs send them
            status, headers, body = local.get(f"/openai/load/{name}{query}")
            assert (status, headers["content-length"], body) == (200, "0", b"")
        assert local.get("/openai/loadedmodels")[2] == [MODEL]
        (loaded,) = local.get("/openai/status")[2]["loadedModels"]
        assert (loaded["id"], loaded["alias"], loaded["pid"]) == (MODEL, "fake-model", 4242)
        for _ in range(2):  # the second time there is nothing to do
            status, headers, body = local.get(f"/openai/unload/{name}?force=false")
            assert (status, headers["content-length"], body) == (200, "0", b"")
        assert local.get("/openai/loadedmodels")[2] == []
        assert local.get("/openai/unloadall")[0] == 200


def test_time_to_live(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        times = [("?ttl=5", 5), ("", 5), ("?unload=false&ttl=7", 7), ("?unload=false", None), ("?ttl=600", 600)]
        for query, ttl in times:
            local.get(f"/openai/load/{MODEL}{query}")
            assert local.get("/openai/status")[2]["loadedModels"][0]["ttl"] == ttl
        local.chat(question(ttl=9))
        assert local.get("/openai/status")[2]["loadedModels"][0]["ttl"] == 9


@pytest.mark.parametrize(
    ("query", "param"),
    [("ttl=-1", "ttl"), ("ttl=1.5", "ttl"), ("ttl=9999999999", "ttl"), ("ttl=x", "ttl"), ("unload=perhaps", "unload"),
     ("ep=cuda", "ep"), ("ep=CUDAExecutionProvider", "ep"), ("device=TPU", "device")],
)  # fmt: skip
def test_wrong_values_name_their_field(local: LocalService, query: str, param: str) -> None:
    status, _, answer = local.get(f"/openai/load/{MODEL}?{query}")
    assert (status, answer["error"]["param"], answer["error"]["type"]) == (400, param, "invalid_request_error")
    assert local.get(f"/openai/unload/{MODEL}?force=perhaps")[2]["error"]["param"] == "force"


def test_loading_what_is_not_there(local: LocalService) -> None:
    status, _, answer = local.get("/openai/load/no-such:1?ttl=600&ep=")
    assert status == 404
    assert "No OpenAIService provider found for modelName" in f"{status} - {json.dumps(answer)}"


def test_a_model_that_is_answering_stays(tmp_path: Path) -> None:
    answer = Endless("Hel")
    with local_service(tmp_path, answer) as local:
        connection = _send(local, stream=True)
        assert answer.has_begun.wait(20)
        for path in (f"/openai/unload/{MODEL}", "/openai/unloadall"):
            status, _, body = local.get(path)
            assert (status, body["error"]["code"]) == (409, "model_in_use")
        assert local.send("POST", REMOVE, b"{}", MANAGING)[0] == 409
        connection.close()
        assert answer.is_cancelled.wait(20)
        assert local.get("/openai/unloadall?force=true")[0] == 200


@pytest.mark.parametrize("is_anthropic", [False, True])
def test_who_waits_for_a_model_that_is_unloaded_by_force_is_told_not_to_ask_again(tmp_path: Path, is_anthropic: bool) -> None:
    silent = program("ready()\nfor frame in requests():\n    pass")

    async def start(name: str, directory: Path, provider: str, *, embeds: bool = False) -> EngineProcess:
        return await EngineProcess.start(name, directory, provider, command=silent, embeds=embeds)

    with local_service(tmp_path, start=start) as local:
        route = "/v1/messages" if is_anthropic else "/v1/chat/completions"
        connection = local.connect()
        connection.request("POST", route, json.dumps(question(max_tokens=4)).encode(), JSON)
        while not local.get("/openai/loadedmodels")[2]:
            time.sleep(0.01)
        assert local.get("/openai/unloadall?force=true")[0] == 200
        with closing(connection), connection.getresponse() as response:
            assert (response.status, response.headers["x-should-retry"]) == (409, "false")
            assert "was unloaded while it was needed" in json.loads(response.read())["error"]["message"]


def test_removal(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        local.get(f"/openai/load/{MODEL}")
        status, _, answer = local.send("POST", REMOVE, b"{}", MANAGING)
        assert (status, answer["error"]["code"]) == (409, "model_in_use")
        status, _, answer = local.send("POST", f"{REMOVE}?force=true", b"{}", MANAGING)
        assert (status, answer["removed"]) == (200, MODEL)
        assert local.get("/openai/loadedmodels")[2] == []
        assert list(local.state.inventory.cache.iterdir()) == []
        assert local.send("POST", REMOVE, b"{}", MANAGING)[0] == 404
        bundled = local.send("POST", "/foundry/manage/remove/foundry-guide", b"{}", MANAGING)
        assert (bundled[0], bundled[2]["error"]["code"]) == (409, "model_is_bundled")


def test_the_stop_route(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        assert local.send("POST", "/foundry/manage/stop", b"{}", MANAGING)[2] == {"status": "shutting_down"}
        assert local.stops == [True]
        status, _, answer = local.get("/health")  # nobody may take it for a service that will be there
        assert (status, answer["error"]["code"]) == (503, "service_stopping")


def test_a_cache_that_cannot_be_read(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        cache = local.state.inventory.cache
        cache.rename(tmp_path / "away")
        assert local.get("/v1/models")[0] == 200  # without a directory the cache is empty
        cache.write_text("a file")
        assert local.get("/openai/models")[2] == ["foundry-guide-generic-cpu:1"]  # comes with the program
        for path in ("/openai/load/x", f"/openai/load/{MODEL}"):
            status, _, answer = local.get(path)
            assert (status, answer["error"]["code"]) == (507, "cache_unavailable")
        assert local.get("/health")[0] == 200


def test_unload_of_one_waits_for_no_other(local: LocalService) -> None:
    assert local.get("/openai/unload/foundry-guide")[0] == 200


async def _two_words(_: object) -> Any:
    yield TextChunk("two words")
    await asyncio.sleep(0)
    yield finish(2)


def test_an_answer_uses_what_is_loaded(tmp_path: Path) -> None:
    with local_service(tmp_path, _two_words) as local:
        local.get(f"/openai/load/{MODEL}")
        assert local.chat(question())[2]["choices"][0]["message"]["content"] == "two words"
        assert len(local.engines) == 1

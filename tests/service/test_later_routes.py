"""The routes of the original's later generations, and what its published clients need of both generations' lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foundry_cli.catalog.catalog import Catalog
from foundry_cli.catalog.sources.base import SourceState
from foundry_cli.execution_providers import CPU, CUDA, WEBGPU
from foundry_cli.inventory import Inventory
from foundry_cli.types import ModelInfo
from tests.service.local import MODEL, LocalService, local_service
from tests.service.test_chat import Endless, _send

NAMES = [MODEL, "fake-model%3A3", "fake-model%3a3", "fake-model", "FAKE-Model:3", "Fake-Model"]
OPENVINO = "OpenVINOExecutionProvider"


def test_both_names_of_the_status_give_the_keys_of_all_generations(local: LocalService) -> None:
    answer = local.get("/status")[2]
    assert answer == local.get("/openai/status")[2]
    cache = str(local.state.inventory.cache)
    wanted = {
        "endpoints": [f"http://127.0.0.1:{local.port}"], "modelDirPath": cache, "modelCachePath": cache, "pipeName": None,
        "pid": 1, "isAutoRegistrationResolved": True,
    }  # fmt: skip
    assert {key: answer[key] for key in wanted} == wanted
    assert isinstance(answer["autoRegistrationStatus"], str)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_loaded_and_unloaded_by_each_of_its_names(tmp_path: Path, name: str) -> None:
    with local_service(tmp_path) as local:
        assert local.get("/models/loaded")[2] == []
        assert local.get(f"/models/unload/{name}")[::2] == (200, {"status": "not_loaded"})
        assert local.get(f"/models/load/{name}")[::2] == (200, {"status": "loaded"})
        assert local.get(f"/models/load/{name}")[::2] == (200, {"status": "already_loaded"})
        assert local.get("/models/loaded")[2] == local.get("/openai/loadedmodels")[2] == [MODEL]
        assert local.get(f"/models/unload/{name}")[::2] == (200, {"status": "unloaded"})
        assert local.get("/models/loaded")[2] == []


def test_the_forms_of_both_generations_see_the_same_models(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        assert local.get(f"/openai/load/{MODEL}?ttl=600&ep=")[0] == 200
        assert local.get("/models/load/fake-model")[2] == {"status": "already_loaded"}
        assert local.get("/openai/status")[2]["loadedModels"][0]["ttl"] == 600
        assert local.get("/models/load/fake-model?ttl=7")[2] == {"status": "already_loaded"}
        assert local.get("/openai/status")[2]["loadedModels"][0]["ttl"] == 7
        assert local.get("/models/unload/fake-model")[2] == {"status": "unloaded"}
        assert local.get(f"/openai/unload/{MODEL}?force=false")[::2] == (200, b"")


def test_a_model_that_is_moved_is_loaded_again(tmp_path: Path) -> None:
    with local_service(tmp_path, providers=(CPU, CUDA)) as local:
        assert local.get(f"/models/load/{MODEL}")[2] == {"status": "loaded"}
        assert local.get(f"/models/load/{MODEL}?ep=cuda")[2] == {"status": "loaded"}
        assert local.get(f"/models/load/{MODEL}?ep=CUDAExecutionProvider")[2] == {"status": "already_loaded"}
        assert local.started == [CPU, CUDA]


def test_failures_have_a_status_and_a_reason(local: LocalService) -> None:
    for path in ("/models/load/no-such", "/models/unload/no-such", "/models/load/fake-model:4", "/models/load/%00"):
        status, _, answer = local.get(path)
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
    for query, param in (("ttl=x", "ttl"), ("ep=warp", "ep"), ("device=TPU", "device"), ("unload=maybe", "unload")):
        status, _, answer = local.get(f"/models/load/{MODEL}?{query}")
        assert (status, answer["error"]["param"]) == (400, param)
    assert local.get("/models/load/", "POST")[0] in (404, 405, 415)


def test_a_model_that_is_answering_stays_loaded(tmp_path: Path) -> None:
    answer = Endless("Hel")
    with local_service(tmp_path, answer) as local:
        connection = _send(local, stream=True)
        assert answer.has_begun.wait(20)
        status, _, body = local.get("/models/unload/fake-model")
        assert (status, body["error"]["code"]) == (409, "model_in_use")
        assert local.get("/models/unload/fake-model?force=true")[2] == {"status": "unloaded"}
        connection.close()


@pytest.mark.parametrize("name", NAMES)
def test_one_model_of_the_openai_list_by_each_of_its_names(local: LocalService, name: str) -> None:
    assert local.get(f"/v1/models/{name}")[2]["id"] == MODEL


def _entry(name: str, device: str, provider: str) -> ModelInfo:
    return ModelInfo(name, 1, "many", device, provider, publisher="Tests", size_bytes=1 << 20, uri=f"x://{name}")


class _Catalog:
    """A source with one variant for each of four kinds of machines."""

    name, location = "fixed", "nowhere"

    def models(self) -> list[ModelInfo]:
        return [
            _entry("many-openvino-npu", "NPU", OPENVINO),
            _entry("many-cuda-gpu", "GPU", CUDA),
            _entry("many-generic-gpu", "GPU", WEBGPU),
            _entry("many-generic-cpu", "CPU", CPU),
        ]

    def state(self) -> SourceState:
        return SourceState(self.name, self.location, 4, None)


def _listed(tmp_path: Path, *providers: str, **headers: str) -> list[dict[str, Any]]:
    """What `/foundry/list` says on a machine with these providers of a model with four variants."""
    with local_service(tmp_path, providers=providers) as local:
        local.state.inventory = Inventory(local.state.inventory.cache, Catalog([_Catalog()]))
        status, received, items = local.get("/foundry/list", **headers)
    assert (status, received["content-type"]) == (200, "application/json")
    return [item for item in items if item["alias"] == "many"]


@pytest.mark.parametrize(
    ("providers", "names"),
    [
        ((CPU,), ["many-generic-cpu:1"]),
        ((CPU, WEBGPU), ["many-generic-gpu:1", "many-generic-cpu:1"]),
        ((CPU, CUDA), ["many-cuda-gpu:1", "many-generic-gpu:1", "many-generic-cpu:1"]),
        ((CPU, OPENVINO), ["many-openvino-npu:1", "many-generic-cpu:1"]),
    ],
)
def test_only_variants_that_would_run_are_listed_the_best_one_first(
    tmp_path: Path, providers: tuple[str, ...], names: list[str]
) -> None:
    assert [item["name"] for item in _listed(tmp_path, *providers)] == names


@pytest.mark.parametrize(("version", "count"), [("0.4.0", 1), ("0.5.1", 2), ("1.2.4", 2)])
def test_a_client_that_knows_four_providers_sees_no_other(tmp_path: Path, version: str, count: int) -> None:
    items = _listed(tmp_path, CPU, OPENVINO, **{"User-Agent": f"foundry-local-python-sdk/{version}"})
    assert len(items) == count


def test_what_is_on_this_machine_is_listed_wherever_it_runs(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        folder = local.state.inventory.cache / "Tests" / "bare-cuda-gpu" / "v1"
        folder.mkdir(parents=True)
        (folder / "genai_config.json").write_text('{"model": {"context_length": 2048}}')
        (folder / "inference_model.json").write_text('{"Name": "bare-cuda-gpu:1", "PromptTemplate": null}')
        (item,) = [item for item in local.get("/foundry/list")[2] if item["alias"].startswith("bare")]
        assert item["runtime"] == {"deviceType": "GPU", "executionProvider": CUDA}  # never empty: clients refuse that
        assert item["promptTemplate"] == {}  # 0.3 refuses null
        assert item["name"] in local.get("/openai/models")[2]


def test_every_item_can_be_read_by_the_strictest_client(tmp_path: Path) -> None:
    texts = (
        "name", "displayName", "modelType", "providerType", "uri", "version", "publisher", "task", "alias", "license",
        "licenseDescription", "parentModelUri",
    )  # fmt: skip
    for item in _listed(tmp_path, CPU, CUDA, WEBGPU):
        assert all(isinstance(item[key], str) for key in texts)
        assert isinstance(item["promptTemplate"], dict)
        assert isinstance(item["modelSettings"], dict)
        assert item["runtime"]["deviceType"] in ("CPU", "GPU", "NPU")
        assert item["runtime"]["executionProvider"] in (CPU, CUDA, WEBGPU, "QNNExecutionProvider")
        assert type(item["fileSizeMb"]) is int
        assert type(item["supportsToolCalling"]) is bool
        assert item["maxOutputTokens"] is None or type(item["maxOutputTokens"]) is int
        assert item["minFLVersion"] is None or isinstance(item["minFLVersion"], str)

"""The cache under a running service: taken over, emptied, damaged and unplugged while models are loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import stop_service
from foundry_cli.config import Config
from foundry_cli.errors import (
    CacheError,
    EngineDiedError,
    FoundryError,
    ModelInUseError,
    ModelInvalidError,
    ModelNotFoundError,
)
from foundry_cli.paths import Paths
from foundry_cli.store.cache import REMOVED, scan
from foundry_cli.store.cache_marker import mark_cache
from foundry_cli.store.manifest import MANIFEST
from foundry_cli.store.usage import read_usage
from tests.conftest import RunningService, add_model, run_service
from tests.service.local import JSON, MODEL, TOKEN, local_service
from tests.store.managed import describe, manage
from tests.store.test_removal import add_partial, downloading

pytestmark = pytest.mark.slow

QWEN2 = Path(__file__).parents[1] / "models" / "qwen2-random"
CACHE = "/foundry/manage/cache"
MANAGING = {**JSON, "x-foundry-token": TOKEN}


def answer(client: ServiceClient, model: str) -> str:
    """What the model says."""
    document = client.complete(model, [{"role": "user", "content": "x"}], max_tokens=8)
    return str(document["choices"][0]["message"]["content"])


def states(client: ServiceClient) -> dict[str, bool]:
    """Which models are cached, by name, beside the bundled one."""
    return {model["name"]: model["cached"] for model in client.models() if "guide" not in model["name"]}


def add_real_model(paths: Paths) -> Path:
    """A model whose weights are mapped into the worker's memory, with a manifest; its root."""
    root = paths.default_cache / "Tests" / "mapped-1"
    shutil.copytree(QWEN2, root / "v1")
    (root / "v1" / "inference_model.json").write_text('{"Name": "mapped:1"}')
    (root / "v1" / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    manage(root, describe("mapped:1"))
    return root


def set_cache(paths: Paths, directory: Path) -> None:
    """As `cache cd` stores it."""
    Config(cache_directory=directory, cache_id=mark_cache(directory)).save(paths)


def test_the_route_is_not_for_web_pages_nor_strangers(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        assert local.send("POST", CACHE, b"{}", JSON)[0] == 403


def test_a_directory_that_is_not_there_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_service(tmp_path) as local:
        before = local.state.inventory
        new = tmp_path / "new"
        new.mkdir()
        set_cache(Paths.from_environment(), new)
        shutil.rmtree(new)
        status, _, body = local.send("POST", CACHE, b"{}", MANAGING)
        assert (status, body["error"]["code"]) == (507, "cache_unavailable")
        assert local.state.inventory is before
        new.mkdir()
        set_cache(Paths.from_environment(), new)
        local.get(f"/openai/load/{MODEL}")
        assert local.send("POST", CACHE, b"{}", MANAGING)[2] == {"path": str(new)}
        assert local.get("/openai/loadedmodels")[2] == [MODEL]
        assert local.get("/openai/status")[2]["modelDirPath"] == str(new)


def test_a_model_that_is_being_loaded_is_removed_only_by_force(tmp_path: Path) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    async def start(*_: object, **__: object) -> Any:
        import asyncio

        begun.set()
        await asyncio.to_thread(may_go_on.wait, 30)
        raise ModelInvalidError("It was removed meanwhile.")

    with local_service(tmp_path, start=start) as local:
        loader = threading.Thread(target=local.get, args=(f"/openai/load/{MODEL}",))
        loader.start()
        assert begun.wait(20)
        path = f"/foundry/manage/remove/{MODEL}"
        status, _, body = local.send("POST", path, b"{}", MANAGING)
        assert (status, body["error"]["code"]) == (409, "model_in_use")
        assert local.send("POST", f"{path}?force=perhaps", b"{}", MANAGING)[2]["error"]["param"] == "force"
        forced = threading.Thread(target=local.send, args=("POST", f"{path}?force=true", b"{}", MANAGING))
        forced.start()
        may_go_on.set()
        forced.join(30)
        loader.join(30)
        assert list(local.state.inventory.cache.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e%2fcache", "..%2f..%2f..%2fetc", "%00", "n" * 255, "n" * 5000, "%ff%fe", "*", "Tests", "%20"]
)
def test_names_that_lead_nowhere_remove_nothing(service: RunningService, name: str) -> None:
    before = sorted(service.paths.default_cache.rglob("*"))
    with pytest.raises(ModelNotFoundError):
        service.client._call("POST", f"/foundry/manage/remove/{name}?force=true", body={})
    assert sorted(service.paths.default_cache.rglob("*")) == before


def test_downloads_are_removed_unless_they_run(service: RunningService) -> None:
    root = add_partial(service.paths.default_cache)
    with downloading(root), pytest.raises(ModelInUseError, match="is being downloaded"):
        service.client.remove("half:1", force=True)
    assert service.client.remove("half")["removed"] == "half:1"
    assert not root.exists()


def test_a_use_is_noted_when_a_model_is_loaded_and_unloaded(fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "mine:1", ["hello"])
    fresh_service.client.load("mine")
    fresh_service.client.unload("mine")
    stop_service(fresh_service.paths)  # what was to be written is written
    assert list(read_usage(fresh_service.paths)) == ["mine:1"]


def test_deleted_by_hand_a_loaded_model_goes_on_and_is_seen_to_be_gone(fresh_service: RunningService) -> None:
    paths, client = fresh_service.paths, fresh_service.client
    root = add_real_model(paths)
    own = add_model(paths, "own:1", ["here"])
    for model in ("own", "mapped"):
        client.load(model)
    before = answer(client, "mapped")
    (root / "v1" / "model.onnx.data").unlink()
    assert states(client) == {"mapped:1": False, "own:1": True}
    shutil.rmtree(own)
    assert states(client) == {"mapped:1": False}
    assert (answer(client, "mapped"), answer(client, "own")) == (before, "here")
    client.unload_all()
    with pytest.raises(ModelInvalidError, match=r"damaged: v1/model\.onnx\.data is missing.*") as caught:
        client.load("mapped")
    assert "foundry cache repair mapped:1" in str(caught.value.hint)
    with pytest.raises(ModelNotFoundError):
        client.load("own")
    (root / MANIFEST).unlink()
    shutil.rmtree(root / "v1")
    assert states(client) == {}


@pytest.mark.parametrize("damage", ["truncate", "append"])
def test_other_sizes_are_seen_by_the_next_list_and_load(fresh_service: RunningService, damage: str) -> None:
    weights = add_real_model(fresh_service.paths) / "v1" / "model.onnx.data"
    assert states(fresh_service.client) == {"mapped:1": True}
    os.truncate(weights, weights.stat().st_size + (-1 if damage == "truncate" else 1))
    assert states(fresh_service.client) == {"mapped:1": False}
    with pytest.raises(ModelInvalidError, match=r"model\.onnx\.data has \d+ bytes instead of \d+"):
        answer(fresh_service.client, "mapped")


def test_a_truncated_file_of_a_loaded_model_ends_its_worker_only(fresh_service: RunningService) -> None:
    paths, client = fresh_service.paths, fresh_service.client
    root = add_real_model(paths)
    add_model(paths, "bystander:1", ["unharmed"])
    client.load("mapped")
    client.load("bystander")
    os.truncate(root / "v1" / "model.onnx.data", 0)
    with pytest.raises(FoundryError) as caught:
        answer(client, "mapped")
    assert isinstance(caught.value, (EngineDiedError, ModelInvalidError)), caught.value
    assert client.is_alive()
    assert answer(client, "bystander") == "unharmed"
    with pytest.raises(ModelInvalidError, match=r"model\.onnx\.data has 0 bytes instead of"):
        client.load("mapped")


def test_an_unplugged_cache_stops_new_loads_and_nothing_else(tmp_path: Path) -> None:
    paths, disk = Paths(tmp_path / "home"), tmp_path / "disk"
    for name in ("mine:1", "other:1"):
        add_model(Paths(tmp_path / "made"), name, ["hello"])
    shutil.move(tmp_path / "made" / "cache" / "models", disk)
    set_cache(paths, disk)
    for service in run_service(paths.home):
        client = service.client
        client.load("mine")
        disk.rename(tmp_path / "unplugged")
        disk.mkdir()  # what a mount point looks like then
        assert answer(client, "mine") == "hello"
        with pytest.raises(CacheError, match="is not available"):
            client.load("other")
        with pytest.raises(CacheError, match="is not available"):
            client.remove("other")
        assert states(client) == {}
        client.load("foundry-guide")
        assert list(disk.iterdir()) == []
        disk.rmdir()
        with pytest.raises(CacheError, match="the directory is missing"):
            client.load("other")
        assert not disk.exists()
        (tmp_path / "unplugged").rename(disk)
        assert answer(client, "other") == "hello"


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_disk_that_is_really_unmounted(tmp_path: Path) -> None:
    paths, disk = Paths(tmp_path / "home"), tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)], check=True)
    is_mounted = True
    try:
        add_model(Paths(tmp_path / "made"), "mine:1", ["hello"])
        shutil.copytree(tmp_path / "made" / "cache" / "models", disk, dirs_exist_ok=True)
        set_cache(paths, disk)
        for service in run_service(paths.home):
            service.client.load("mine")
            subprocess.run(["umount", "-l", str(disk)], check=True)
            is_mounted = False
            assert answer(service.client, "mine") == "hello"
            service.client.unload("mine")
            with pytest.raises(CacheError, match="is not the directory that was set"):
                service.client.load("mine")
            assert list(disk.iterdir()) == []
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def test_remains_of_a_removal_are_swept_at_the_start(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    cache = paths.default_cache
    add_model(paths, "mine:1", ["hello"])
    root = add_real_model(paths)
    (root / MANIFEST).rename(root / REMOVED)  # killed right after its removal had begun
    (root / "notes.txt").write_text("mine")
    shutil.copytree(cache / "Tests" / "mine-1", cache / ".foundry-trash-1" / "mine-1")
    for service in run_service(paths.home):
        assert states(service.client) == {"mine:1": True}
        for _ in range(5000):  # the sweep runs beside the first requests
            if not (cache / ".foundry-trash-1").exists() and not (root / "v1").exists():
                break
            service.client.status()
        assert [path.name for path in root.iterdir()] == ["notes.txt"]
        assert sorted(path.name for path in cache.iterdir()) == ["Tests"]
        assert [model.id for model in scan(cache).models] == ["mine:1"]

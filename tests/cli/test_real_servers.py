"""The whole way with real servers: a model out of Azurite through the Azure catalog, and a mirror behind nginx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry_cli.paths import Paths
from foundry_cli.store.manifest import read_manifest
from tests.conftest import Foundry, add_model
from tests.fakes.azure_catalog import AzureStandIn, azure_stand_in, entry
from tests.fakes.azurite import MISSING, Azurite, azurite, find_azurite
from tests.fakes.nginx import NGINX, nginx, public_directory
from tests.models.scripted import write_scripted_model

pytestmark = pytest.mark.servers

_NAME = "phi-tiny-generic-cpu"
_ASSET = f"azureml://registries/azureml/models/{_NAME}/versions/1"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Azurite]:
    if find_azurite() is None:
        pytest.skip(MISSING)
    with azurite() as running:
        yield running


@pytest.fixture
def azure(emulator: Azurite, tmp_path: Path) -> Iterator[AzureStandIn]:
    """A catalog with one model for the processor, whose files are in Azurite, and one for an NPU."""
    files = write_scripted_model(tmp_path / "files", ["From the cloud."], name="ignored:9")
    container = f"model-{tmp_path.name.replace('_', '-').lower()[:40].strip('-')}"
    emulator.make_container(container)
    for path in sorted(files.iterdir()):
        emulator.upload(container, f"v1/{path.name}", path.read_bytes())
    emulator.upload(container, "v1/ballast.bin", bytes(range(256)) * 40_000)
    with azure_stand_in() as stand_in:
        stand_in.entries = [entry(_NAME), entry("phi-tiny-qnn-npu", "npu", "QNNExecutionProvider")]
        stand_in.containers = {_ASSET: emulator.container_url(container)}
        yield stand_in


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_a_model_comes_from_azure(foundry: Foundry, azure: AzureStandIn, tmp_path: Path, protocol: str) -> None:
    env = {
        "FOUNDRY_CATALOG_URL": azure.gallery_url if protocol == "v2" else azure.cross_region_url,
        "FOUNDRY_REGISTRY_URL": azure.registry_url,
    }
    listed = json.loads(foundry("model", "list", "--all-devices", "-o", "json", env=env).stdout)["models"]
    found = {model["id"]: model["runsHere"] for model in listed if model["source"] == "azure"}
    assert found == {f"{_NAME}:1": True, "phi-tiny-qnn-npu:1": False}
    output = foundry("model", "download", "phi-tiny", env=env)
    assert output.code == 0, output.stderr
    root = Paths(tmp_path / "home").default_cache / "Tests" / f"{_NAME}-1"
    manifest = read_manifest(root)
    assert manifest is not None
    assert all(file.path.startswith("v1/") for file in manifest.files)
    assert json.loads((root / "v1" / "inference_model.json").read_text())["Name"] == f"{_NAME}:1"
    answer = foundry("model", "run", "phi-tiny", "--prompt", "hi", env=env)
    assert answer.stdout == "From the cloud.\n"
    assert "sig=" not in output.stdout + output.stderr
    stored = Paths(tmp_path / "home").default_cache / "foundry.modelinfo.json"
    assert {model["id"] for model in json.loads(stored.read_text())["models"]} == set(found)


def test_an_exported_mirror_behind_nginx_is_all_that_another_home_needs(foundry: Foundry, tmp_path: Path) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    add_model(Paths(tmp_path / "home"), "shared-generic-cpu:3", ["From the office."])
    other = tmp_path / "other"
    try:
        with public_directory() as public:
            exported = foundry("cache", "export", str(public / "mirror"), "shared-generic-cpu")
            assert exported.code == 0, exported.stderr
            _use(foundry, public, other)
        again = foundry("model", "run", "shared-generic-cpu", "--prompt", "hi", home=other)
        assert again.stdout == "From the office.\n"  # the server is gone, the model is here
        assert foundry("cache", "verify", home=other).code == 0
    finally:
        foundry("service", "stop", home=other)


def _use(foundry: Foundry, public: Path, home: Path) -> None:
    with nginx(public / "mirror", public / "nginx") as url:
        assert foundry("catalog", "add", url, home=home).code == 0
        answer = foundry("model", "run", "shared-generic-cpu", "--prompt", "hi", home=home)
        assert answer.stdout == "From the office.\n"

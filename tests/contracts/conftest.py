"""What the clients talk to: the service as the installed `foundry` starts it, with models whose answers are known."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from foundry_cli.client.supervisor import stop_service
from foundry_cli.instance import read_instance
from foundry_cli.paths import Paths
from tests.conftest import FOUNDRY, add_model, clean_environment
from tests.fakes.azure_catalog import AzureStandIn, azure_stand_in, entry
from tests.fakes.azurite import MISSING, Azurite, azurite, find_azurite
from tests.models.conversational import write_calling_model, write_thinking_model
from tests.models.scripted import write_scripted_model

ECHO = "The first answer."
CITY = {"name": "Paris", "population": 2100000}
WEATHER = {"city": "Paris"}
SUNNY = "It is sunny in Paris."
THOUGHT, CONCLUSION = "A question, so an answer.", "Done thinking."


@dataclass(frozen=True)
class Detached:
    """A service that runs by itself."""

    paths: Paths
    url: str


@pytest.fixture(scope="session")
def detached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detached]:
    """`foundry service start` with an empty home, and models that came later."""
    home = tmp_path_factory.mktemp("contracts")
    paths = Paths(home)
    environment = clean_environment(home)
    try:
        subprocess.run([str(FOUNDRY), "service", "start"], env=environment, check=True, capture_output=True, timeout=60)
        record = read_instance(paths.instance_file)
        assert record is not None
        _add_models(paths)
        yield Detached(paths, record.base_url)
    finally:
        stop_service(paths)


def _add_models(paths: Paths) -> None:
    add_model(paths, "echo:1", [ECHO, "The second answer."])
    add_model(paths, "lone:1", ["Loaded by one test only."])
    add_model(paths, "city:1", [json.dumps(CITY, separators=(",", ":"))])
    folder = paths.default_cache / "Tests"
    write_calling_model(folder / "caller-1", "caller:1", "get_weather", WEATHER, SUNNY)
    write_calling_model(folder / "extractor-1", "extractor:1", "City", CITY, "Never said.")
    write_thinking_model(folder / "thinker-1", "thinker:1", THOUGHT, CONCLUSION)


@dataclass(frozen=True)
class Machine:
    """A user's machine before the first start: `foundry` is on PATH, its home does not exist, and it knows a catalog."""

    home: Path
    environment: dict[str, str]
    azure: AzureStandIn


@pytest.fixture(scope="session")
def emulator() -> Iterator[Azurite]:
    """Where the models of the catalog are."""
    if find_azurite() is None:
        pytest.skip(MISSING)
    with azurite() as running:
        yield running


@pytest.fixture(scope="session")
def azure(emulator: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureStandIn]:
    """A catalog as Azure's, with two models for the processor and one for an NPU."""
    with azure_stand_in() as stand_in:
        for name, reply in {"tiny-chat-generic-cpu": "Hello from the catalog.", "tiny-more-generic-cpu": "More."}.items():
            files = write_scripted_model(tmp_path_factory.mktemp("files"), [reply], name="ignored:9")
            emulator.make_container(name)
            for path in sorted(files.iterdir()):
                emulator.upload(name, f"v1/{path.name}", path.read_bytes())
            emulator.upload(name, "v1/ballast.bin", bytes(range(256)) * 100_000)
            asset = f"azureml://registries/azureml/models/{name}/versions/1"
            stand_in.containers[asset] = emulator.container_url(name)
            stand_in.entries = [*stand_in.entries, entry(name)]
        stand_in.entries = [*stand_in.entries, entry("tiny-chat-qnn-npu", "npu", "QNNExecutionProvider")]
        yield stand_in


@pytest.fixture
def machine(azure: AzureStandIn, tmp_path: Path) -> Iterator[Machine]:
    """An untouched home directory; a service that is started in it is stopped."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "foundry").symlink_to(FOUNDRY)
    home = tmp_path / "home"
    environment = clean_environment(home, FOUNDRY_CATALOG_URL=azure.cross_region_url, FOUNDRY_REGISTRY_URL=azure.registry_url)
    try:
        yield Machine(home, {**environment, "PATH": f"{programs}:/usr/bin:/bin"}, azure)
    finally:
        stop_service(Paths(home))

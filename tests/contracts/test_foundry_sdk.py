"""Microsoft's SDKs that drive the service over HTTP: they find `foundry` on PATH, start it, download, load and ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foundry_cli.instance import read_instance
from foundry_cli.paths import Paths
from tests.conftest import clean_environment
from tests.contracts.conftest import Detached, Machine
from tests.contracts.running import run_node, run_python
from tests.fakes.azure_catalog import AzureStandIn
from tests.models.scripted import write_scripted_model

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

_FIRST, _SECOND = "tiny-chat-generic-cpu:1", "tiny-more-generic-cpu:1"


@pytest.mark.parametrize("version", ["0.3.1", "0.5.1"])
def test_python(machine: Machine, version: str) -> None:
    requirements = (f"foundry-local-sdk=={version}", "openai==3.54.0")
    facts = run_python("foundry_sdk.py", requirements, "tiny-chat", "tiny-more", env=machine.environment)
    _check(facts, machine)
    assert facts["service_uri"] + "/v1" == facts["endpoint"]


@pytest.mark.parametrize("version", ["0.3.1", "0.5.0"])
def test_javascript(machine: Machine, version: str) -> None:
    packages = (f"foundry-local-sdk@{version}", "openai@7.57.0")
    facts = run_node("foundry_sdk.mjs", packages, "tiny-chat", "tiny-more", version, env=machine.environment)
    _check(facts, machine)
    assert facts["progress"] == sorted(facts["progress"])
    assert facts["progress"][-1] == 100


def test_python_with_the_native_core(detached: Detached, azure: AzureStandIn, tmp_path: Path) -> None:
    """It finds models in its own cache by its own core, and loads them in a service that it is told of."""
    write_scripted_model(tmp_path / "cache" / "Tests" / "lone-1", ["Never asked here."], name="lone:1")
    catalog = azure.cross_region_url.format(region="eastus").removesuffix("/entities/crossRegion")
    directories = str(tmp_path / "cache"), str(tmp_path / "scratch")
    arguments = (detached.url, catalog, *directories, "lone:1")
    environment = clean_environment(tmp_path, HOME=str(tmp_path))  # the runtime in it writes there
    facts = run_python("foundry_sdk_native.py", ("foundry-local-sdk==1.2.4",), *arguments, env=environment)
    assert facts["model"][0] == "lone:1"
    assert facts["cached"] == ["lone:1"]
    assert [facts["before"], facts["loaded"], facts["after"]] == [[], ["lone:1"], []]
    assert facts["is_loaded"] is True


def _check(facts: dict[str, Any], machine: Machine) -> None:
    """All the steps of the scripts, which are the same in both languages."""
    paths = Paths(machine.home)
    assert facts["is_running"] is True
    record = read_instance(paths.instance_file)
    assert record is not None
    assert facts["endpoint"] == f"{record.base_url}/v1"
    assert facts["catalog"].items() >= {_FIRST: "tiny-chat", _SECOND: "tiny-more"}.items()
    uri = "azureml://registries/azureml/models/tiny-chat-generic-cpu/versions/1"
    assert facts["info"] == {"id": _FIRST, "alias": "tiny-chat", "uri": uri, "version": "1"}
    assert facts["unknown"] is None
    assert facts["cache"] == str(paths.default_cache)
    assert _FIRST in facts["cached"]
    assert _SECOND not in facts["cached"]
    assert facts["loaded"] == [_FIRST]
    assert facts["answer"] == {"whole": "Hello from the catalog.", "stream": "Hello from the catalog."}
    assert facts["loaded after unload"] == []
    assert facts["downloaded"] == facts["load answer"] == _SECOND
    assert _SECOND in facts["cached after download"]
    assert facts["loaded at the end"] == [_SECOND]
    assert facts["upgradeable"] is False

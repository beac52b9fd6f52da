"""`foundry model list|info|load|unload`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from foundry_cli.paths import Paths
from tests.cli.in_process import Command
from tests.conftest import RunningService, add_model

GUIDE = "foundry-guide-generic-cpu:1"


@pytest.fixture
def foundry(settled: Command) -> Command:
    """The command line, without a process for each command."""
    return settled


def test_list_shows_the_bundled_model_in_the_columns_that_clients_look_for(foundry: Command) -> None:
    lines = foundry("model", "list").stdout.splitlines()
    assert lines[0] == "Alias                          Device     Task           File Size    License      Model ID"
    assert lines[1] == "-" * 95
    row = lines[2]
    column = lines[0].index("Model ID")
    assert row[:31].strip() == "foundry-guide"
    assert row[column:] == GUIDE
    assert lines[3] == "-" * len(row)


def test_list_and_ls_are_the_same(foundry: Command) -> None:
    assert foundry("model", "ls").stdout == foundry("model", "list").stdout


def test_list_shows_models_that_were_put_into_the_cache(foundry: Command, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "my-model", ["hello"])
    assert "my-model:0" in foundry("model", "list").stdout


def test_filters(foundry: Command, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "other-cuda-gpu:2", ["hello"])

    def ids(text: str) -> set[str]:
        output = foundry("model", "list", "--filter", text, "--output", "json")
        return {model["id"] for model in json.loads(output.stdout)["models"]}

    other = "other-cuda-gpu:2"
    assert ids("alias=FOUNDRY*") == {GUIDE}
    assert ids("alias=!foundry-guide") == {other}
    assert ids("device=gpu") == {other}
    assert ids("device=!gpu") == {GUIDE}
    assert ids("task=chat-completion") == ids("task=chat") == {GUIDE, other}
    assert ids("provider=cpuexecutionprovider") == {GUIDE}


def test_info_as_table_and_json(foundry: Command) -> None:
    lines = foundry("model", "info", "foundry-guide").stdout.splitlines()
    assert lines[2][lines[0].index("Model ID") :] == GUIDE
    model = json.loads(foundry("model", "info", "FOUNDRY-GUIDE", "-o", "json").stdout)["model"]
    assert (model["id"], model["cached"], model["contextLength"]) == (GUIDE, True, 2048)


def test_info_shows_the_licence(foundry: Command) -> None:
    assert "MIT" in foundry("model", "info", "foundry-guide", "--license").stdout


def test_unknown_model_suggests_near_names_and_exits_with_4(foundry: Command) -> None:
    for arguments in (["info", "foundry-gide"], ["load", "foundry-gide"], ["run", "foundry-gide", "--prompt", "hi"]):
        output = foundry("model", *arguments)
        assert output.code == 4
        assert output.stderr.count("\n") == 1
        assert "'foundry-guide'" in output.stderr
        assert output.stdout == ""


def test_load_ps_unload(foundry: Command, service: RunningService) -> None:
    home = service.paths.home
    output = foundry("model", "load", "echo", home=home)
    assert output.code == 0
    assert output.stdout.endswith("Model echo loaded successfully\n")
    listed = foundry("service", "ps", home=home).stdout.splitlines()
    assert listed[0] == "Models running in service:"
    (line,) = [line for line in listed if line.startswith("🟢  " + "echo".ljust(31) + "echo:1 ")]
    assert line.endswith("  batch")
    assert "echo:1" in [
        model["id"] for model in json.loads(foundry("service", "list", "-o", "json", home=home).stdout)["models"]
    ]
    assert foundry("model", "unload", "echo", home=home).code == 0
    assert "echo:1" not in service.client.loaded_models()
    assert "not loaded" in foundry("model", "unload", "echo", home=home).stdout


def test_load_and_unload_as_json(foundry: Command, service: RunningService) -> None:
    home = service.paths.home
    for command, is_loaded in (("load", True), ("unload", False), ("unload", False)):
        output = foundry("model", command, "echo", "-o", "json", home=home)
        assert (output.code, json.loads(output.stdout)) == (0, {"model": {"id": "echo:1", "loaded": is_loaded}})
    assert "not loaded" in output.stderr
    assert json.loads(foundry("-o", "json", "model", "unload", "--all", home=home).stdout) == {"models": []}


def test_unload_without_a_service_is_exit_code_3(foundry: Command) -> None:
    output = foundry("model", "unload", "foundry-guide")
    assert output.code == 3
    assert "foundry service start" in output.stderr


def test_a_variant_for_a_device_that_does_not_exist(foundry: Command) -> None:
    output = foundry("model", "info", "foundry-guide", "--device", "gpu")
    assert output.code == 4
    assert "has no variant for the device GPU" in output.stderr
    assert f"{GUIDE} (CPU)" in output.stderr


def test_a_loaded_model_whose_files_are_gone_can_be_unloaded(foundry: Command, service: RunningService) -> None:
    directory = add_model(service.paths, "vanishing:1", ["hello"])
    service.client.load("vanishing")
    shutil.rmtree(directory)
    output = foundry("model", "unload", "Vanishing", home=service.paths.home)
    assert (output.code, output.stderr) == (0, "")
    assert "vanishing:1" not in service.client.loaded_models()

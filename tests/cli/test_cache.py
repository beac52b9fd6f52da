"""`foundry cache …`."""

from __future__ import annotations

import json
from pathlib import Path

from foundry_cli.paths import Paths
from tests.conftest import Foundry, RunningService, add_model


def test_location(foundry: Foundry, tmp_path: Path) -> None:
    assert foundry("cache", "location").stdout == f"💾 Cache directory path: {tmp_path}/home/cache/models\n"
    fields = json.loads(foundry("cache", "location", "--output", "json").stdout)
    assert fields == {"path": f"{tmp_path}/home/cache/models", "userSet": False}


def test_the_location_is_there_for_the_first_model(foundry: Foundry, tmp_path: Path) -> None:
    foundry("cache", "location")
    assert (tmp_path / "home" / "cache" / "models").is_dir()
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0


def test_a_terminal_that_cannot_show_emoji_gets_none(foundry: Foundry, tmp_path: Path) -> None:
    output = foundry("cache", "location", env={"PYTHONIOENCODING": "cp1252"})
    assert output.stdout == f"Cache directory path: {tmp_path}/home/cache/models\n"


def test_list_counts_the_bundled_model_as_cached(foundry: Foundry) -> None:
    lines = foundry("cache", "list").stdout.splitlines()
    assert lines[0] == "Models cached on device:"
    assert lines[1] == "   " + "Alias".ljust(50) + "Model ID"
    assert lines[2] == "💾 " + "foundry-guide".ljust(50) + "foundry-guide-generic-cpu:1"
    models = json.loads(foundry("cache", "ls", "-o", "json").stdout)["models"]
    assert [model["id"] for model in models] == ["foundry-guide-generic-cpu:1"]


def test_cd_keeps_models_elsewhere_and_survives_odd_names(foundry: Foundry, tmp_path: Path) -> None:
    elsewhere = tmp_path / "my models é"
    assert foundry("cache", "cd", str(elsewhere)).code == 0
    assert elsewhere.is_dir()
    assert json.loads(foundry("cache", "location", "-o", "json").stdout) == {"path": str(elsewhere), "userSet": True}


def test_cd_into_a_file_is_refused(foundry: Foundry, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        output = foundry("cache", "cd", str(path))
        assert output.code == 1
        assert output.stderr.count("\n") == 1


def test_cd_to_nowhere_is_refused(foundry: Foundry) -> None:
    assert foundry("cache", "cd", "").code == 2


def test_cd_restarts_a_running_service(foundry: Foundry, fresh_service: RunningService, tmp_path: Path) -> None:
    home = fresh_service.paths.home
    output = foundry("cache", "cd", str(tmp_path / "new"), home=home)
    lines = output.stdout.splitlines()
    assert lines[0] == "Restarting service..."
    assert lines[1] == "🔴 Service is stopped."
    assert lines[2].startswith(f"🟢 Service is Started on {fresh_service.url}/, PID ")


def test_the_bundled_model_cannot_be_removed(foundry: Foundry) -> None:
    output = foundry("cache", "remove", "foundry-guide", "--yes")
    assert output.code == 1
    assert "part of the program" in output.stderr


def test_remove_asks_and_deletes(foundry: Foundry, tmp_path: Path) -> None:
    directory = add_model(Paths(tmp_path / "home"), "mine:1", ["hello"])
    refused = foundry("cache", "remove", "mine", input="n\n")
    assert refused.code == 1
    assert directory.exists()
    assert "This will delete model 'mine (mine:1)' from cache." in refused.stdout
    removed = foundry("cache", "remove", "MINE", input="y\n")
    assert removed.stdout.endswith("Deleted model mine:1 from the cache.\n")
    assert not directory.exists()
    assert foundry("cache", "rm", "mine", "--yes").code == 4


def test_remove_without_an_answer_keeps_the_model(foundry: Foundry, tmp_path: Path) -> None:
    directory = add_model(Paths(tmp_path / "home"), "mine:1", ["hello"])
    output = foundry("cache", "remove", "mine", input="")
    assert output.code == 1
    assert "--yes" in output.stderr
    assert directory.exists()


def test_remove_unloads_first_when_the_service_has_the_model(foundry: Foundry, service: RunningService) -> None:
    directory = add_model(service.paths, "doomed:1", ["hello"])
    service.client.load("doomed")
    assert foundry("cache", "remove", "doomed", "--yes", home=service.paths.home).code == 0
    assert not directory.exists()
    assert "doomed:1" not in service.client.loaded_models()

"""`foundry cache remove` and `prune`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from foundry_cli.paths import Paths
from foundry_cli.store.cache import scan
from foundry_cli.store.verdicts import PASSED, Verdict, read_verdicts, store_verdict
from tests.cli.in_process import Command
from tests.conftest import RunningService, add_model
from tests.store.managed import add_managed
from tests.store.test_removal import add, add_partial, downloading


@pytest.fixture
def foundry(here: Command) -> Command:
    """The command line, without a process for each command."""
    return here


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache directory of the command."""
    directory = Paths(tmp_path / "home").default_cache
    directory.mkdir(parents=True)
    return directory


def test_the_bundled_model_cannot_be_removed(foundry: Command) -> None:
    output = foundry("cache", "remove", "foundry-guide", "--yes")
    assert output.code == 1
    assert "part of the program" in output.stderr


def test_remove_asks_and_deletes(foundry: Command, tmp_path: Path) -> None:
    directory = add_model(Paths(tmp_path / "home"), "mine:1", ["hello"])
    refused = foundry("cache", "remove", "mine", input="n\n")
    assert refused.code == 1
    assert directory.exists()
    assert refused.stdout.splitlines() == [
        "⚠️ This will delete model 'mine (mine:1)' from cache.",
        f"   0.00 GB in {directory}",
        "⚠️ Are you sure you want to delete this model from the local cache? (y/n)",
        "Nothing was deleted.",
    ]
    removed = foundry("cache", "remove", "MINE", input="y\n")
    assert removed.stdout.endswith("Deleted model mine:1 from the cache.\n")
    assert not directory.exists()
    assert foundry("cache", "rm", "mine", "--yes").code == 4


def test_remove_without_an_answer_keeps_the_model(foundry: Command, tmp_path: Path) -> None:
    directory = add_model(Paths(tmp_path / "home"), "mine:1", ["hello"])
    output = foundry("cache", "remove", "mine", input="")
    assert output.code == 1
    assert "--yes" in output.stderr
    assert directory.exists()


def test_several_models_and_all_of_them(foundry: Command, cache: Path) -> None:
    for number in range(4):
        add_managed(cache, f"m{number}:1")
    assert foundry("cache", "remove", "m0", "m1:1", "m0:1", "--yes").stdout.count("Deleted model") == 2
    assert foundry("cache", "remove", "m2", "nothing", "--yes").code == 4
    assert (cache / "Tests" / "m2-1").exists()  # all that was asked for, or nothing
    add_partial(cache)
    assert foundry("cache", "remove", "*", "--yes").stdout.count("Deleted model") == 3
    assert list(cache.iterdir()) == []
    assert foundry("cache", "remove", "--all", "--yes").stdout == "No models cached on device\n"


@pytest.mark.parametrize("arguments", [[], ["m", "--all"]])
def test_what_is_to_be_removed_must_be_said_once(foundry: Command, arguments: list[str]) -> None:
    assert foundry("cache", "remove", *arguments).code == 2


@pytest.mark.parametrize("name", ["half:1", "half", "half-1", "Tests/half-1"])
def test_a_download_is_removed_by_any_of_its_names(foundry: Command, cache: Path, name: str) -> None:
    root = add_partial(cache)
    assert foundry("cache", "remove", name, "--yes").code == 0
    assert not root.exists()


def test_a_download_that_runs_is_not_removed(foundry: Command, cache: Path) -> None:
    root = add_partial(cache)
    with downloading(root):
        for force in ([], ["--force"]):
            output = foundry("cache", "remove", "half", "--yes", *force)
            assert (output.code, "is being downloaded" in output.stderr) == (1, True)
    assert root.exists()


def test_files_of_others_stay_and_are_counted(foundry: Command, cache: Path) -> None:
    root = add_managed(cache, "m:1")
    (root / "notes.txt").write_text("mine")
    assert "   1 file(s) there are not part of the model and stay.\n" in foundry("cache", "remove", "m", "--yes").stdout
    assert [path.name for path in root.iterdir()] == ["notes.txt"]


def test_a_removal_for_programs(foundry: Command, cache: Path) -> None:
    add_managed(cache, "m:1")
    assert foundry("cache", "remove", "m", "-o", "json").code == 2  # nobody can be asked
    removed = json.loads(foundry("cache", "remove", "m", "--yes", "-o", "json").stdout)["removed"]
    assert [model["id"] for model in removed] == ["m:1"]
    assert removed[0]["fileSizeBytes"] > 3000


def test_a_loaded_model_is_removed_only_by_force(foundry: Command, service: RunningService) -> None:
    directory = add_model(service.paths, "doomed:1", ["hello"])
    service.client.load("doomed")
    refused = foundry("cache", "remove", "doomed", "--yes", home=service.paths.home)
    assert (refused.code, "--force" in refused.stderr) == (1, True)
    assert directory.exists()
    assert foundry("cache", "remove", "doomed", "--yes", "--force", home=service.paths.home).code == 0
    assert not directory.exists()
    assert "doomed:1" not in service.client.loaded_models()


def test_prune_shows_its_plan_and_asks(foundry: Command, cache: Path) -> None:
    root = add_partial(cache)
    add_managed(cache, "m:1")
    shown = foundry("cache", "prune", "--dry-run")
    assert shown.stdout.splitlines()[1].endswith("half:1 (download that was not finished)")
    assert (shown.code, root.exists()) == (0, True)
    assert (foundry("cache", "prune", input="n\n").code, root.exists()) == (1, True)
    assert foundry("cache", "prune", input="y\n").stdout.endswith("Deleted 0.00 GB.\n")
    assert [path.name for path in (cache / "Tests").iterdir()] == ["m-1"]
    assert foundry("cache", "prune").stdout == "There is nothing to delete.\n"


def test_prune_by_size_for_programs(foundry: Command, cache: Path) -> None:
    add_managed(cache, "m:1")
    assert foundry("cache", "prune", "--max-size", "lots").code == 2
    fields = json.loads(foundry("cache", "prune", "--max-size", "1K", "--yes", "-o", "json").stdout)
    assert [item["id"] for item in fields["deleted"]] == [item["id"] for item in fields["planned"]] == ["m:1"]
    assert list(cache.iterdir()) == []


def test_prune_keeps_what_is_loaded(foundry: Command, fresh_service: RunningService) -> None:
    for name in ("loaded:1", "idle:1"):
        add_model(fresh_service.paths, name, ["hello"])
    fresh_service.client.load("loaded")
    output = foundry("cache", "prune", "--max-size", "0", "--yes", home=fresh_service.paths.home)
    assert output.code == 0
    assert [path.name for path in (fresh_service.paths.default_cache / "Tests").iterdir()] == ["loaded-1"]


def test_prune_deletes_only_the_copy_of_its_plan(foundry: Command, fresh_service: RunningService) -> None:
    cache = fresh_service.paths.default_cache
    old, new = add_managed(cache / "a", "m:1"), add_managed(cache / "b", "m:1")
    os.utime(old, (time.time() - 90 * 86400,) * 2)
    output = foundry("cache", "prune", "--older-than", "30", "--yes", home=fresh_service.paths.home)
    assert output.code == 0
    assert [model.root for model in scan(cache).models] == [new]
    assert not old.exists()


def test_files_beside_a_model_of_the_original_are_told_and_stay(foundry: Command, cache: Path) -> None:
    folder = add(cache, "Microsoft/two-4/v4", "two:4")
    (folder / "my-notes.txt").write_text("mine")
    output = foundry("cache", "remove", "two", "--yes")
    assert "   1 file(s) there are not part of the model and stay.\n" in output.stdout
    assert [path.name for path in folder.iterdir()] == ["my-notes.txt"]


@pytest.mark.parametrize("is_running", [False, True])
def test_the_verdict_on_a_removed_model_is_forgotten(
    foundry: Command, request: pytest.FixtureRequest, tmp_path: Path, is_running: bool
) -> None:
    paths = request.getfixturevalue("fresh_service").paths if is_running else Paths(tmp_path / "home")
    for name in ("m:1", "other:1"):
        add_managed(paths.default_cache, name)
        store_verdict(paths, name, Verdict(PASSED, "2026-01-01T00:00:00Z"))
    assert foundry("cache", "remove", "m", "--yes", home=paths.home).code == 0
    assert list(read_verdicts(paths)) == ["other:1"]
    assert foundry("cache", "prune", "--max-size", "0", "--yes", home=paths.home).code == 0
    assert read_verdicts(paths) == {}


def test_of_several_models_those_go_that_can(foundry: Command, cache: Path) -> None:
    for name in ("a", "b", "c"):
        add_managed(cache, f"{name}:1")
    with downloading(cache / "Tests" / "b-1"):
        output = foundry("cache", "remove", "--all", "--yes", "-o", "json")
    assert output.code == 1
    assert [model["id"] for model in json.loads(output.stdout)["removed"]] == ["a:1", "c:1"]
    assert "b:1" in output.stderr
    assert (cache / "Tests" / "b-1" / "foundry.manifest.json").exists()

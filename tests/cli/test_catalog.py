"""`foundry catalog …`, and lists that are old, missing or cannot be fetched."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.cli.errors import ExitCode
from foundry_cli.config import MirrorSetting, load_config
from foundry_cli.paths import Paths
from foundry_cli.types import ModelInfo
from tests.cli.in_process import Command
from tests.fakes.azure_catalog import azure_stand_in, entry
from tests.fakes.mirror import served, write_mirror
from tests.fakes.web import Answer, Seen, WebServer, web_server


@pytest.fixture
def foundry(settled: Command) -> Command:
    """The command line, without a process for each command."""
    return settled


def _catalogs(foundry: Command) -> dict[str, dict[str, object]]:
    listed = json.loads(foundry("catalog", "list", "-o", "json").stdout)["catalogs"]
    return {catalog["name"]: catalog for catalog in listed}


def _store_old_list(home: Path, hours: float) -> None:
    paths = Paths(home)
    stored = StoredList(paths.default_cache / "foundry.modelinfo.json", paths.catalogs / "azure.json", "azure")
    stored.save([ModelInfo("old-generic-cpu", 1, "old", publisher="Tests", size_bytes=1 << 20)])
    past = time.time() - hours * 3600
    os.utime(stored.file, (past, past))


@contextmanager
def _silent_azure() -> Iterator[WebServer]:
    """A server that answers nothing until the end of the block."""
    is_over = threading.Event()

    def respond(_: Seen) -> Answer:
        is_over.wait()
        return Answer(503)

    with web_server(respond) as server:
        yield server
        is_over.set()


def test_what_there_is_at_first(foundry: Command) -> None:
    catalogs = _catalogs(foundry)
    assert list(catalogs) == ["bundled", "azure"]
    assert catalogs["bundled"]["models"] == 1
    assert catalogs["azure"]["refreshed"] is None
    text = foundry("catalog", "ls").stdout.splitlines()
    assert text[0].split() == ["Catalog", "Models", "Age", "Location"]


def test_a_mirror_is_added_and_removed(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    with served(mirror) as server:
        added = foundry("catalog", "add", f"{server.url}/", "--name", "office")
        assert added.stdout == "Catalog office was added; it has 1 models.\n"
        assert list(_catalogs(foundry)) == ["bundled", "office", "azure"]
        again = foundry("catalog", "add", f"{server.url}/", "--name", "other")
        assert again.code == 0
        assert list(_catalogs(foundry)) == ["bundled", "other", "azure"]  # the same place, renamed
        refreshed = foundry("catalog", "refresh", "other")
        assert refreshed.stdout == "other: 1 models.\n"
        (mirror / "index.json").unlink()
        broken = foundry("catalog", "refresh", "other")
        assert broken.code == ExitCode.DOWNLOAD_FAILED
        assert "status 404" in broken.stdout
    assert foundry("catalog", "remove", "OTHER").code == 0
    assert list(_catalogs(foundry)) == ["bundled", "azure"]
    assert not list(Paths(tmp_path / "home").catalogs.glob("mirror-*"))
    assert "hello-generic-cpu" not in foundry("model", "list").stdout


@pytest.mark.slow
def test_a_directory_is_a_catalog(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    assert foundry("catalog", "add", str(mirror)).code == 0
    assert foundry("model", "run", "hello-generic-cpu", "--prompt", "hi").stdout == "Hello.\n"


@pytest.mark.slow
def test_azure_can_be_switched_off_and_on(foundry: Command) -> None:
    assert foundry("catalog", "remove", "azure").code == 0
    assert list(_catalogs(foundry)) == ["bundled"]
    assert foundry("catalog", "add", "azure").code == 0
    assert list(_catalogs(foundry)) == ["bundled", "azure"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["add", "ftp://models.example/"], ExitCode.USAGE, "is not the address of a mirror"),
        (["add", "nowhere-at-all"], ExitCode.DOWNLOAD_FAILED, "index.json cannot be read"),
        (["add", "http://[bad/"], ExitCode.USAGE, "address"),
        (["remove", "nobody"], ExitCode.USAGE, "There is no catalog 'nobody'"),
        (["refresh", "nobody"], ExitCode.USAGE, "There is no catalog 'nobody'"),
    ],
)
def test_what_cannot_be_a_catalog_is_one_clear_line(foundry: Command, arguments: list[str], code: int, text: str) -> None:
    output = foundry("catalog", *arguments)
    assert (output.code, output.stderr.count("\n")) == (code, 1)
    assert text in output.stderr
    assert list(_catalogs(foundry)) == ["bundled", "azure"]


@pytest.mark.parametrize("name", ["azure", "bundled", "hf", "a b", ""])
def test_names_that_are_taken_or_none(foundry: Command, tmp_path: Path, name: str) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    if name:
        assert foundry("catalog", "add", str(mirror), "--name", name).code == ExitCode.USAGE
    else:
        assert foundry("catalog", "add", str(mirror), "--name", name).code == 0


def test_the_first_list_is_fetched_and_an_old_one_is_fetched_again(foundry: Command, tmp_path: Path) -> None:
    with azure_stand_in() as azure:
        env = {"FOUNDRY_CATALOG_URL": azure.gallery_url}
        azure.entries = [entry("first-generic-cpu")]
        assert "first-generic-cpu:1" in foundry("model", "list", env=env).stdout
        asked = len(azure.asked)
        assert "first-generic-cpu:1" in foundry("model", "list", env=env).stdout
        assert len(azure.asked) == asked  # it is fresh
        stored = Paths(tmp_path / "home").default_cache / "foundry.modelinfo.json"
        past = time.time() - 7 * 3600
        os.utime(stored, (past, past))
        azure.entries = [entry("second-generic-cpu")]
        output = foundry("model", "list", env=env)
        assert "second-generic-cpu:1" in output.stdout
        assert output.stderr == ""


def test_an_old_list_is_shown_with_its_age_while_the_server_says_nothing(foundry: Command, tmp_path: Path) -> None:
    _store_old_list(tmp_path / "home", hours=30)
    with _silent_azure() as server:
        output = foundry("model", "list", env={"FOUNDRY_CATALOG_URL": f"{server.url}/asset-gallery/v1.0/models"})
        assert "old-generic-cpu:1" in output.stdout
        assert "The list of the catalog azure is 30 hours old." in output.stderr
        assert server.seen  # it was asked, and the command did not wait for it


def test_a_server_that_fails_is_told_once_with_the_age_and_left_alone_for_a_while(foundry: Command, tmp_path: Path) -> None:
    _store_old_list(tmp_path / "home", hours=30)
    with web_server(lambda _: Answer(404)) as server:
        env = {"FOUNDRY_CATALOG_URL": f"{server.url}/asset-gallery/v1.0/models"}
        output = foundry("model", "list", env=env)
        assert "old-generic-cpu:1" in output.stdout
        assert "30 hours old. It could not be fetched again:" in output.stderr
        asked = len(server.seen)
        foundry("model", "list", env=env)
        assert len(server.seen) == asked


def test_a_list_of_the_original_is_read_as_it_is(foundry: Command, tmp_path: Path) -> None:
    cache = Paths(tmp_path / "home").default_cache
    cache.mkdir(parents=True)
    for sample in ("modelinfo_1.2.4.json", "modelinfo_2.x.json"):
        text = (Path(__file__).parent.parent / "catalog" / "samples" / sample).read_text(encoding="utf-8")
        (cache / "foundry.modelinfo.json").write_text(text, encoding="utf-8")
        listed = json.loads(foundry("model", "list", "--source", "azure", "--all-devices", "-o", "json").stdout)["models"]
        assert listed
        assert {model["id"] for model in listed} <= {entry["id"] for entry in json.loads(text)["models"]}


@pytest.mark.slow
def test_search_looks_into_all_catalogs(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello.", "other-generic-cpu:1": "Other."})
    foundry("catalog", "add", str(mirror))
    assert "hello-generic-cpu:1" in foundry("model", "search", "HELLO").stdout
    assert "other-generic-cpu:1" not in foundry("model", "list", "--search", "hello").stdout
    assert foundry("model", "search", "nothing like it").stdout.endswith("No models match.\n")
    assert foundry("model", "list", "--source", "nobody").code == ExitCode.USAGE


def test_settings_that_change_while_a_mirror_is_asked_stay_changed(foundry: Command, tmp_path: Path) -> None:
    paths, other = Paths(tmp_path / "home"), tmp_path / "models"
    other.mkdir()
    index = (write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."}) / "index.json").read_bytes()

    def answer(seen: Seen) -> Answer:
        replace(load_config(paths, environment=False), cache_directory=other).save(paths)  # as another command would
        return Answer(200, index)

    with web_server(answer) as server:
        assert foundry("catalog", "add", server.url, "--name", "slow").code == 0
    assert "slow" in _catalogs(foundry)
    assert str(other) in foundry("cache", "location").stdout


def test_a_catalog_shows_what_another_one_offers_as_well(foundry: Command, tmp_path: Path) -> None:
    for name in ("one", "two"):
        mirror = write_mirror(tmp_path / name, {"hello-generic-cpu:1": "Hello."})
        assert foundry("catalog", "add", str(mirror), "--name", name).code == 0
    for name in ("one", "two"):
        listed = json.loads(foundry("model", "list", "--source", name, "-o", "json").stdout)["models"]
        assert [model["alias"] for model in listed] == ["hello-generic-cpu"]


@pytest.mark.parametrize("name", ["~nobody-of-that-name/mirror", "mirror-\udcff"])
def test_odd_directories_are_places_like_others(foundry: Command, tmp_path: Path, name: str) -> None:
    if name.startswith("~"):
        output = foundry("catalog", "add", name)
        assert output.code != 0
        assert output.stderr.startswith("Exception: ")
        return
    mirror = write_mirror(tmp_path / name, {"hello-generic-cpu:1": "Hello."})
    assert foundry("catalog", "add", str(mirror), "--name", "odd").code == 0
    assert "odd" in _catalogs(foundry)
    assert foundry("catalog", "remove", "odd").code == 0


def test_a_mirror_is_its_directory_however_it_is_named(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    with served(mirror) as server:
        for location in (server.url, f"{server.url}/", f"{server.url}/index.json"):
            assert foundry("catalog", "add", location, "--name", "web").code == 0
    for text in (str(mirror), f"{mirror}/", f"{mirror}/index.json"):
        assert foundry("catalog", "add", text, "--name", "here").code == 0
    assert foundry("catalog", "add", f"{mirror.as_uri()}/index.json", "--name", "file").code == 0
    locations = {name: catalog["location"] for name, catalog in _catalogs(foundry).items()}
    assert [locations[name] for name in ("web", "here", "file")] == [server.url, str(mirror), str(mirror)]
    output = foundry("catalog", "add", "127.0.0.1:8080/models")
    assert (output.code, "Write http://127.0.0.1:8080/models" in output.stderr) == (ExitCode.USAGE, True)


def test_a_catalog_that_says_nothing_keeps_no_other_waiting(foundry: Command, tmp_path: Path) -> None:
    index = (write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."}) / "index.json").read_bytes()

    def silent(_: Seen) -> Answer:
        deadline = time.monotonic() + 20
        while not azure.asked and time.monotonic() < deadline:
            time.sleep(0.01)
        return Answer(200, index) if azure.asked else Answer(404)

    with azure_stand_in() as azure, web_server(silent) as mirror:
        azure.entries = [entry("first-generic-cpu")]
        paths = Paths(tmp_path / "home")
        config = load_config(paths, environment=False)
        replace(config, mirrors=(MirrorSetting("slow", mirror.url),)).save(paths)
        listed = foundry("catalog", "refresh", env={"FOUNDRY_CATALOG_URL": azure.gallery_url})
        assert listed.stdout.splitlines()[1:] == ["slow: 1 models.", "azure: 1 models."]


@pytest.mark.slow
def test_a_catalog_without_an_answer_yet_is_named(foundry: Command) -> None:
    with _silent_azure() as server:
        output = foundry("model", "list", env={"FOUNDRY_CATALOG_URL": f"{server.url}/asset-gallery/v1.0/models"})
    assert "The catalog azure has not answered yet" in output.stderr


def test_another_address_is_asked_at_once_and_the_list_of_the_old_one_is_shown_until_then(foundry: Command) -> None:
    with azure_stand_in() as old, azure_stand_in() as new:
        old.entries, new.entries = [entry("old-generic-cpu")], [entry("new-generic-cpu")]
        assert "old-generic-cpu:1" in foundry("model", "list", env={"FOUNDRY_CATALOG_URL": old.gallery_url}).stdout
        nobody = {"FOUNDRY_CATALOG_URL": "http://127.0.0.1:9/asset-gallery/v1.0/models"}
        output = foundry("model", "list", env=nobody)
        assert "old-generic-cpu:1" in output.stdout
        assert "http://127.0.0.1:9 cannot be reached" in output.stderr
        problem = json.loads(foundry("catalog", "list", "-o", "json", env=nobody).stdout)["catalogs"][-1]["problem"]
        assert "The list is that of another address." in problem
        listed = foundry("model", "list", env={"FOUNDRY_CATALOG_URL": new.gallery_url})
        assert ("new-generic-cpu:1" in listed.stdout, "old-generic-cpu:1" in listed.stdout) == (True, False)


def test_offline_an_old_failure_is_not_told_again(foundry: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    stored = StoredList(paths.default_cache / "foundry.modelinfo.json", paths.catalogs / "azure.json", "azure")
    stored.failed("https://api.example cannot be reached: its name cannot be resolved.")
    assert foundry("model", "list", env={"FOUNDRY_OFFLINE": "1"}).stderr == ""


def test_a_location_that_is_none_can_be_removed_again(foundry: Command, tmp_path: Path) -> None:
    settings = {"catalogSettings": {"mirrors": [{"name": "s", "location": "s3://bucket"}]}}
    Paths(tmp_path / "home").config_file.parent.mkdir(exist_ok=True)
    Paths(tmp_path / "home").config_file.write_text(json.dumps(settings))
    output = foundry("catalog", "list")
    assert "'s'" in output.stderr
    assert "foundry catalog remove s" in output.stderr
    assert foundry("catalog", "remove", "s").code == 0
    assert foundry("catalog", "list").code == 0

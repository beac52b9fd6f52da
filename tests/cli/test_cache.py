"""`foundry cache`: location, list, cd, and what is in a cache of any kind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.errors import CacheError
from foundry_cli.paths import Paths
from foundry_cli.store.cache_marker import MARKER, mark_cache
from foundry_cli.store.manifest import MANIFEST
from foundry_cli.store.usage import note_use
from tests.cli.in_process import Command
from tests.conftest import FOUNDRY, Foundry, RunningService, add_model, clean_environment
from tests.models.scripted import write_scripted_model
from tests.store.managed import add_managed
from tests.store.test_removal import add_partial


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache directory of the command."""
    directory = Paths(tmp_path / "home").default_cache
    directory.mkdir(parents=True)
    return directory


def listed(foundry: Command) -> dict[str, dict[str, Any]]:
    """`cache list` as JSON, by id."""
    models = json.loads(foundry("cache", "list", "-o", "json").stdout)["models"]
    return {model["id"]: model for model in models}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("command", [("cache", "cd"), ("cache", "move")])
def test_names_of_directories_do_not_act_on_a_terminal(command: tuple[str, str], tmp_path: Path) -> None:
    import pexpect

    (tmp_path / "file").touch()
    places = [str(tmp_path / "file" / "\x1b[31mx"), str(tmp_path / "\x1b[32my")]
    for place in places:
        environment = clean_environment(tmp_path / "home")
        shown, _ = pexpect.run(shlex.join([str(FOUNDRY), *command, place]), env=environment, withexitstatus=True)
        assert place.rpartition("m")[2].encode() in shown
        assert b"\x1b" not in shown
    shown = pexpect.run(f"{FOUNDRY} cache location", env=clean_environment(tmp_path / "home"))
    assert b"\x1b" not in shown


def test_location(foundry: Foundry, tmp_path: Path) -> None:
    assert foundry("cache", "location").stdout == f"💾 Cache directory path: {tmp_path}/home/cache/models\n"
    fields = json.loads(foundry("cache", "location", "--output", "json").stdout)
    assert fields == {"path": f"{tmp_path}/home/cache/models", "userSet": False}


def test_the_location_is_there_for_the_first_model(here: Command, tmp_path: Path) -> None:
    here("cache", "location")
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


def test_sizes_and_last_use_stand_below_what_other_programs_read(here: Command, cache: Path, tmp_path: Path) -> None:
    add_managed(cache, "m:1")
    note_use(Paths(tmp_path / "home"), "m:1")
    lines = here("cache", "list").stdout.splitlines()
    assert lines[3] == "💾 " + "m".ljust(50) + "m:1"
    assert lines[4] == ""
    assert lines[5] == "   " + "File Size".ljust(13) + "Last Used".ljust(17) + "Model ID"
    assert lines[7].startswith("   0.00 GB      ")
    assert lines[7].endswith(" seconds ago    m:1")


def test_what_is_not_complete_has_its_way_out(here: Command, cache: Path) -> None:
    add_partial(cache)
    (add_managed(cache, "broken:1") / "v1" / "model.onnx").unlink()
    text = here("cache", "list").stdout
    assert "\nNot complete:\n" in text
    assert "   damaged   broken:1: v1/model.onnx is missing\n" in text
    assert "'foundry cache repair broken:1' fetches again what is wrong" in text
    assert "   partial   half:1: 0.00 GB of 0.00 GB downloaded\n" in text
    assert "Run the command that began it again (download, add or import); 'foundry cache remove half:1' deletes it." in text


def test_a_list_for_programs(here: Command, cache: Path, tmp_path: Path) -> None:
    root = add_managed(cache, "whole:1", alias="w")
    (add_managed(cache, "broken:1") / "v1" / "model.onnx").unlink()
    half = add_partial(cache)
    note_use(Paths(tmp_path / "home"), "whole:1", 86400)
    models = listed(here)
    whole = models["whole:1"]
    assert whole.pop("fileSizeBytes") == whole.pop("doneBytes") > 3000
    assert whole == {
        "alias": "w", "id": "whole:1", "path": str(root / "v1"), "bundled": False, "lastUsed": "1970-01-02T00:00:00+00:00",
        "state": "complete", "problem": None, "verdict": None,
    }  # fmt: skip
    assert (models["broken:1"]["state"], models["broken:1"]["problem"]) == ("damaged", "v1/model.onnx is missing")
    assert (models["half:1"]["state"], models["half:1"]["path"]) == ("partial", str(half))
    assert (models["half:1"]["doneBytes"], models["half:1"]["fileSizeBytes"]) == (0, 6002)


def test_cd_keeps_models_elsewhere_and_survives_odd_names(here: Command, tmp_path: Path) -> None:
    elsewhere = tmp_path / "my models é"
    assert here("cache", "cd", str(elsewhere)).code == 0
    assert elsewhere.is_dir()
    assert json.loads(here("cache", "location", "-o", "json").stdout) == {"path": str(elsewhere), "userSet": True}


def test_cd_into_a_file_is_refused(here: Command, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below", tmp_path / ("n" * 300)):
        output = here("cache", "cd", str(path))
        assert output.code == 1
        assert output.stderr.count("\n") == 1


def test_cd_to_nowhere_is_refused(here: Command) -> None:
    assert here("cache", "cd", "").code == 2


def test_a_directory_whose_name_cannot_be_stored_is_refused(here: Command, tmp_path: Path) -> None:
    output = here("cache", "cd", os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert output.code == 2
    assert here("cache", "location").code == 0


def test_cd_marks_the_directory_so_that_an_empty_mount_point_is_not_taken_for_it(here: Command, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    here("cache", "cd", str(disk))
    add_managed(disk, "m:1")
    assert "m:1" in listed(here)
    disk.rename(tmp_path / "unplugged")
    disk.mkdir()
    output = here("cache", "list")
    assert "foundry-guide" in output.stdout
    assert f"The cache directory {disk} is not available: it is not the directory that was set." in output.stderr
    for command in (("remove", "--all", "--yes"), ("prune", "--yes")):
        refused = here("cache", *command)
        assert (refused.code, "is not available" in refused.stderr) == (1, True)
    assert list(disk.iterdir()) == []
    disk.rmdir()
    assert here("cache", "location").code == 0
    assert not disk.exists()
    (tmp_path / "unplugged").rename(disk)
    assert "m:1" in listed(here)


def test_a_directory_that_another_program_has_set_is_not_made_anew(here: Command, tmp_path: Path) -> None:
    disk, mirror = tmp_path / "disk", tmp_path / "mirror"
    add_managed(mirror, "m:1")
    (tmp_path / "home").mkdir()
    settings = {"serviceSettings": {"cacheDirectoryPath": str(disk)}}
    (tmp_path / "home" / "foundry.config.json").write_text(json.dumps(settings))
    assert f"The cache directory {disk} is not available: the directory is missing." in here("cache", "list").stderr
    output = here("cache", "import", str(mirror))
    assert (output.code, "is not available" in output.stderr) == (1, True)
    assert not disk.exists()
    disk.mkdir()
    assert here("cache", "list").stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.slow
def test_cd_does_not_leave_a_service_that_hangs_behind(foundry: Foundry, fresh_service: RunningService, tmp_path: Path) -> None:
    home, directory = fresh_service.paths.home, tmp_path / "new"
    os.kill(fresh_service.client.record.pid, signal.SIGSTOP)
    try:
        output = foundry("cache", "cd", str(directory), home=home)
        assert (output.code, "foundry service restart" in output.stderr) == (3, True), output
    finally:
        os.kill(fresh_service.client.record.pid, signal.SIGCONT)
    assert json.loads(foundry("cache", "location", "-o", "json", home=home).stdout)["userSet"] is False


@pytest.mark.parametrize("command", ["verify", "remove", "export"])
def test_the_usage_has_no_brackets_too_many(here: Command, command: str) -> None:
    assert here("cache", command, "--help").stdout.splitlines()[0].endswith(" [MODEL]...")


def test_what_cannot_be_fetched_again_is_not_sent_to_a_repair(here: Command, cache: Path) -> None:
    (add_managed(cache, "mine:1", source="local") / "v1" / "model.onnx").unlink()
    (add_managed(cache, "blurred:1") / MANIFEST).write_text("{")
    listing = here("cache", "list").stdout
    assert "cache repair" not in listing
    for name, problem in (("mine", "v1/model.onnx: is missing"), ("blurred", "foundry.manifest.json cannot be used")):
        assert f"It cannot be repaired. 'foundry cache remove {name}:1' deletes it." in listing
        assert "cache repair" not in here("cache", "verify", name).stdout
        output = here("cache", "repair", name)
        assert (output.code, problem in output.stderr, "cache remove" in output.stderr) == (1, True, True), output


def test_a_folder_that_is_called_as_the_bundled_model_can_be_verified_and_removed(here: Command, cache: Path) -> None:
    root = add_managed(cache, "foundry-guide-generic-cpu:1")
    assert "foundry-guide-generic-cpu:1: 3 files" in here("cache", "verify").stdout
    assert here("cache", "remove", "foundry-guide-generic-cpu:1", "--yes").code == 0
    assert not root.exists()
    assert "foundry-guide" in here("cache", "list").stdout


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_read_only_directory_can_be_chosen(here: Command, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    add_managed(disk, "m:1")
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        output = here("cache", "cd", str(disk))
        assert (output.code, "none can be added" in output.stderr) == (0, True), output
        assert "m:1" in listed(here)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert not (disk / MARKER).exists()


def test_the_default_directory_needs_no_marker(here: Command, cache: Path, tmp_path: Path) -> None:
    here("cache", "cd", str(tmp_path / "elsewhere"))
    here("cache", "cd", str(cache))
    assert not (cache / MARKER).exists()
    assert json.loads(here("cache", "location", "-o", "json").stdout)["userSet"] is False
    cache.rmdir()
    assert here("cache", "list").stderr == ""


def test_cd_is_taken_over_by_the_running_service(foundry: Foundry, fresh_service: RunningService, tmp_path: Path) -> None:
    home = fresh_service.paths.home
    add_model(fresh_service.paths, "old:1", ["from the old one"])
    fresh_service.client.load("old")
    directory = tmp_path / "new"
    add_managed(directory, "new:1")
    output = foundry("cache", "cd", str(directory), home=home)
    assert output.stdout.splitlines() == [
        "🟢 The running service uses the new directory; loaded models stay loaded.",
        f"💾 Cache directory path: {directory}",
    ]
    assert fresh_service.client.is_alive()  # the very same
    assert fresh_service.client.loaded_models() == ["old:1"]
    assert fresh_service.client.complete("old", [{"role": "user", "content": "x"}])["choices"]
    cached = {model["name"] for model in fresh_service.client.models() if model["cached"]}
    assert cached == {"foundry-guide-generic-cpu:1", "new:1"}
    assert fresh_service.client.status()["modelDirPath"] == str(directory)


def test_set_cachedir_does_the_same(foundry: Foundry, fresh_service: RunningService, tmp_path: Path) -> None:
    output = foundry("service", "set", "--cachedir", str(tmp_path / "new"), home=fresh_service.paths.home)
    assert "Restarting" not in output.stdout
    assert fresh_service.client.status()["modelDirPath"] == str(tmp_path / "new")
    assert (tmp_path / "new" / MARKER).exists()


def test_things_that_are_no_models_are_neither_followed_nor_waited_for(
    here: Command, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = add_managed(tmp_path / "outside", "outside:1")
    (cache / "link").symlink_to(outside)
    for name in ("genai_config.json", "inference_model.json"):
        (cache / "pipes").mkdir(exist_ok=True)
        os.mkfifo(cache / "pipes" / name)
    (cache / "sockets").mkdir()
    monkeypatch.chdir(cache)  # the address of a socket must be short
    for name in ("genai_config.json", "inference_model.json"):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"sockets/{name}")
    if os.getuid() == 0:
        (cache / "devices").mkdir()
        os.mknod(cache / "devices" / "genai_config.json", 0o20600, os.makedev(1, 5))  # /dev/zero: endless
        os.mknod(cache / "devices" / "inference_model.json", 0o20600, os.makedev(1, 5))
    os.makedirs(os.fsencode(cache) + b"/\xff\xfe")
    expected = {"pipes:0", "sockets:0"} | ({"devices:0"} if os.getuid() == 0 else set())
    assert set(listed(here)) == {"foundry-guide-generic-cpu:1"} | expected
    assert here("cache", "remove", *expected, "--yes").code == 0  # what can be seen can be removed
    assert not [path for path in cache.iterdir() if path.name in ("pipes", "sockets", "devices")]
    assert (outside / "v1" / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_read_only_cache_lists_loads_and_runs_and_says_early_what_it_cannot(foundry: Foundry, tmp_path: Path) -> None:
    home = tmp_path / "home"
    add_model(Paths(home), "mine:1", ["hello"])
    cache = Paths(home).default_cache
    add_managed(cache, "other:1")
    half = add_partial(cache)
    subprocess.run(["mount", "--bind", str(cache), str(cache)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(cache)], check=True)
        assert {"mine:1", "other:1", "half:1"} <= set(listed(foundry))
        assert foundry("model", "run", "mine", "--prompt", "x").stdout.strip() == "hello"
        assert foundry("cache", "verify").code == 0
        for name in ("other", "half:1"):
            output = foundry("cache", "remove", name, "--yes")
            assert (output.code, "Read-only file system" in output.stderr) == (1, True), output
        assert foundry("cache", "prune", "--yes").code == 0  # whose download it is cannot be seen, so it stays
        moved = foundry("cache", "move", str(tmp_path / "n"))
        assert (moved.code, "Read-only file system" in moved.stderr) == (0, True), moved
        foundry("service", "stop")
    finally:
        subprocess.run(["umount", str(cache)], check=True)
    assert half.is_dir()
    assert {"mine:1", "other:1"} <= set(listed(foundry))
    assert "half:1" not in listed(foundry)
    assert foundry("cache", "cd", str(cache)).code == 0
    assert {"mine:1", "other:1", "half:1"} <= set(listed(foundry))


@pytest.mark.parametrize("command", [["export", ""], ["import", " "]])
def test_a_directory_without_a_name_is_not_the_one_you_are_in(here: Command, cache: Path, command: list[str]) -> None:
    output = here("cache", *command)
    assert output.code != 0
    assert "has no name" in output.stderr


def test_a_time_that_has_no_date_is_no_obstacle(here: Command, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "mine:1", ["hello"])
    (tmp_path / "home" / "usage.json").write_text('{"mine:1": 3e11}')
    assert "mine:1" in listed(here)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_others_may_read_in_a_cache_what_the_umask_lets_them(here: Command, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    before = os.umask(0o022)
    try:
        assert here("cache", "cd", str(shared)).code == 0
        write_scripted_model(tmp_path / "mine", ["hello"], name="mine:1")
        assert here("model", "add", str(tmp_path / "mine"), "--name", "mine:1").code == 0
    finally:
        os.umask(before)
    files = [path for path in shared.rglob("*") if path.is_file()]
    assert {MARKER, MANIFEST} <= {path.name for path in files}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can become another user")
def test_the_marker_of_another_user_is_not_replaced(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mark_cache(shared)
    (shared / MARKER).chmod(0o600)
    before = (shared / MARKER).read_bytes()
    tmp_path.chmod(0o755)
    shared.chmod(0o777)
    os.seteuid(2002)
    try:
        with pytest.raises(CacheError, match="cannot be read"):
            mark_cache(shared)
    finally:
        os.seteuid(0)
    assert (shared / MARKER).read_bytes() == before

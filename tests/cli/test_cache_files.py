"""`foundry cache verify`, `repair`, `move`, `export` and `import`: what happens to the files of models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.paths import Paths
from foundry_cli.store.cache import scan
from foundry_cli.store.cache_marker import MARKER
from foundry_cli.store.manifest import MANIFEST
from tests.cli.in_process import Command
from tests.conftest import RunningService, add_model
from tests.fakes.mirror import served, write_mirror
from tests.store.managed import WEIGHTS, add_managed
from tests.store.test_removal import add_partial


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


def flip(file: Path) -> None:
    """Let one bit of a file rot."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_verify_says_of_each_model_whether_its_bytes_are_right(foundry: Command, cache: Path, tmp_path: Path) -> None:
    add_managed(cache, "good:1")
    flip(add_managed(cache, "rotten:1") / "v1" / "model.onnx")
    (add_managed(cache, "torn:1") / "v1" / "model.onnx").unlink()
    add_model(Paths(tmp_path / "home"), "own:1", ["hello"])
    add_partial(cache)
    output = foundry("cache", "verify")
    assert output.code == 1
    lines = {
        line.split(":")[0].removeprefix("✓ ").removeprefix("✗ ").removeprefix("• "): line for line in output.stdout.splitlines()
    }
    assert lines["good"] == "✓ good:1: 3 files, 0.00 GB, all as they were downloaded"
    assert lines["rotten"].startswith("✗ rotten:1: v1/model.onnx: ")
    assert lines["torn"] == "✗ torn:1: v1/model.onnx: is missing"
    assert lines["own"] == "• own:1: no hashes are known, its files were put there by hand"
    assert lines["half"] == "• half:1: the download is not complete"
    assert "  'foundry cache repair rotten:1' fetches again what is wrong, " in output.stdout


def test_verify_for_programs(foundry: Command, cache: Path) -> None:
    add_managed(cache, "good:1")
    flip(add_managed(cache, "rotten:1") / "v1" / "model.onnx")
    output = foundry("cache", "verify", "rotten", "good", "-o", "json")
    assert output.code == 1
    rotten, good = json.loads(output.stdout)["models"]
    assert (good["id"], good["state"], good["problems"], good["files"]) == ("good:1", "good", [], 3)
    assert (rotten["id"], rotten["state"], len(rotten["problems"])) == ("rotten:1", "damaged", 1)
    assert foundry("cache", "verify", "good").code == 0
    assert foundry("cache", "verify", "nothing").code == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [("half", "half:1 is not complete"), ("foundry-guide", "part of the program"), ("own", "nothing to compare")],
)
def test_what_cannot_be_repaired_says_why(foundry: Command, cache: Path, tmp_path: Path, name: str, words: str) -> None:
    add_partial(cache)
    add_model(Paths(tmp_path / "home"), "own:1", ["hello"])
    output = foundry("cache", "repair", name)
    assert (output.code, words in output.stderr) == (1, True), output.stderr


def test_a_sound_model_needs_no_repair(foundry: Command, cache: Path) -> None:
    add_managed(cache, "good:1")
    assert foundry("cache", "repair", "good").stdout == "Model good:1 is undamaged.\n"


def test_a_repair_fetches_only_the_chunk_that_is_damaged(foundry: Command, cache: Path, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path / "made", {"m:1": "hello"}, ballast=5 * CHUNK_BYTES)
    with served(mirror) as server:
        assert foundry("catalog", "add", server.url).code == 0
        assert foundry("model", "download", "m").code == 0
        flip(cache / "Tests" / "m-1" / "ballast.bin")
        assert foundry("cache", "verify", "m").code == 1
        server.seen.clear()
        output = foundry("cache", "repair", "m")
    assert (output.code, output.stdout.splitlines()[-1]) == (0, "Model m:1 is repaired."), output
    ranges = [seen.headers["range"] for seen in server.seen if seen.path.endswith("ballast.bin")]
    assert ranges == [f"bytes={2 * CHUNK_BYTES}-{3 * CHUNK_BYTES - 1}"]
    assert foundry("cache", "verify", "m").code == 0


@pytest.mark.parametrize("is_same", [True, False])
def test_a_repair_asks_another_catalog_when_that_of_the_model_is_gone(
    foundry: Command, cache: Path, tmp_path: Path, is_same: bool
) -> None:
    mirror = write_mirror(tmp_path / "made", {"m:1": "hello"}, ballast=CHUNK_BYTES)
    other = mirror if is_same else write_mirror(tmp_path / "else", {"m:1": "other"}, ballast=CHUNK_BYTES)
    assert foundry("catalog", "add", str(mirror), "--name", "one").code == 0
    assert foundry("model", "download", "m").code == 0
    flip(cache / "Tests" / "m-1" / "ballast.bin")
    assert foundry("catalog", "remove", "one").code == 0
    with served(other) as server:
        assert foundry("catalog", "add", server.url, "--name", "two").code == 0
        output = foundry("cache", "repair", "m")
    if is_same:
        assert (output.code, output.stdout.splitlines()[-1]) == (0, "Model m:1 is repaired."), output
    else:
        assert "The m:1 of the catalog two is not what was downloaded" in output.stderr
    assert foundry("cache", "verify", "m").code == (0 if is_same else 1)


def test_move_takes_models_and_the_running_service_along(
    foundry: Command, fresh_service: RunningService, tmp_path: Path
) -> None:
    paths, client, new = fresh_service.paths, fresh_service.client, tmp_path / "new"
    add_model(paths, "loaded:1", ["hello"])
    add_managed(paths.default_cache, "m:1")
    (paths.default_cache / "notes.txt").write_text("mine")
    client.load("loaded")
    output = foundry("cache", "move", str(new), home=paths.home)
    assert output.code == 0, output
    assert output.stdout.splitlines()[0].startswith("Copying 2 models, 0.00 GB, to ")
    assert output.stdout.splitlines()[-1] == f"💾 Cache directory path: {new}"
    assert client.complete("loaded", [{"role": "user", "content": "x"}])["choices"][0]["message"]["content"] == "hello"
    assert client.status()["modelDirPath"] == str(new)
    assert [model.id for model in scan(new).models] == ["loaded:1", "m:1"]
    assert (new / MARKER).exists()
    assert [path.name for path in paths.default_cache.iterdir()] == ["notes.txt"]
    client.unload("loaded")
    assert client.complete("loaded", [{"role": "user", "content": "x"}])["choices"][0]["message"]["content"] == "hello"


def test_a_move_that_is_refused_changes_nothing(foundry: Command, cache: Path, tmp_path: Path) -> None:
    root = add_managed(cache, "m:1")
    for place in (str(cache), str(cache / "below")):
        assert foundry("cache", "move", place).code == 2
    flip(root / "v1" / "model.onnx")
    output = foundry("cache", "move", str(tmp_path / "new"))
    assert (output.code, "SHA-256" in output.stderr) == (5, True), output
    assert (root / MANIFEST).exists()
    assert json.loads(foundry("cache", "location", "-o", "json").stdout)["userSet"] is False


def test_an_exported_mirror_is_imported_elsewhere(foundry: Command, cache: Path, tmp_path: Path) -> None:
    add_managed(cache, "m:1", alias="em")
    add_model(Paths(tmp_path / "home"), "own:1", ["hello"])
    output = foundry("cache", "export", str(tmp_path / "mirror"))
    assert output.stdout.splitlines()[:2] == ["Exported m:1", "Exported own:1"]
    assert (tmp_path / "mirror" / "index.json").exists()
    other = tmp_path / "other"
    imported = foundry("cache", "import", str(tmp_path / "mirror"), home=other)
    assert imported.stdout.splitlines() == ["Imported m:1", "Imported own:1"]
    models = {model.id: model for model in scan(Paths(other).default_cache).models}
    assert (models["m:1"].alias, models["m:1"].problem) == ("em", "")
    again = foundry("cache", "import", str(tmp_path / "mirror"), home=other)
    assert again.stdout.splitlines() == [f"Model {name} was found in the local cache." for name in ("m:1", "own:1")]


def test_what_is_not_complete_is_not_exported(foundry: Command, cache: Path, tmp_path: Path) -> None:
    (add_managed(cache, "torn:1") / "v1" / "model.onnx").write_bytes(WEIGHTS[1:])
    output = foundry("cache", "export", str(tmp_path / "mirror"), "torn")
    assert (output.code, "torn:1 is not complete" in output.stderr) == (1, True)
    assert foundry("cache", "export", str(tmp_path / "mirror")).code == 4
    assert not (tmp_path / "mirror").exists()


def test_an_import_of_nothing_is_refused(foundry: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert foundry("cache", "import", str(tmp_path / "empty")).code == 4
    assert foundry("cache", "import", str(tmp_path / "none")).code == 1

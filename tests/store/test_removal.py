"""Removing models and downloads: all or nothing in every list, and nothing that belongs to others."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.errors import CacheError, ModelInUseError
from foundry_cli.store.cache import REMOVED, CacheScan, scan, scan_cache
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.journal import Journal
from foundry_cli.store.manifest import MANIFEST
from foundry_cli.store.removal import is_downloading, plan_removal, remove, sweep_trash
from foundry_cli.types import ModelInfo
from tests.store.dying import kill_everywhere, literal, program
from tests.store.managed import WEIGHTS, add_managed


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache directory."""
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


def add(cache: Path, place: str, model_id: str) -> Path:
    """A model without a manifest."""
    directory = cache / place
    directory.mkdir(parents=True)
    (directory / "inference_model.json").write_text(json.dumps({"Name": model_id}))
    (directory / "genai_config.json").write_text("{}")
    return directory


def add_partial(cache: Path, *, journal: bool = True) -> Path:
    """A download that was interrupted; its root."""
    root = cache / "Tests" / "half-1"
    (root / "v1").mkdir(parents=True)
    (root / "download.tmp").touch()
    (root / "v1" / "model.onnx.partial").write_bytes(WEIGHTS)
    (root / "v1" / "tokenizer.json").write_text("{}")
    if journal:
        made = Journal(root)
        made.begin("v1/model.onnx", 2 * len(WEIGHTS), "", "")
        made.begin("v1/tokenizer.json", 2, "", "")
        made.close()
    return root


def partial_model(cache: Path) -> ModelInfo:
    """What is removed when a download is."""
    (partial,) = scan(cache).partials
    return ModelInfo("half", 1, "half", root=partial.root)


def ids(cache: Path) -> list[str]:
    """What can be used."""
    return [model.id for model in scan_cache(cache) if not model.problem]


def remove_model(cache: Path, model_id: str) -> None:
    """Remove one model."""
    (model,) = [model for model in scan_cache(cache) if model.id == model_id]
    remove(plan_removal(model, cache), cache)


def test_removal_leaves_what_is_not_the_model(cache: Path) -> None:
    add(cache, "P/model-1/v1", "model:1")
    add(cache, "P/other/v1", "other:1")
    (model,) = [model for model in scan_cache(cache) if model.name == "model"]
    plan = plan_removal(model, cache)
    assert plan.size_bytes == model.size_bytes
    remove(plan, cache)
    assert ids(cache) == ["other:1"]
    assert sorted(entry.name for entry in cache.iterdir()) == ["P"]
    assert [entry.name for entry in (cache / "P").iterdir()] == ["other"]
    with pytest.raises(CacheError, match="cannot be removed"):
        remove(plan, cache)


def test_removal_keeps_folders_with_other_files(cache: Path) -> None:
    add(cache, "P/model/v1", "model:1")
    (cache / "P" / "notes.txt").write_text("mine")
    remove_model(cache, "model:1")
    assert (cache / "P" / "notes.txt").read_text() == "mine"
    assert not (cache / "P" / "model").exists()


def test_removal_does_not_follow_links(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (add(cache, "model", "model:1") / "link").symlink_to(tmp_path / "mine")
    remove_model(cache, "model:1")
    assert [path.name for path in (cache / "model").iterdir()] == ["link"]
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_only_what_is_in_the_cache_is_removed(cache: Path, tmp_path: Path) -> None:
    add(tmp_path / "elsewhere", "model", "model:1")
    (model,) = scan_cache(tmp_path / "elsewhere")
    for place in (cache, tmp_path / "elsewhere" / "model"):
        with pytest.raises(CacheError, match="not in the cache"):
            plan_removal(model, place)


def test_files_of_others_in_the_folder_of_a_model_stay(cache: Path, tmp_path: Path) -> None:
    root = add_managed(cache, "m:1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (root / "notes.txt").write_text("mine")
    (root / "v1" / "adapter.bin").write_text("mine")
    (root / "v1" / "link").symlink_to(tmp_path / "mine")
    (model,) = scan_cache(cache)
    plan = plan_removal(model, cache)
    assert plan.foreign == ("notes.txt", "v1/adapter.bin", "v1/link")
    remove(plan, cache)
    assert scan(cache) == CacheScan()
    left = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    assert left == ["notes.txt", "v1", "v1/adapter.bin", "v1/link"]
    assert (tmp_path / "mine" / "file").exists()


def test_a_damaged_model_can_be_removed(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    (root / "v1" / "model.onnx").unlink()
    (model,) = scan_cache(cache)
    remove(plan_removal(model, cache), cache)
    assert list(cache.iterdir()) == []


def test_a_folder_that_became_a_link_is_not_entered(cache: Path, tmp_path: Path) -> None:
    root = add_managed(cache, "m:1")
    (root / "notes.txt").write_text("mine")
    (root / "v1").rename(tmp_path / "mine")
    (root / "v1").symlink_to(tmp_path / "mine")
    (model,) = scan_cache(cache)
    remove(plan_removal(model, cache), cache)
    assert (tmp_path / "mine" / "model.onnx").read_bytes() == WEIGHTS
    assert sorted(entry.name for entry in root.iterdir()) == ["notes.txt", "v1"]


@pytest.mark.parametrize("journal", [True, False])
def test_a_download_can_be_removed(cache: Path, journal: bool) -> None:
    add_partial(cache, journal=journal)
    plan = plan_removal(partial_model(cache), cache)
    assert plan.size_bytes >= len(WEIGHTS)
    remove(plan, cache)
    assert list(cache.iterdir()) == []


def test_a_download_leaves_files_of_others(cache: Path) -> None:
    root = add_partial(cache)
    (root / "notes.txt").write_text("mine")
    remove(plan_removal(partial_model(cache), cache), cache)
    assert [entry.name for entry in root.iterdir()] == ["notes.txt"]
    assert scan(cache).partials == ()


_HOLDER = """
import sys, threading
from pathlib import Path
from foundry_cli.store.download_lock import DownloadLock
lock = DownloadLock(Path(sys.argv[1]))
assert lock.acquire(threading.Event(), lambda done: None)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def downloading(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock of a download."""
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_is_being_downloaded_stays(cache: Path) -> None:
    root = add_partial(cache)
    with downloading(root) as process:
        assert is_downloading(root)
        with pytest.raises(ModelInUseError, match="is being downloaded"):
            remove(plan_removal(partial_model(cache), cache), cache)
        assert (root / "v1" / "model.onnx.partial").read_bytes() == WEIGHTS
        process.kill()
        process.wait()
        assert not is_downloading(root)
        remove(plan_removal(partial_model(cache), cache), cache)
    assert list(cache.iterdir()) == []


def test_a_marker_that_is_no_file_locks_nothing(cache: Path) -> None:
    root = add_partial(cache)
    (root / "download.tmp").unlink()
    os.mkfifo(root / "download.tmp")
    remove(plan_removal(partial_model(cache), cache), cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("kind", ["managed", "foreign", pytest.param("own", marks=pytest.mark.slow)])
def test_a_kill_at_any_change_leaves_a_model_whole_or_gone(tmp_path: Path, kind: str) -> None:
    def prepare(attempt: int) -> str:
        cache = tmp_path / str(attempt)
        if kind == "own":
            add(cache, "Tests/m-1/v1", "m:1")
        else:
            root = add_managed(cache, "m:1")
            if kind == "foreign":
                (root / "v1" / "notes.txt").write_text("mine")
        add_managed(cache, "other:1")
        return program(
            "from foundry_cli.store.removal import plan_removal, remove\nfrom foundry_cli.store.cache import scan_cache",
            f"cache = {literal(cache)}",
            "model = next(model for model in scan_cache(cache) if model.name == 'm')",
            "remove(plan_removal(model, cache), cache)",
        )

    def check(attempt: int) -> None:
        cache = tmp_path / str(attempt)
        found = scan(cache)
        assert found.partials == ()
        assert [model.id for model in found.models] in (["m:1", "other:1"], ["other:1"])
        assert not [model for model in found.models if model.problem]
        was_there = len(found.models) == 2
        sweep_trash(cache)
        assert len(scan(cache).models) == 1 + was_there
        if not was_there:
            left = [path.name for path in cache.rglob("*") if path.is_file() and "other-1" not in path.parts]
            assert left == (["notes.txt"] if kind == "foreign" else [])

    assert kill_everywhere(prepare, check) >= 4


def test_a_kill_during_the_removal_of_a_download_leaves_no_model_and_no_loss_of_others(tmp_path: Path) -> None:
    def prepare(attempt: int) -> str:
        (add_partial(tmp_path / str(attempt)) / "notes.txt").write_text("mine")
        return program(
            "from foundry_cli.store.removal import plan_removal, remove\nfrom foundry_cli.types import ModelInfo",
            f"cache = {literal(tmp_path / str(attempt))}",
            "remove(plan_removal(ModelInfo('half', 1, 'half', root=cache / 'Tests' / 'half-1'), cache), cache)",
        )

    def check(attempt: int) -> None:
        cache = tmp_path / str(attempt)
        found = scan(cache)
        assert found.models == ()
        if found.partials:
            remove(plan_removal(partial_model(cache), cache), cache)
        assert (cache / "Tests" / "half-1" / "notes.txt").read_text() == "mine"

    assert kill_everywhere(prepare, check) >= 3


def test_what_comes_back_during_a_removal_is_not_swept(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    shutil.copy(root / MANIFEST, root / REMOVED)
    sweep_trash(cache)
    assert ids(cache) == ["m:1"]
    (root / MANIFEST).rename(root / REMOVED)
    lock = DownloadLock(root)
    assert lock.acquire(threading.Event(), lambda _: None)
    sweep_trash(cache)
    lock.release()
    assert (root / "v1" / "model.onnx").exists()


def test_trash_is_swept(cache: Path, tmp_path: Path) -> None:
    add(cache, ".foundry-trash-1/deep", "trash:1")
    add(cache, "model", "model:1")
    add(tmp_path, "mine", "mine:1")
    (cache / ".foundry-trash-2").symlink_to(tmp_path / "mine")
    sweep_trash(cache)
    assert not (cache / ".foundry-trash-1").exists()
    assert ids(cache) == ["model:1"]
    assert (tmp_path / "mine" / "genai_config.json").exists()
    sweep_trash(tmp_path / "none")
    (tmp_path / "file").touch()
    sweep_trash(tmp_path / "file")


def test_files_of_others_stay_where_the_manifest_cannot_be_used(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    os.truncate(root / MANIFEST, 20)
    (root / "users.txt").write_text("mine")
    (model,) = scan_cache(cache)
    plan = plan_removal(model, cache)
    assert plan.foreign == ("users.txt",)
    remove(plan, cache)
    assert [path.name for path in root.iterdir()] == ["users.txt"]
    assert scan(cache) == CacheScan()


def test_locks_of_the_original_do_not_keep_its_folder(cache: Path) -> None:
    folder = add(cache, "Microsoft/two-4/v4", "two:4")
    for name in (".download.lock", ".download.progress"):
        (folder.parent / name).touch()
    remove_model(cache, "two:4")
    assert list(cache.iterdir()) == []


def test_models_inside_of_models_are_seen_and_removed_one_by_one(cache: Path) -> None:
    outer, inner = add(cache, "n", "one:1"), add(cache, "n/inner", "two:1")
    managed = add_managed(outer / "deep", "three:1")
    assert sorted(ids(cache)) == ["one:1", "three:1", "two:1"]
    sizes = {model.id: model.size_bytes for model in scan_cache(cache)}
    assert sizes["one:1"] == sum(path.stat().st_size for path in outer.iterdir() if path.is_file())
    remove_model(cache, "one:1")
    assert sorted(ids(cache)) == ["three:1", "two:1"]
    remove_model(cache, "two:1")
    assert not inner.exists()
    assert (managed / "v1" / "model.onnx").read_bytes() == WEIGHTS


def test_a_model_inside_of_a_downloaded_one_is_not_removed_with_it(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    inner = add_managed(root, "inner:1")
    remove_model(cache, "m:1")
    assert ids(cache) == ["inner:1"]
    assert (inner / MANIFEST).exists()


def test_a_kill_between_the_files_of_an_original_leaves_no_half_model(tmp_path: Path) -> None:
    def prepare(attempt: int) -> str:
        folder = add(tmp_path / str(attempt), "two-4/v4", "two:4")
        (folder / "notes.txt").write_text("mine")
        return program(
            "from foundry_cli.store.removal import plan_removal, remove\nfrom foundry_cli.store.cache import scan_cache",
            f"cache = {literal(tmp_path / str(attempt))}",
            "remove(plan_removal(scan_cache(cache)[0], cache), cache)",
        )

    def check(attempt: int) -> None:
        cache = tmp_path / str(attempt)
        was_there = ids(cache) == ["two:4"]
        assert scan(cache).partials == ()
        sweep_trash(cache)
        assert ids(cache) == (["two:4"] if was_there else [])
        notes = cache / "two-4" / "v4" / "notes.txt"
        assert notes.read_text() == "mine"
        assert was_there or [path.name for path in notes.parent.iterdir()] == ["notes.txt"]

    assert kill_everywhere(prepare, check) >= 4


def test_a_journal_that_was_left_beside_a_model_does_not_keep_it(cache: Path) -> None:
    folder = add(cache, "model", "model:1")
    journal = Journal(folder)
    journal.begin("genai_config.json", 2, "", "")
    journal.close()
    (folder / "notes.txt").write_text("mine")
    remove_model(cache, "model:1")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_folder_that_cannot_be_renamed_is_deleted_file_by_file(cache: Path, is_whole: bool) -> None:
    """As a folder of an image's layer below an overlay."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))

    root = add_managed(cache, "tiny:1")
    remove(replace(plan_removal(scan_cache(cache)[0], cache), is_whole=is_whole), cache, refuse)
    assert not root.exists()
    assert scan_cache(cache) == []

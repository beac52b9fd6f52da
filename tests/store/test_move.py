"""Moving a cache: nothing is lost, whenever it ends."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from foundry_cli.errors import (
    CacheError,
    DiskFullError,
    DownloadCancelledError,
    IntegrityError,
    InvalidRequestError,
    ModelInUseError,
)
from foundry_cli.store.cache import TRASH_PREFIX, scan
from foundry_cli.store.manifest import CHUNKS, MANIFEST
from foundry_cli.store.move import MovePlan, copy_models, delete_moved, plan_move
from tests.store.dying import kill_everywhere, literal, program
from tests.store.managed import WEIGHTS, add_managed
from tests.store.test_removal import add, add_partial, downloading


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with a downloaded model, an own one and a download that was interrupted."""
    directory = tmp_path / "cache"
    fill(directory)
    return directory


def fill(directory: Path) -> None:
    """Models and a download, with files of others between them."""
    os.utime(add_managed(directory, "m:1"), (1000, 1000))
    (add(directory, "own", "own:1") / "extra.bin").write_bytes(WEIGHTS)
    add_partial(directory)
    (directory / "foundry.modelinfo.json").write_text("{}")
    (directory / "notes.txt").write_text("mine")
    (directory / "Tests" / "m-1" / "notes.txt").write_text("mine")
    os.utime(directory / "Tests" / "m-1", (1000, 1000))


def contents(directory: Path) -> dict[str, bytes]:
    """All files by path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def move(plan: MovePlan) -> list[str]:
    """All of it."""
    return delete_moved(plan, copy_models(plan))


def test_what_a_deletion_has_left_in_the_old_place_is_named(cache: Path, tmp_path: Path) -> None:
    plan = plan_move(cache, tmp_path / "new")
    copied = copy_models(plan)
    left = cache / f"{TRASH_PREFIX}of-another-time"
    left.mkdir()
    (problem,) = delete_moved(plan, copied)
    assert problem.startswith(f"{left} could not be deleted")


def test_everything_that_belongs_to_models_moves_and_nothing_else(cache: Path, tmp_path: Path) -> None:
    before = contents(cache)
    new = tmp_path / "new" / "place"
    reports: list[tuple[int, int]] = []
    plan = plan_move(cache, new)
    copied = copy_models(plan, lambda done, total: reports.append((done, total)))
    assert contents(cache) == before
    assert reports[-1] == (plan.size_bytes, plan.size_bytes)
    assert delete_moved(plan, copied) == []
    notes = {path: content for path, content in before.items() if path.endswith("notes.txt")}
    assert contents(cache) == notes
    assert contents(new) == {path: content for path, content in before.items() if path not in notes}
    found = scan(new)
    assert [(model.id, model.problem) for model in found.models] == [("m:1", ""), ("own:1", "")]
    assert [partial.id for partial in found.partials] == ["half:1"]
    assert (new / "Tests" / "m-1").stat().st_mtime == 1000  # since then it is here, for `prune`


def test_a_cache_without_anything_else_is_gone_afterwards(tmp_path: Path) -> None:
    add_managed(tmp_path / "cache", "m:1")
    move(plan_move(tmp_path / "cache", tmp_path / "new"))
    assert not (tmp_path / "cache").exists()
    assert move(plan_move(tmp_path / "new", tmp_path / "cache")) == []


@pytest.mark.parametrize("place", [".", "below", "..", "../link"])
def test_one_directory_inside_the_other_is_refused(cache: Path, place: str) -> None:
    (cache.parent / "link").symlink_to(cache)
    with pytest.raises(InvalidRequestError):
        plan_move(cache, Path(os.path.abspath(cache / place)))


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_change_loses_nothing_and_the_next_move_ends_it(tmp_path: Path, step: int) -> None:
    def prepare(attempt: int) -> str:
        fill(tmp_path / str(attempt) / "cache")
        return program(
            "from foundry_cli.store.move import copy_models, plan_move",
            f"base = {literal(tmp_path / str(attempt))}",
            "copy_models(plan_move(base / 'cache', base / 'new'))",
        )

    def check(attempt: int) -> None:
        old, new = tmp_path / str(attempt) / "cache", tmp_path / str(attempt) / "new"
        before = contents(old)
        fill(tmp_path / str(attempt) / "same")
        assert before == contents(tmp_path / str(attempt) / "same")
        for model in scan(new).models:
            assert not model.problem
        move(plan_move(old, new))
        for probe in new.glob(".foundry-probe-*"):  # `prune` deletes it
            probe.unlink()
        assert contents(new).items() <= before.items()
        assert [model.id for model in scan(new).models] == ["m:1", "own:1"]
        assert len(scan(new).partials) == 1

    assert kill_everywhere(prepare, check, step) >= 20


def test_a_second_attempt_copies_only_what_is_not_there(cache: Path, tmp_path: Path) -> None:
    copy_models(plan_move(cache, tmp_path / "new"))
    stamp = (tmp_path / "new" / "Tests" / "m-1" / "v1" / "model.onnx").stat()
    own = (tmp_path / "new" / "own" / "extra.bin").stat()
    move(plan_move(cache, tmp_path / "new"))
    assert (tmp_path / "new" / "Tests" / "m-1" / "v1" / "model.onnx").stat().st_ino == stamp.st_ino
    assert (tmp_path / "new" / "own" / "extra.bin").stat().st_ino == own.st_ino


@pytest.mark.parametrize("place", ["Tests/m-1", "own"])
def test_something_else_in_the_new_place_is_not_overwritten(cache: Path, tmp_path: Path, place: str) -> None:
    other = tmp_path / "new" / place
    other.mkdir(parents=True)
    (other / "genai_config.json").write_text('"mine"')
    before = contents(cache)
    with pytest.raises(CacheError, match="something else"):
        plan_move(cache, tmp_path / "new")
    assert contents(cache) == before
    assert contents(tmp_path / "new") == {f"{place}/genai_config.json": b'"mine"'}


def test_bytes_that_are_not_those_of_the_manifest_stop_the_move(cache: Path, tmp_path: Path) -> None:
    (cache / "Tests" / "m-1" / "v1" / "model.onnx").write_bytes(WEIGHTS[::-1])
    with pytest.raises(IntegrityError):
        copy_models(plan_move(cache, tmp_path / "new"))
    assert "m:1" not in [model.id for model in scan(tmp_path / "new").models]
    assert len(scan(cache).models) == 2


def test_a_damaged_model_moves_as_it_is(cache: Path, tmp_path: Path) -> None:
    (cache / "Tests" / "m-1" / "v1" / "model.onnx").write_bytes(WEIGHTS[:7])
    problem = scan(cache).models[0].problem
    move(plan_move(cache, tmp_path / "new"))
    assert scan(tmp_path / "new").models[0].problem == problem != ""


def test_a_model_with_links_stays_and_is_named(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(WEIGHTS)
    (cache / "own" / "weights").symlink_to(tmp_path / "weights")
    plan = plan_move(cache, tmp_path / "new")
    move(plan)
    assert plan.left == (f"{cache / 'own'} stays where it is, because weights in it is a link or no plain file.",)
    assert [model.id for model in scan(cache).models] == ["own:1"]
    assert [model.id for model in scan(tmp_path / "new").models] == ["m:1"]


def test_nothing_moves_during_a_download(cache: Path, tmp_path: Path) -> None:
    with downloading(cache / "Tests" / "half-1"), pytest.raises(ModelInUseError):
        plan_move(cache, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_cancelled_move_leaves_the_old_cache_in_force(cache: Path, tmp_path: Path) -> None:
    before = contents(cache)
    cancelled = threading.Event()
    plan = plan_move(cache, tmp_path / "new")
    with pytest.raises(DownloadCancelledError):
        copy_models(plan, lambda done, total: cancelled.set(), cancelled)
    assert contents(cache) == before
    move(plan_move(cache, tmp_path / "new"))
    assert len(scan(tmp_path / "new").models) == 2


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_disk_that_is_too_small_is_refused_before_anything_is_copied(cache: Path, tmp_path: Path) -> None:
    (cache / "own" / "large.bin").write_bytes(b"x" * (3 << 20))
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(DiskFullError):
            plan_move(cache, small)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_digests_of_chunks_move_along(cache: Path, tmp_path: Path) -> None:
    chunks = json.loads((cache / "Tests" / "m-1" / CHUNKS).read_text())
    move(plan_move(cache, tmp_path / "new"))
    assert json.loads((tmp_path / "new" / "Tests" / "m-1" / CHUNKS).read_text()) == chunks
    assert (tmp_path / "new" / "Tests" / "m-1" / MANIFEST).exists()


def test_files_of_others_in_the_new_place_are_not_overwritten(cache: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "own"
    target.mkdir(parents=True)
    (target / "download.tmp").touch()
    (target / "extra.bin").write_bytes(b"mine")
    with pytest.raises(CacheError, match=r"own:1 is not moved: there is extra\.bin"):
        plan_move(cache, tmp_path / "new")
    assert (target / "extra.bin").read_bytes() == b"mine"


@pytest.mark.parametrize("is_newer", [True, False])
def test_of_two_lists_of_the_catalog_the_newer_stays(cache: Path, tmp_path: Path, is_newer: bool) -> None:
    name = "foundry.modelinfo.json"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / name).write_text('{"there": 1}')
    os.utime(cache / name, (2000 if is_newer else 500,) * 2)
    os.utime(tmp_path / "new" / name, (1000, 1000))
    move(plan_move(cache, tmp_path / "new"))
    assert (tmp_path / "new" / name).read_text() == ("{}" if is_newer else '{"there": 1}')


def test_what_came_into_a_folder_after_the_copy_is_not_deleted_with_it(cache: Path, tmp_path: Path) -> None:
    plan = plan_move(cache, tmp_path / "new")
    copied = copy_models(plan)
    (cache / "own" / "late.txt").write_text("mine")
    (problem,) = delete_moved(plan, copied)
    assert "late.txt" in problem
    assert (cache / "own" / "late.txt").read_text() == "mine"


def test_what_was_changed_after_the_copy_is_not_deleted(cache: Path, tmp_path: Path) -> None:
    plan = plan_move(cache, tmp_path / "new")
    copied = copy_models(plan)
    path = next(path for path in sorted((cache / "own").rglob("*")) if path.is_file() and path.name != "foundry.manifest.json")
    path.write_bytes(path.read_bytes() + b"more")
    (problem,) = delete_moved(plan, copied)
    assert path.name in problem
    assert path.read_bytes().endswith(b"more")


def test_a_model_that_came_after_the_plan_stays_and_is_named(cache: Path, tmp_path: Path) -> None:
    plan = plan_move(cache, tmp_path / "new")
    copied = copy_models(plan)
    add(cache, "late", "late:1")
    (problem,) = delete_moved(plan, copied)
    assert problem.startswith("late:1 came into")
    assert [model.id for model in scan(cache).models] == ["late:1"]


def test_a_model_inside_of_another_keeps_its_place(cache: Path, tmp_path: Path) -> None:
    add(cache, "own/inner", "inner:1")
    move(plan_move(cache, tmp_path / "new"))
    assert sorted(model.id for model in scan(tmp_path / "new").models) == ["inner:1", "m:1", "own:1"]
    assert scan(cache).models == ()

"""What is deleted to get room, and what never is."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from foundry_cli.errors import InvalidRequestError
from foundry_cli.store.cache import REMOVED, scan
from foundry_cli.store.journal import JOURNAL
from foundry_cli.store.manifest import MANIFEST
from foundry_cli.store.prune import PruneChoice, PruneItem, execute, parse_size, plan_prune
from tests.store.managed import WEIGHTS, add_managed, describe, manage
from tests.store.test_removal import add, add_partial, downloading

NOW = 1_000_000_000.0
DAY = 86400.0


def used(root: Path, days: float) -> Path:
    """Let the model in `root` have come so many days ago."""
    os.utime(root, (NOW - days * DAY,) * 2)
    return root


def plan(
    cache: Path, choice: PruneChoice, usage: dict[str, float] | None = None, kept: tuple[str, ...] = ()
) -> list[PruneItem]:
    """What would be deleted."""
    return plan_prune(cache, choice, usage or {}, NOW, kept)


def names(items: list[PruneItem]) -> list[str]:
    """Ids of models, names of other things."""
    return [item.model.id if item.model else item.path.name for item in items]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10", 10), ("1K", 1024), ("2 GB", 2 << 30), ("1.5gib", 3 << 29), ("1T", 1 << 40), (" 7mb ", 7 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 PB", "1e9", "nan", "1GBB", "1" * 30])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_size(text)


def test_remains_of_interrupted_work(tmp_path: Path) -> None:
    whole = add_managed(tmp_path, "whole:1")
    (whole / "v1" / "model.onnx.partial").write_bytes(b"x")
    (whole / JOURNAL).write_bytes(b"xx")
    going = add_managed(tmp_path, "going:1")
    (going / MANIFEST).rename(going / REMOVED)
    (going / "notes.txt").write_text("mine")
    add(tmp_path, ".foundry-trash-1/deep", "trash:1")
    (tmp_path / ".foundry-probe-1").touch()
    add_partial(tmp_path)
    items = plan(tmp_path, PruneChoice())
    assert sorted(names(items)) == sorted(
        [".foundry-trash-1", "going-1", "model.onnx.partial", JOURNAL, ".foundry-probe-1", "half:1"]
    )
    for item in items:
        execute(item, tmp_path)
    assert plan(tmp_path, PruneChoice()) == []
    assert [model.id for model in scan(tmp_path).models] == ["whole:1"]
    assert [path.name for path in going.iterdir()] == ["notes.txt"]
    assert not (tmp_path / ".foundry-trash-1").exists()


def test_files_of_others_are_never_part_of_a_plan(tmp_path: Path) -> None:
    kept = {
        "notes.txt": b"mine", "video.partial": b"mine", "other-tool/blobs/sha256-1": b"mine",
        "other-tool/download.journal": b"x",
        "hub/models--a--b/snapshots/1/model.onnx": b"mine", "data/genai_config.json": b"{}",
    }  # fmt: skip
    for path, content in kept.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    root = used(add_managed(tmp_path, "m:1"), 100)
    (root / "v1" / "other.partial").write_text("mine")
    used(root, 100)
    items = plan(tmp_path, PruneChoice(partials=True, older_than=0, max_size=0))
    assert names(items) == ["m:1"]
    execute(items[0], tmp_path)
    assert (root / "v1" / "other.partial").read_text() == "mine"
    assert all((tmp_path / path).read_bytes() == content for path, content in kept.items())


def test_a_download_that_runs_stays(tmp_path: Path) -> None:
    root = add_partial(tmp_path)
    with downloading(root):
        assert plan(tmp_path, PruneChoice()) == []
    assert names(plan(tmp_path, PruneChoice())) == ["half:1"]
    assert plan(tmp_path, PruneChoice(partials=False)) == []


def test_a_repair_that_was_interrupted_is_no_download(tmp_path: Path) -> None:
    (add_managed(tmp_path, "m:1") / "download.tmp").touch()
    assert plan(tmp_path, PruneChoice()) == []


def test_models_by_age(tmp_path: Path) -> None:
    for number in (1, 5, 9):
        used(add_managed(tmp_path, f"m{number}:1"), number)
    choice = PruneChoice(partials=False, older_than=4)
    assert names(plan(tmp_path, choice)) == ["m9:1", "m5:1"]
    assert names(plan(tmp_path, choice, {"m9:1": NOW - DAY})) == ["m5:1"]
    assert names(plan(tmp_path, choice, kept=("m5:1",))) == ["m9:1"]
    assert plan(tmp_path, PruneChoice(partials=False, older_than=4), {})[0].reason == "not used for 9 days"


def test_models_by_size(tmp_path: Path) -> None:
    for number in (1, 5, 9):
        used(add_managed(tmp_path, f"m{number}:1"), number)
    size = scan(tmp_path).models[0].size_bytes
    for fitting, expected in ((3, []), (2, ["m9:1"]), (1, ["m9:1", "m5:1"]), (0, ["m9:1", "m5:1", "m1:1"])):
        assert names(plan(tmp_path, PruneChoice(partials=False, max_size=fitting * size))) == expected
    kept = plan(tmp_path, PruneChoice(partials=False, max_size=size), kept=("m9:1",))
    assert names(kept) == ["m5:1", "m1:1"]
    both = plan(tmp_path, PruneChoice(partials=False, older_than=8, max_size=size))
    assert names(both) == ["m9:1", "m5:1"]


def test_a_damaged_model_stays_for_its_repair(tmp_path: Path) -> None:
    (used(add_managed(tmp_path, "m:1"), 99) / "v1" / "model.onnx").write_bytes(WEIGHTS[1:])
    assert plan(tmp_path, PruneChoice(older_than=1, max_size=0)) == []


def everything(cache: Path) -> PruneChoice:
    """What deletes most; all that is in the cache is old."""
    for path in (*cache.rglob("*"), cache):
        os.utime(path, (NOW - 9 * DAY,) * 2)
    return PruneChoice(partials=True)


def write(cache: Path, *paths: str) -> None:
    """Files with something in them."""
    for path in paths:
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).write_text("mine")


def left(cache: Path) -> list[str]:
    """All files that are there."""
    return sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())


def test_markers_in_the_folders_of_others_make_them_no_downloads(tmp_path: Path) -> None:
    write(tmp_path, "mydata/save.dlstate", "mydata/sub/thesis.txt", "other/download.tmp", "other/diary.txt")
    add(tmp_path, "Pub/sub/v1", "whole:1")
    (tmp_path / "Pub" / "download.tmp").touch()
    before = left(tmp_path)
    assert plan(tmp_path, everything(tmp_path)) == []
    assert [model.id for model in scan(tmp_path).models] == ["whole:1"]
    assert left(tmp_path) == before


def test_a_model_below_a_download_of_another_is_seen_and_stays(tmp_path: Path) -> None:
    write(tmp_path, "big-2/download.tmp", "big-2/model.onnx")
    add(tmp_path, "big-2/copies/v1", "whole:1")
    add(tmp_path, "big-2/small", "bi:1")
    add_managed(tmp_path / "big-2", "managed:1")
    items = plan(tmp_path, everything(tmp_path))
    assert names(items) == ["big:2"]
    execute(items[0], tmp_path)
    assert sorted(model.id for model in scan(tmp_path).models) == ["bi:1", "managed:1", "whole:1"]
    assert not (tmp_path / "big-2" / "model.onnx").exists()


def test_of_a_download_of_the_original_only_what_models_consist_of_goes(tmp_path: Path) -> None:
    write(
        tmp_path, "Microsoft/two-4/v4/model.onnx.data", "Microsoft/two-4/v4/model.onnx.data.dlstate",
        "Microsoft/two-4/v4/tokenizer.json", "Microsoft/two-4/v4/genai_config.json", "Microsoft/two-4/download.tmp",
        "Microsoft/two-4/.download.lock", "Microsoft/two-4/.download.progress",
    )  # fmt: skip
    shutil.copytree(tmp_path / "Microsoft", tmp_path / "Mine")
    write(tmp_path, "Mine/two-4/v4/diary.txt", "Mine/two-4/thesis.partial")
    items = plan(tmp_path, everything(tmp_path))
    assert names(items) == ["two:4", "two:4"]
    for item in items:
        execute(item, tmp_path)
    assert left(tmp_path) == ["Mine/two-4/thesis.partial", "Mine/two-4/v4/diary.txt"]
    assert not (tmp_path / "Microsoft").exists()


def test_a_download_of_the_original_that_may_be_running_stays(tmp_path: Path) -> None:
    root = tmp_path / "two-4"
    write(tmp_path, "two-4/download.tmp", "two-4/model.onnx", "two-4/.download.lock")
    choice = everything(tmp_path)
    with (root / ".download.lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # of another open file, so it is as good as of another process
        assert plan(tmp_path, choice) == []
    assert names(plan(tmp_path, choice)) == ["two:4"]
    os.utime(root / "model.onnx", (NOW - 60,) * 2)
    assert plan(tmp_path, choice) == []


def test_a_file_whose_name_ends_as_that_of_a_transfer_is_a_file_of_its_model(tmp_path: Path) -> None:
    root = add_managed(tmp_path, "m:1")
    (root / "v1" / "model.onnx.partial").write_bytes(b"listed")
    manage(root, describe("m:1"))
    assert plan(tmp_path, PruneChoice()) == []

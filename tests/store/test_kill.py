"""Processes that are killed while they download, and processes that want the same model: rows D1 and D17."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.store.manifest import MANIFEST, first_problem, read_manifest
from foundry_cli.store.verify import verify
from tests.fakes.downloading import BY_ANOTHER, COMPLETED, Downloads
from tests.fakes.origin import FOREVER, Behaviour, Origin, OriginModel

pytestmark = pytest.mark.slow

MIB = CHUNK_BYTES
LOST_PER_KILL = 8 * MIB


def contents(megabytes: int) -> dict[str, bytes]:
    dice = random.Random(megabytes)
    small = dice.randbytes(megabytes * MIB // 3 + 7)
    large = dice.randbytes(megabytes * MIB // 3) + small
    return {"v1/model.onnx.data": large, "v1/model.onnx": small, "v1/genai_config.json": b"{}", "v1/empty": b""}


def check_nothing_looks_complete(root: Path, files: dict[str, bytes]) -> None:
    """What has its final name is right, and the folder is marked unless it holds a whole model."""
    for path, content in files.items():
        assert not (root / path).exists() or (root / path).read_bytes() == content
    if not (root / "download.tmp").exists() and root.exists():
        check_complete(root)


def check_complete(root: Path) -> None:
    manifest = read_manifest(root)
    assert manifest
    assert first_problem(root, manifest) == ""
    assert [check for check in verify(root, manifest) if check.problem] == []


def kill_often(tmp_path: Path, megabytes: int, kills: int, bytes_per_second: int) -> None:
    files, dice, root = contents(megabytes), random.Random(kills), tmp_path / "model"
    size = sum(map(len, files.values()))
    behaviour = Behaviour(bytes_per_second=bytes_per_second)
    with Origin(files, behaviour) as origin, Downloads() as downloads:
        listing = OriginModel(origin).files
        done = 0
        for _ in range(kills):
            pid = downloads.start(origin.base, listing, root, tmp_path / "log")
            origin.wait_sent(min(size, origin.sent + dice.randrange(2 * size // kills)), 5.0)
            if downloads.kill(pid) == COMPLETED:
                break
            done += 1
            check_nothing_looks_complete(root, files)
        for path in files:
            origin.behave(path, bytes_per_second=0)
        assert downloads.wait(downloads.start(origin.base, listing, root, tmp_path / "log")) in (COMPLETED, BY_ANOTHER)
        assert done >= kills // 2
        assert origin.sent <= size + done * LOST_PER_KILL
    check_complete(root)
    check_nothing_looks_complete(root, files)
    assert not (root / "download.journal").exists()
    assert not (root / "download.tmp").exists()


def test_d1_twenty_kills_cost_little_and_spoil_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, 24, 20, 8_000_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_d1_fifty_kills_of_a_large_download(tmp_path: Path) -> None:
    kill_often(tmp_path, 600, 50, 40_000_000)


def compete(tmp_path: Path, megabytes: int, processes: int, *, kill: bool) -> tuple[int, float]:
    """Bytes on the wire beyond the size, when so many processes want a model and the first may die; seconds of the change."""
    files, root = contents(megabytes), tmp_path / "model"
    size = sum(map(len, files.values()))
    seconds = 0.0
    with Origin(files, Behaviour(bytes_per_second=megabytes * MIB // 3)) as origin, Downloads() as downloads:
        listing = OriginModel(origin).files
        first = downloads.start(origin.base, listing, root, tmp_path / "log")
        assert origin.wait_sent(size // 8)
        others = [downloads.start(origin.base, listing, root, tmp_path / "log") for _ in range(processes - 1)]
        assert origin.wait_sent(size // 3)
        codes = []
        if kill:
            downloads.kill(first)
            began, sent = time.monotonic(), origin.sent
            assert origin.wait_sent(sent + 1)
            seconds = time.monotonic() - began
        else:
            codes.append(downloads.wait(first))
        codes += [downloads.wait(pid) for pid in others]
        assert sorted(codes) == [COMPLETED] + [BY_ANOTHER] * (len(codes) - 1)
        check_complete(root)
        return origin.sent - size, seconds


def test_d17_two_processes_share_one_transfer(tmp_path: Path) -> None:
    assert compete(tmp_path, 24, 2, kill=False) == (0, 0.0)


def test_d17_another_process_takes_over_when_the_first_is_killed(tmp_path: Path) -> None:
    assert compete(tmp_path, 24, 3, kill=True)[0] <= LOST_PER_KILL


@pytest.mark.slow
def test_d17_twenty_processes_and_a_kill(tmp_path: Path) -> None:
    extra, seconds = compete(tmp_path, 240, 20, kill=True)
    assert extra <= 0.05 * 240 * MIB
    assert seconds <= 2.0  # what is promised to those who wait


def test_d1_a_process_that_is_killed_before_the_manifest_leaves_a_folder_that_is_marked(tmp_path: Path) -> None:
    files, root = contents(3), tmp_path / "model"
    with Origin(files) as origin, Downloads() as downloads:
        origin.behave("v1/genai_config.json", silent=FOREVER)
        pid = downloads.start(origin.base, OriginModel(origin).files, root, tmp_path / "log")
        assert origin.wait_sent(sum(map(len, files.values())) - 2)
        downloads.kill(pid)
    assert (root / "download.tmp").exists()
    assert not (root / MANIFEST).exists()

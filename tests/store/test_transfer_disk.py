"""Disks that are full, read-only or laid with traps: rows D5, D6 and C7 of the fault matrix."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import CacheError, DiskFullError
from foundry_cli.http import HttpClient
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.journal import JOURNAL
from foundry_cli.store.transfer import Progress, missing_bytes, transfer
from tests.fakes.downloading import COMPLETED, FAILED, Downloads
from tests.fakes.origin import Origin, OriginModel

CONTENT = random.Random(9).randbytes(12 * CHUNK_BYTES + 77)


def ignore(_: Progress) -> None:
    """Nobody looks at the progress."""


def lock_and_transfer(model: OriginModel, root: Path, client: HttpClient) -> None:
    lock = DownloadLock(root)
    assert lock.acquire(threading.Event(), lambda done: None)
    try:
        transfer(model, root, client, ignore)
    finally:
        lock.release()


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True)


@contextmanager
def mounted(directory: Path, *arguments: str) -> Iterator[None]:
    """Something mounted on `directory`, where that is allowed."""
    done = subprocess.run(["mount", *arguments, str(directory)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_d5_a_full_disk_is_said_with_numbers_and_the_download_goes_on_when_there_is_room(
    tmp_path: Path, client: HttpClient
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=20m", "tmpfs"), Origin({"b": b"other", "a": CONTENT}) as origin:
        model, root, ballast = OriginModel(origin), disk / "model", disk / "ballast"
        root.mkdir()
        ballast.write_bytes(bytes(14 * CHUNK_BYTES))
        with pytest.raises(DiskFullError, match=r"full: \d+ bytes are needed and \d+ bytes are free"):
            transfer(model, root, client, ignore)
        sent = origin.sent
        assert 0 < missing_bytes(model.files, root) < len(CONTENT)
        assert (root / "b").read_bytes() == b"other"
        ballast.unlink()
        transfer(model, root, client, ignore)
        assert (root / "a").read_bytes() == CONTENT
        assert sent + len(CONTENT) > origin.sent  # it has not begun anew


def test_d5_a_limit_for_files_is_a_full_disk_too(tmp_path: Path) -> None:
    with Origin({"a": CONTENT}) as origin, Downloads() as downloads:
        files, root, log = OriginModel(origin).files, tmp_path / "model", tmp_path / "log"
        assert downloads.wait(downloads.start(origin.base, files, root, log, file_limit=5 * CHUNK_BYTES + 7)) == FAILED
        assert log.read_text().startswith("disk_full\n")
        assert "files cannot be larger there" in log.read_text()
        assert downloads.wait(downloads.start(origin.base, files, root, log)) == COMPLETED
    assert (root / "a").read_bytes() == CONTENT


def test_d6_a_read_only_cache_is_said_before_anything_is_fetched(tmp_path: Path, client: HttpClient) -> None:
    cache = tmp_path / "cache"
    root = cache / "model"
    root.mkdir(parents=True)
    with mounted(cache, "--bind", str(cache)), Origin({"a": CONTENT}) as origin:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(cache)], check=True)
        with pytest.raises(CacheError, match="ead-only"):
            DownloadLock(root).acquire(threading.Event(), lambda done: None)
        with pytest.raises(CacheError, match="ead-only"):
            transfer(OriginModel(origin), root, client, ignore)
        assert origin.requests == []


Trap = Callable[[Path, Path], None]


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _hard_link(path: Path, victim: Path) -> None:
    os.link(victim, path)


def _pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def _directory(path: Path, victim: Path) -> None:
    path.mkdir()


def _dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.parent / "new")


TRAPS = [_link, _hard_link, _pipe, _socket, _directory, _dangling]


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", ["v1/a", "v1/a.partial", JOURNAL, "download.tmp"])
def test_c7_what_is_not_a_plain_file_is_never_followed_written_or_removed(
    tmp_path: Path, client: HttpClient, trap: Trap, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "precious"
    victim.write_bytes(b"precious")
    root = tmp_path / "model"
    (root / "v1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    trap(root / name, victim)
    with Origin({"v1/a": CONTENT}) as origin:
        is_replaceable = name == "v1/a" and trap is _hard_link  # only this name of it is ours
        if is_replaceable:
            lock_and_transfer(OriginModel(origin), root, client)
            assert (root / name).read_bytes() == CONTENT
        else:
            with pytest.raises(CacheError):
                lock_and_transfer(OriginModel(origin), root, client)
            assert os.path.lexists(root / name)
    assert [(path.name, path.read_bytes()) for path in outside.iterdir()] == [("precious", b"precious")]


@pytest.mark.parametrize("name", ["", "v1", "v1/v2"])
def test_c7_a_folder_that_is_a_link_is_not_followed(tmp_path: Path, client: HttpClient, name: str) -> None:
    outside, root = tmp_path / "outside", tmp_path / "model"
    outside.mkdir()
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(outside)
    with Origin({"v1/v2/a": CONTENT}) as origin, pytest.raises(CacheError):
        lock_and_transfer(OriginModel(origin), root, client)
    assert list(outside.iterdir()) == []


def test_foreign_files_in_the_folder_stay(tmp_path: Path, client: HttpClient) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "b.partial").write_text("mine")
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
    assert (tmp_path / "notes.txt").read_text() == (tmp_path / "b.partial").read_text() == "mine"

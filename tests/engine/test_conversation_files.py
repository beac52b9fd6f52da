"""The files of conversations: what is opened, what is removed first, and what is left alone."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from foundry_cli.engine.conversation_files import claim_folder, open_for_reading, open_for_writing, remove, trim

SOMEBODY = 65534
ROOT = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes among the files")


def put(path: Path, size: int, used: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    files = [put(tmp_path / folder / f"{used}.kv", 100, used) for used, folder in enumerate("abab")]
    assert trim(tmp_path, 400) == []
    assert trim(tmp_path, 399) == files[:1]
    assert trim(tmp_path, 100) == files[1:3]
    assert trim(tmp_path, 0) == files[3:]


def test_what_a_crash_left_counts_and_other_files_do_not(tmp_path: Path) -> None:
    left, kept = put(tmp_path / "a" / "x.partial", 100, 1), put(tmp_path / "a" / "y.kv", 100, 2)
    other = put(tmp_path / "a" / "notes.txt", 10_000, 0)
    assert trim(tmp_path, 150) == [left]
    assert kept.exists()
    assert other.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert trim(tmp_path / "none", 0) == []


@POSIX
def test_links_pipes_and_folders_are_left_alone(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", 100, 1)
    root = tmp_path / "root"
    (root / "folder.kv").mkdir(parents=True)
    (root / "link.kv").symlink_to(outside)
    (root / "far.kv").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.kv")
    kept = put(root / "a.kv", 100, 5)
    assert trim(root, 0) == [kept]
    assert outside.exists()
    assert sorted(os.listdir(root)) == ["far.kv", "folder.kv", "link.kv", "pipe.kv"]


@POSIX
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may remove everything")
def test_what_cannot_be_removed_stays_counted(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.kv", 100, 1)
    other = put(tmp_path / "b" / "y.kv", 100, 2)
    (tmp_path / "a").chmod(0o500)
    try:
        assert trim(tmp_path, 100) == [other]
    finally:
        (tmp_path / "a").chmod(0o700)


@POSIX
@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "broken link", "pipe", "folder", "nothing"])
def test_only_plain_files_are_read(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path, kind)
    with pytest.raises(OSError):
        open_for_reading(path)


@POSIX
@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "broken link", "pipe", "nothing", "file"])
def test_what_is_written_is_a_new_file(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path, kind)
    with open_for_writing(path) as stream:
        stream.write(b"new")
    assert stat.S_ISREG(path.lstat().st_mode)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert path.read_bytes() == b"new"
    assert (tmp_path / "target").read_bytes() == b"old"
    assert not (tmp_path / "missing").exists()


@POSIX
def test_a_folder_in_the_way(tmp_path: Path) -> None:
    path = make(tmp_path, "folder")
    with pytest.raises(OSError):
        open_for_writing(path)
    assert not remove(path)
    assert remove(tmp_path / "nothing")


def make(directory: Path, kind: str) -> Path:
    """Something of this kind at the path that is returned."""
    path = directory / "x.kv"
    (directory / "target").write_bytes(b"old")
    if kind == "link":
        path.symlink_to(directory / "target")
    elif kind == "broken link":
        path.symlink_to(directory / "missing")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"an older file")
        path.chmod(0o644)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@POSIX
@pytest.mark.parametrize("before", [None, 0o777, 0o750, 0o700])
def test_a_folder_is_made_private(tmp_path: Path, before: int | None) -> None:
    folder = tmp_path / "a" / "b"
    if before is not None:
        folder.mkdir(parents=True)
        folder.chmod(before)
    claim_folder(folder)
    assert mode(folder) == 0o700


@POSIX
@pytest.mark.parametrize("target", ["folder", "nothing", "file"])
def test_a_link_in_place_of_a_folder_is_refused(tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    if target == "folder":
        kept = put(outside / "x.kv", 100, 1)
        outside.chmod(0o755)
    elif target == "file":
        outside.touch()
    link = tmp_path / "link"
    link.symlink_to(outside)
    with pytest.raises(OSError, match="link is a link or no folder"):
        claim_folder(link)
    assert trim(link, 0) == []
    if target == "folder":
        assert kept.exists()
        assert mode(outside) == 0o755


@ROOT
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    kept = put(folder / "x.kv", 100, 1)
    os.chown(folder, SOMEBODY, SOMEBODY)
    folder.chmod(0o777)
    with pytest.raises(OSError, match="folder belongs to somebody else"):
        claim_folder(folder)
    assert mode(folder) == 0o777
    assert trim(folder, 0) == trim(tmp_path, 0) == []
    assert kept.exists()


@ROOT
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = put(tmp_path / "x.kv", 100, 1)
    os.chown(path, SOMEBODY, SOMEBODY)
    with pytest.raises(OSError, match="belongs to somebody else"):
        open_for_reading(path)
    assert trim(tmp_path, 0) == []

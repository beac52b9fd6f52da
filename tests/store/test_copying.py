"""Copies of files: verified, whole or not there, never through a link."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES, chunk_digest
from foundry_cli.errors import CacheError, DiskFullError, DownloadCancelledError, IntegrityError, SourceError
from foundry_cli.remote import RemoteFile
from foundry_cli.store.copying import check_room, copied_bytes, copy_file, copy_files, copy_model, digest_file
from foundry_cli.store.journal import Journal, JournalReader


def write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_a_copy_has_the_bytes_and_tells_their_digests(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    sha256, counts = write(tmp_path / "a", data), list[int]()
    stored = copy_file(tmp_path / "a", tmp_path / "new" / "b", sha256=sha256, progress=counts.append)
    assert (tmp_path / "new" / "b").read_bytes() == data
    assert (stored.path, stored.size, stored.sha256, sum(counts)) == ("b", size, sha256, size)
    pieces = [data[start : start + CHUNK_BYTES] for start in range(0, size, CHUNK_BYTES)]
    assert list(stored.chunks) == [chunk_digest(piece) for piece in pieces]
    assert digest_file(tmp_path / "new" / "b") == stored
    assert os.listdir(tmp_path / "new") == ["b"]


def test_other_bytes_than_promised_leave_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "a", b"bad")
    write(tmp_path / "b", b"old")
    with pytest.raises(IntegrityError):
        copy_file(tmp_path / "a", tmp_path / "b", sha256="0" * 64)
    assert (tmp_path / "b").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_copy_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a", bytes(3 * CHUNK_BYTES))
    cancelled = threading.Event()
    with pytest.raises(DownloadCancelledError):
        copy_file(tmp_path / "a", tmp_path / "b", cancelled=cancelled, progress=lambda count: cancelled.set())
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("damage", [False, True])
def test_a_copy_whose_digest_is_known_goes_on_where_it_ended(tmp_path: Path, damage: bool) -> None:
    data = os.urandom(3 * CHUNK_BYTES + 5)
    sha256 = write(tmp_path / "a", data)
    cancelled = threading.Event()
    with pytest.raises(DownloadCancelledError):
        copy_file(tmp_path / "a", tmp_path / "b", sha256=sha256, cancelled=cancelled, progress=lambda _: cancelled.set())
    partial = tmp_path / "b.copying"
    assert partial.read_bytes() == data[:CHUNK_BYTES]
    with partial.open("r+b") as stream:
        stream.write(b"?" if damage else data[:1])
    (tmp_path / "a").write_bytes((b"?" if not damage else data[:1]) + data[1:])  # what is there is not read again
    stored = copy_file(tmp_path / "a", tmp_path / "b", sha256=sha256)
    assert (tmp_path / "b").read_bytes() == data
    assert stored == digest_file(tmp_path / "b")
    assert not partial.exists()


def test_what_was_copied_counts_as_there_and_progress_ends_at_the_whole(tmp_path: Path) -> None:
    sha256 = write(tmp_path / "a", bytes(2 * CHUNK_BYTES))
    assert copied_bytes(tmp_path / "b", 2 * CHUNK_BYTES) == 0
    write(tmp_path / "b.copying", bytes(3 * CHUNK_BYTES))
    assert copied_bytes(tmp_path / "b", 2 * CHUNK_BYTES) == 2 * CHUNK_BYTES
    counts: list[int] = []
    copy_file(tmp_path / "a", tmp_path / "b", sha256=sha256, progress=counts.append)
    assert sum(counts) == 2 * CHUNK_BYTES


@pytest.mark.parametrize("kind", ["link", "pipe", "socket", "directory", "missing"])
def test_only_plain_files_are_copied(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "a"
    if kind == "link":
        write(tmp_path / "secret", b"x")
        source.symlink_to(tmp_path / "secret")
    elif kind == "pipe":
        os.mkfifo(source)
    elif kind == "directory":
        source.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        if kind == "socket":
            listener.bind(str(source))
        with pytest.raises(CacheError):
            copy_file(source, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "a", b"new")
    write(tmp_path / "other", b"other")
    (tmp_path / "b").symlink_to(tmp_path / "other")
    (tmp_path / "b.copying").symlink_to(tmp_path / "other")
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "other").read_bytes() == b"other"
    assert stat.S_ISREG((tmp_path / "b").lstat().st_mode)


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    write(tmp_path / "a", bytes(1 << 20))
    code = (
        "import sys, pathlib\nfrom foundry_cli.store.copying import copy_file\nfrom foundry_cli.errors import DiskFullError\n"
        "try:\n    copy_file(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\nexcept DiskFullError:\n    sys.exit(7)"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a", tmp_path / "b"], preexec_fn=limit, check=False)
    assert done.returncode == 7
    assert os.listdir(tmp_path) == ["a"]


def test_room_is_missing_only_when_it_is(tmp_path: Path) -> None:
    check_room(1, tmp_path)
    with pytest.raises(DiskFullError, match="1152921504606846976 are needed"):
        check_room(1 << 60, tmp_path)
    write(tmp_path / "a", b"x")
    with pytest.raises(DiskFullError):
        check_room(1 << 60, tmp_path / ".", tmp_path / "missing")
    assert os.listdir(tmp_path) == ["a"]


def test_files_of_a_folder_are_copied_and_those_that_are_there_stay(tmp_path: Path) -> None:
    files = [RemoteFile(path, 3, write(tmp_path / "a" / path, path[-3:].encode())) for path in ("v1/one", "v1/sub/two", "six")]
    seen: list[tuple[int, int]] = []
    write(tmp_path / "b" / "six", b"bad")
    write(tmp_path / "b" / "v1" / "one", b"one")
    kept = (tmp_path / "b" / "v1" / "one").stat().st_ino
    stored = copy_files(files, tmp_path / "a", tmp_path / "b", report=lambda done, total: seen.append((done, total)))
    assert [(file.path, file.sha256) for file in stored] == [(file.path, file.sha256) for file in files]
    assert (tmp_path / "b" / "six").read_bytes() == b"six"
    assert (tmp_path / "b" / "v1" / "one").stat().st_ino == kept
    assert seen == [(3, 9), (6, 9), (9, 9)]


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "download.tmp", "foundry.manifest.json"])
def test_names_that_lead_out_or_are_ours_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(SourceError):
        copy_files([RemoteFile(path, 1)], tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_folder_that_is_a_link_is_refused_on_both_sides(tmp_path: Path, side: str) -> None:
    write(tmp_path / "elsewhere" / "one", b"one")
    write(tmp_path / "a" / "one", b"")
    (tmp_path / "b").mkdir()
    (tmp_path / side / "v1").symlink_to(tmp_path / "elsewhere")
    if side == "b":
        write(tmp_path / "a" / "v1" / "one", b"two")
    with pytest.raises(CacheError):
        copy_files([RemoteFile("v1/one", 3)], tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "elsewhere" / "one").read_bytes() == b"one"


@pytest.mark.parametrize("is_right", [True, False])
def test_what_a_download_has_brought_is_lost_only_to_a_copy_that_is_complete(tmp_path: Path, is_right: bool) -> None:
    root, source, content = tmp_path / "model", tmp_path / "source", random.Random(1).randbytes(3 * CHUNK_BYTES)
    root.mkdir()
    source.mkdir()
    sha256 = hashlib.sha256(content).hexdigest()
    journal = Journal(root)
    journal.begin("a", len(content), sha256, "")
    journal.add_chunk("a", 1, chunk_digest(content[CHUNK_BYTES : 2 * CHUNK_BYTES]))
    journal.close()
    (root / "a.partial").write_bytes(content[: 2 * CHUNK_BYTES])
    (source / "a").write_bytes(content if is_right else content[::-1])
    files = [RemoteFile("a", len(content), sha256)]
    if is_right:
        copy_model(files, source, root)
        assert not (root / "a.partial").exists()
    else:
        with pytest.raises(IntegrityError):
            copy_model(files, source, root)
        reader = JournalReader(root)
        reader.poll()
        assert set(reader.files["a"].chunks) == {1}
        assert (root / "a.partial").read_bytes() == content[: 2 * CHUNK_BYTES]
    assert not (root / "a.copying").exists()

"""Bit rot of all kinds: row C5 of the fault matrix."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import DownloadCancelledError
from foundry_cli.store.manifest import CHUNKS, Manifest, StoredFile, write_manifest
from foundry_cli.store.verify import FileCheck, verify
from foundry_cli.types import ModelInfo
from tests.fakes.origin import chunk_digests

CONTENT = random.Random(31).randbytes(4 * CHUNK_BYTES + 321)
OTHER = random.Random(32).randbytes(4 * CHUNK_BYTES + 321)


def put_model(root: Path) -> Manifest:
    """A complete model of three files."""
    files = []
    for path, content in (("v1/a", CONTENT), ("v1/b", OTHER), ("empty", b"")):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(content)
        files.append(StoredFile(path, len(content), hashlib.sha256(content).hexdigest(), chunk_digests(content)))
    manifest = Manifest(ModelInfo("m", 1, "m"), tuple(files))
    write_manifest(root, manifest)
    return manifest


def flip(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(2 * CHUNK_BYTES + 5)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 16]))


def truncate(path: Path) -> None:
    os.truncate(path, 3 * CHUNK_BYTES + 1)


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def zero(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(CHUNK_BYTES - 10)
        stream.write(bytes(CHUNK_BYTES))


def swap(path: Path) -> None:
    other = path.with_name("b")
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


def remove(path: Path) -> None:
    path.unlink()


ROT = {flip: {2}, truncate: {3, 4}, append: set(), zero: {0, 1}, swap: {0, 1, 2, 3, 4}, remove: {0, 1, 2, 3, 4}}
"""What may happen to a file, and which of its chunks are bad then."""


def test_a_good_model_has_no_problem_and_progress_ends_at_its_size(tmp_path: Path) -> None:
    manifest = put_model(tmp_path)
    seen: list[tuple[int, int]] = []
    assert verify(tmp_path, manifest, lambda done, total: seen.append((done, total))) == [
        FileCheck("v1/a"),
        FileCheck("v1/b"),
        FileCheck("empty"),
    ]
    assert seen[-1] == (manifest.size_bytes, manifest.size_bytes)


@pytest.mark.parametrize("rot", ROT)
def test_c5_every_kind_of_rot_is_found_with_its_chunks(tmp_path: Path, rot: Callable[[Path], None]) -> None:
    manifest = put_model(tmp_path)
    rot(tmp_path / "v1/a")
    a, b, empty = verify(tmp_path, manifest)
    assert a.problem
    assert set(a.bad_chunks) == ROT[rot]
    assert bool(b.problem) == (rot is swap)
    assert not empty.problem


def test_without_digests_of_chunks_all_of_a_bad_file_is_bad(tmp_path: Path) -> None:
    manifest = put_model(tmp_path)
    (tmp_path / CHUNKS).unlink()
    flip(tmp_path / "v1/a")
    assert verify(tmp_path, manifest)[0].bad_chunks == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "second name"])
def test_what_is_not_a_plain_file_is_a_problem_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    manifest = put_model(tmp_path)
    path = tmp_path / "v1/a"
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        os.link(tmp_path / "elsewhere", path)
    assert verify(tmp_path, manifest)[0] == FileCheck("v1/a", "is a link or not a plain file", (0, 1, 2, 3, 4))


def test_a_check_can_be_cancelled(tmp_path: Path) -> None:
    manifest, cancelled = put_model(tmp_path), threading.Event()
    seen: list[int] = []

    def report(done: int, total: int) -> None:
        seen.append(done)
        cancelled.set()

    with pytest.raises(DownloadCancelledError):
        verify(tmp_path, manifest, report, cancelled)
    assert seen == [CHUNK_BYTES]

"""Whether the files of a model still have the bytes that were downloaded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.chunks import CHUNK_BYTES, chunk_count, chunk_digest, chunk_size
from foundry_cli.errors import DownloadCancelledError
from foundry_cli.store.manifest import UNREADABLE, Manifest, StoredFile, read_chunks
from foundry_cli.store.plain_file import NotPlainError, open_plain


@dataclass(frozen=True)
class FileCheck:
    """What was found of one file. `problem` is "" for a good one; `bad_chunks`: numbers of those to fetch again."""

    path: str
    problem: str = ""
    bad_chunks: tuple[int, ...] = ()


def verify(
    root: Path,
    manifest: Manifest,
    report: Callable[[int, int], None] | None = None,
    cancelled: threading.Event | None = None,
) -> list[FileCheck]:
    """Read all files and compare their SHA-256; `report` gets bytes done and in total. Raises `DownloadCancelledError`."""
    chunks = read_chunks(root)
    progress = _Progress(manifest.size_bytes, report, cancelled)
    return [_check(root, file, chunks.get(file.path, ()), progress) for file in manifest.files]


class _Progress:
    def __init__(self, total: int, report: Callable[[int, int], None] | None, cancelled: threading.Event | None) -> None:
        self._done = 0
        self._total = total
        self._report = report
        self._cancelled = cancelled

    def add(self, count: int) -> None:
        self._done += count
        if self._cancelled and self._cancelled.is_set():
            raise DownloadCancelledError("The check was cancelled.")
        if self._report:
            self._report(min(self._done, self._total), self._total)


def _check(root: Path, file: StoredFile, digests: tuple[str, ...], progress: _Progress) -> FileCheck:
    everything = tuple(range(chunk_count(file.size)))
    try:
        descriptor = open_plain(root / file.path, os.O_RDONLY)
    except FileNotFoundError:
        progress.add(file.size)
        return FileCheck(file.path, "is missing", everything)
    except NotPlainError:
        progress.add(file.size)
        return FileCheck(file.path, "is a link or not a plain file", everything)
    except OSError as error:
        progress.add(file.size)
        return FileCheck(file.path, f"{UNREADABLE}: {error.strerror}", everything)
    try:
        problem = _problem(descriptor, file, progress)
        known = digests if len(digests) == len(everything) else ()
        bad = tuple(_bad_chunks(descriptor, file.size, known)) if problem and known else everything if problem else ()
        return FileCheck(file.path, problem, bad)
    finally:
        os.close(descriptor)


def _problem(descriptor: int, file: StoredFile, progress: _Progress) -> str:
    """What is wrong with the file as a whole; "" for nothing."""
    whole, failure = hashlib.sha256(), ""
    size = os.fstat(descriptor).st_size
    for index in range(chunk_count(file.size)):
        try:
            data = _read(descriptor, index, file.size)
        except OSError as error:
            data, failure = b"", f"{UNREADABLE}: {error.strerror}"
        whole.update(data)
        progress.add(len(data))
    if failure:
        return failure
    if size != file.size:
        return f"has {size} bytes instead of {file.size}"
    return "" if whole.hexdigest() == file.sha256 else "has other bytes than those that were downloaded"


def _bad_chunks(descriptor: int, size: int, digests: tuple[str, ...]) -> Iterator[int]:
    for index, digest in enumerate(digests):
        try:
            is_good = chunk_digest(_read(descriptor, index, size)) == digest
        except OSError:  # a sector that fails makes its chunk a bad one
            is_good = False
        if not is_good:
            yield index


def _read(descriptor: int, index: int, size: int) -> bytes:
    """One chunk, or what there is of it. Raises `OSError`."""
    return os.pread(descriptor, chunk_size(size, index), index * CHUNK_BYTES)

"""Copies of a model's files: hashed on the way, cloned where the file system can, and under their names only when whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from foundry_cli.chunks import CHUNK_BYTES, chunk_digest
from foundry_cli.errors import CacheError, DiskFullError, DownloadCancelledError, IntegrityError
from foundry_cli.remote import RemoteFile
from foundry_cli.store.cache import UNFINISHED
from foundry_cli.store.journal import Journal
from foundry_cli.store.manifest import StoredFile, check_paths
from foundry_cli.store.plain_file import O_CLEAN, NotPlainError, full_reason, is_plain, make_parents, open_plain, sync_directory

Progress = Callable[[int], None]  # is told each time how many bytes more are done
Report = Callable[[int, int], None]  # bytes done, bytes in total

_COPYING = ".copying"
_CLONE = 0x40049409  # FICLONE of linux/fs.h: both files share their blocks until one is written
_ROOM_HINT = "Make room, or choose another disk."


def copy_file(
    source: Path,
    target: Path,
    *,
    sha256: str | None = None,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> StoredFile:
    """Copy a plain file, durably, over `target`; the result's `path` is the name of `target`. Parents are made.

    Where `sha256` tells whether the whole is right, a copy that ended early is kept, and the next one goes on.
    Raises `IntegrityError` when the bytes are not those of `sha256`, `DiskFullError`, `CacheError`, and
    `DownloadCancelledError` once `cancelled` is set; `target` is then as before.
    """
    partial = target.with_name(target.name + _COPYING)
    with translated(f"{source} cannot be copied to {target}"), _open_source(source) as reading:
        target.parent.mkdir(parents=True, exist_ok=True)
        if sha256 is None or not is_plain(partial):
            partial.unlink(missing_ok=True)
        try:
            with open(open_plain(partial, os.O_RDWR | os.O_CREAT), "r+b") as writing:
                stored = _fill(reading, writing, sha256, cancelled, progress)
                _check(source, stored, sha256)
                writing.flush()
                os.fsync(writing.fileno())
            os.replace(partial, target)
        except BaseException as error:
            if sha256 is None or isinstance(error, IntegrityError):
                partial.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)
    return replace(stored, path=target.name)


def copy_files(
    files: Sequence[RemoteFile],
    source: Path,
    target: Path,
    *,
    cancelled: threading.Event | None = None,
    report: Report | None = None,
    copied: Callable[[StoredFile], None] | None = None,
) -> tuple[StoredFile, ...]:
    """Copy `files` from one model folder to another, in their order; those whose right bytes are there already stay.

    `copied` is told of each file that is there. Names that lead out of a folder are refused, as are links. Raises as
    `copy_file`, and `SourceError` for such a name.
    """
    check_paths(file.path for file in files)
    total, done = sum(file.size for file in files), 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        if report:
            report(done, total)

    stored = []
    for file in files:
        copy = _kept(target / file.path, file, cancelled)
        if copy:
            progress(file.size)
        else:
            copy = _copy_between(file, source, target, cancelled, progress)
        stored.append(replace(copy, path=file.path))
        if copied:
            copied(stored[-1])
    return tuple(stored)


def copy_model(
    files: Sequence[RemoteFile],
    source: Path,
    root: Path,
    *,
    cancelled: threading.Event | None = None,
    report: Report | None = None,
) -> tuple[StoredFile, ...]:
    """As `copy_files`, into the root of a model whose `DownloadLock` the caller holds.

    Its journal lists the files: when the copy is interrupted, it is known that they are the model's, whatever their names.
    """
    with translated(f"{root} cannot be written"):
        journal = Journal(root)
        try:
            for file in files:
                known = journal.files.get(file.path)  # what a download has brought of it is lost only when the copy is there
                if known is None or known.size != file.size or known.sha256 not in ("", file.sha256):
                    journal.begin(file.path, file.size, file.sha256 or "", "")

            def copied(file: StoredFile) -> None:
                journal.publish(file.path, file.sha256)
                drop_unfinished(root / file.path)

            return copy_files(files, source, root, cancelled=cancelled, report=report, copied=copied)
        finally:
            journal.close()


def digest_file(path: Path, *, cancelled: threading.Event | None = None, progress: Progress | None = None) -> StoredFile:
    """Size and digests of a plain file; `path` of the result is its name. Raises `CacheError`, `DownloadCancelledError`."""
    with translated(f"{path} cannot be read"), _open_source(path) as stream:
        return replace(_digest(stream, None, cancelled, progress), path=path.name)


def drop_unfinished(path: Path) -> None:
    """Delete what downloads and copies of `path` that were stopped have left. Raises `OSError`."""
    for ending in UNFINISHED:
        left = path.with_name(path.name + ending)
        if is_plain(left):
            left.unlink()


def copied_bytes(target: Path, size: int) -> int:
    """How much of `target`, which has `size` bytes, an earlier copy has brought that was stopped."""
    partial = target.with_name(target.name + _COPYING)
    try:
        return min(size, os.lstat(partial).st_size) if is_plain(partial) else 0
    except OSError:  # just gone
        return 0


def shifted(report: Report | None, before: int, total: int) -> Report | None:
    """`report` for a part of the work that begins after `before` bytes of `total`."""
    return (lambda done, _: report(before + done, total)) if report else None


def check_room(needed: int, directory: Path, sample: Path | None = None) -> None:
    """Raise `DiskFullError` unless `needed` bytes fit into `directory`, or `sample` can be cloned into it for nothing."""
    with translated(f"The free space of {directory} cannot be told"):
        free = shutil.disk_usage(directory).free
    if needed > free and not (sample and _is_clonable(sample, directory)):
        raise DiskFullError(f"{directory} has room for {free} bytes, and {needed} are needed.", hint=_ROOM_HINT)


def _copy_between(
    file: RemoteFile, source: Path, target: Path, cancelled: threading.Event | None, progress: Progress
) -> StoredFile:
    """`file` from one model folder to another, where no folder on the way may be a link."""
    for folder in reversed(PurePosixPath(file.path).parents[:-1]):
        if (source / folder).is_symlink():
            raise CacheError(f"{source / folder} is a link; links are not followed.")
    with translated(f"{target / file.path} cannot be written"):
        make_parents(target, file.path)
    return copy_file(source / file.path, target / file.path, sha256=file.sha256, cancelled=cancelled, progress=progress)


def _open_source(path: Path) -> BinaryIO:
    """A regular file for reading; a second name of it does no harm here."""
    try:
        descriptor = os.open(path, os.O_RDONLY | O_CLEAN)
    except OSError as error:
        raise (NotPlainError(path) if error.errno in (errno.ELOOP, errno.ENXIO) else error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlainError(path)
    return open(descriptor, "rb")


def _fill(
    reading: BinaryIO, writing: BinaryIO, sha256: str | None, cancelled: threading.Event | None, progress: Progress | None
) -> StoredFile:
    """Make `writing` a copy of `reading`, and go on with what it has; what is hashed is what was written."""
    sizes = (os.fstat(stream.fileno()).st_size for stream in (reading, writing))
    has = min(sizes) // CHUNK_BYTES * CHUNK_BYTES
    if not has and _clone(reading.fileno(), writing.fileno()):
        return _digest(writing, None, cancelled, progress)
    digest = _Digest(cancelled, progress)
    digest.read(writing, until=has)
    for stream in (reading, writing):
        stream.seek(digest.size)
    writing.truncate()
    digest.read(reading, writing)
    if not has or digest.stored().sha256 == sha256:
        return digest.stored()
    writing.seek(0)  # it was a part of something else, or the power failed before all of it was on the disk
    writing.truncate()
    reading.seek(0)
    return _digest(reading, writing, cancelled, None)


class _Digest:
    """The digests of a file that is read in parts, each but the last of whole chunks."""

    def __init__(self, cancelled: threading.Event | None, progress: Progress | None) -> None:
        self.size = 0
        self._whole = hashlib.sha256()
        self._chunks: list[str] = []
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._cancelled = cancelled
        self._progress = progress

    def read(self, stream: BinaryIO, copy: BinaryIO | None = None, until: int | None = None) -> None:
        """Take the rest of `stream`, or up to `until`, and write it to `copy`. Raises `DownloadCancelledError`, `OSError`."""
        while until is None or self.size < until:
            count = stream.readinto(self._buffer)  # type: ignore[attr-defined]  # a buffered reader: short at the end only
            if not count:
                break
            if self._cancelled and self._cancelled.is_set():
                raise DownloadCancelledError("The copy was cancelled.")
            chunk = self._buffer[:count]
            if copy:
                copy.write(chunk)
            self._whole.update(chunk)
            self._chunks.append(chunk_digest(chunk))
            self.size += count
            if self._progress:
                self._progress(count)

    def stored(self) -> StoredFile:
        """What was read."""
        return StoredFile("", self.size, self._whole.hexdigest(), tuple(self._chunks))


def _digest(
    stream: BinaryIO, copy: BinaryIO | None, cancelled: threading.Event | None, progress: Progress | None
) -> StoredFile:
    digest = _Digest(cancelled, progress)
    digest.read(stream, copy)
    return digest.stored()


def _check(source: Path, stored: StoredFile, sha256: str | None) -> None:
    if sha256 is not None and stored.sha256 != sha256:
        raise IntegrityError(f"{source} does not hold the bytes that its SHA-256 promises.")


def _kept(path: Path, file: RemoteFile, cancelled: threading.Event | None) -> StoredFile | None:
    """What an earlier attempt has copied already; without a digest nothing can be said about it."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if file.sha256 is None or not stat.S_ISREG(status.st_mode) or status.st_size != file.size or status.st_nlink > 1:
        return None
    stored = digest_file(path, cancelled=cancelled)
    return stored if stored.sha256 == file.sha256 else None


def _clone(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _CLONE, source)
    except OSError:  # another file system, or one that cannot
        return False
    return True


def _is_clonable(sample: Path, directory: Path) -> bool:
    probe = directory / f".foundry-probe-{os.getpid()}"
    try:
        with _open_source(sample) as reading, probe.open("xb") as writing:
            return _clone(reading.fileno(), writing.fileno())
    except OSError:  # what is wrong with the sample is said when it is copied
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


@contextlib.contextmanager
def translated(failure: str) -> Iterator[None]:
    """Turn what the system refuses into `DiskFullError` or `CacheError`; `failure` says what could not be done."""
    try:
        yield
    except OSError as error:
        if full := full_reason(error):
            raise DiskFullError(f"{failure}: {full}.", hint=_ROOM_HINT) from error
        raise CacheError(f"{failure}: {error.strerror}.") from error

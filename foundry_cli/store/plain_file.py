"""Opening the files of a model without ever following a link, a pipe or a second name out of its folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from pathlib import Path, PurePosixPath

from foundry_cli.errors import CacheError, DiskFullError, FoundryError
from foundry_cli.paths import SHARED

O_CLEAN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class NotPlainError(OSError):
    """There is a link, a device or the like where a plain file or folder is needed."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "it is a link or not a plain file", str(path))


def open_plain(path: Path, flags: int) -> int:
    """A descriptor of a regular file without a second name; a new one follows the umask. Raises `NotPlainError`, `OSError`."""
    try:
        descriptor = os.open(path, flags | O_CLEAN, SHARED)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # a link; a pipe, socket; a directory
            raise NotPlainError(path) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise NotPlainError(path)
    return descriptor


def is_plain(path: Path) -> bool:
    """Whether `path` is a regular file that has no second name."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def make_directory(directory: Path) -> None:
    """Make a folder durably, or check that what is there is a real one. Raises `NotPlainError`, `OSError`."""
    try:
        os.mkdir(directory)
        sync_directory(directory.parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            raise NotPlainError(directory) from None


def make_parents(root: Path, path: str) -> None:
    """Make the folders of `path` below `root`, all of which must be real ones. Raises `NotPlainError`, `OSError`."""
    make_directory(root)
    for parent in reversed(PurePosixPath(path).parents[:-1]):
        make_directory(root / parent)


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`. Raises `OSError`."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):  # the disk is nearly full, or a limit is near
        more = os.pwrite(descriptor, data[written:], offset + written)
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def sync_directory(directory: Path) -> None:
    """Make new and removed names in `directory` durable; Windows cannot be asked for that. Raises `OSError`."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def full_reason(error: OSError) -> str:
    """Why no more bytes can be written; "" when the error is another one."""
    if error.errno == errno.EFBIG:
        return "files cannot be larger there; FAT32, for example, ends at 4 GiB"
    return {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota of this user is used up"}.get(error.errno or 0, "")


def disk_error(error: OSError, root: Path, needed: int | None = None) -> FoundryError:
    """What is said when the files of the model in `root` cannot be written; `needed`: bytes still missing, if known."""
    reason = error.strerror or str(error)
    if full := full_reason(error):
        counts = "" if needed is None else f": {needed} bytes are needed and {_free(root)}"
        return DiskFullError(
            f"Nothing more can be written to {root}, because {full}{counts}.",
            hint="Make room, or set another cache with 'foundry cache cd', and download again: what has arrived is kept.",
        )
    where = error.filename or root
    return CacheError(f"{where} cannot be used: {reason}.", hint="Check the cache directory and its disk.")


def _free(root: Path) -> str:
    try:
        return f"{shutil.disk_usage(root).free} bytes are free"
    except OSError:
        return "it is not known how many are free"

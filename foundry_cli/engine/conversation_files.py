"""The files of conversations on disk, for all models together; what is in them, `conversation_store.py` knows.

Whatever else lies in their folders is left alone and never followed: a link, a pipe, a folder.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".kv"
PARTIAL = ".partial"

_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class KeptFile:
    """A conversation on disk. Its time of modification is that of its last use."""

    path: Path
    used: float
    size: int  # bytes


def claim_folder(path: Path) -> None:
    """Have a folder at `path` that only the user may enter. Raises `OSError`, also when it is a link or somebody else's."""
    if not os.path.lexists(path):
        path.mkdir(mode=0o700, parents=True)
    check_folder(path)
    if stat.S_IMODE(path.lstat().st_mode) != 0o700:
        path.chmod(0o700)


def check_folder(path: Path) -> None:
    """Raise `OSError` when `path` is not a folder of the user: what is there is not ours to read, let alone to remove."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, f"{path.name} is a link or no folder")
    if not _is_own(status):
        raise OSError(errno.EPERM, f"{path.name} belongs to somebody else")


def open_for_reading(path: Path) -> BinaryIO:
    """The file at `path`. Raises `OSError`, also when there is something else than a plain file of the user."""
    stream = os.fdopen(os.open(path, os.O_RDONLY | _PLAIN), "rb")
    status = os.fstat(stream.fileno())
    if stat.S_ISREG(status.st_mode) and _is_own(status):
        return stream
    stream.close()
    raise OSError(f"{path.name} {'belongs to somebody else' if stat.S_ISREG(status.st_mode) else 'is not a plain file'}")


def open_for_writing(path: Path) -> BinaryIO:
    """A new file at `path`, which only the user may read. Raises `OSError`."""
    remove(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o600), "wb")


def remove(path: Path) -> bool:
    """Remove the file at `path`; False when it is there still."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def free_bytes(directory: Path) -> int:
    """What can still be written, as far as the system tells."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return 0


def trim(root: Path, budget: int) -> list[Path]:
    """Remove what was used longest ago below `root`, until the rest has at most `budget` bytes; what was removed."""
    files = kept_files(root)
    total = sum(file.size for file in files)
    removed = []
    for file in files:
        if total <= budget:
            break
        if remove(file.path):
            removed.append(file.path)
            total -= file.size
    return removed


def kept_files(root: Path) -> list[KeptFile]:
    """All conversations below `root`, and what a crash left of them; the least recently used first."""
    return sorted(_files(root), key=lambda file: file.used)


def _files(folder: Path, depth: int = 1) -> Iterator[KeptFile]:
    """In `folder`, and in those below it: one for each model."""
    try:
        check_folder(folder)
        with os.scandir(folder) as listing:
            entries = [(Path(entry), entry.stat(follow_symlinks=False)) for entry in listing]
    except OSError:
        return
    for path, status in entries:
        if stat.S_ISDIR(status.st_mode) and depth:
            yield from _files(path, depth - 1)
        elif stat.S_ISREG(status.st_mode) and path.suffix in (SUFFIX, PARTIAL) and _is_own(status):
            yield KeptFile(path, status.st_mtime, status.st_size)


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or bool(status.st_uid == os.geteuid())

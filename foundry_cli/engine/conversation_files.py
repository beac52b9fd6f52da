"""The files of conversations on disk, for all models together; what is in them, `conversation_store.py` knows.

Whatever else lies in their folders is left alone and never followed: a link, a pipe, a folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".kv"
PARTIAL = ".partial"

_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_for_reading(path: Path) -> BinaryIO:
    """The file at `path`. Raises `OSError`, also when there is something else than a plain file."""
    stream = os.fdopen(os.open(path, os.O_RDONLY | _PLAIN), "rb")
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    raise OSError(f"{path.name} is not a plain file")


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


def trim(root: Path, budget: int) -> list[Path]:
    """Remove what was used longest ago below `root`, until the rest has at most `budget` bytes; what was removed."""
    files = sorted(_files(root), key=lambda item: item[1])
    total = sum(size for _, _, size in files)
    removed = []
    for path, _, size in files:
        if total <= budget:
            break
        if remove(path):
            removed.append(path)
            total -= size
    return removed


def _files(root: Path) -> Iterator[tuple[Path, float, int]]:
    """Path, time of the last use and bytes."""
    for path in root.rglob("*.*"):
        if path.suffix in (SUFFIX, PARTIAL):
            try:
                status = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status.st_mtime, status.st_size

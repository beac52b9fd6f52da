"""Which directory is the cache: one that was set carries a marker, so that an empty mount point is not taken for it."""

from __future__ import annotations

import errno
import os
import re
import stat
import uuid
from pathlib import Path

from foundry_cli.errors import CacheError
from foundry_cli.paths import SHARED, write_atomically

MARKER = ".foundry-cache"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_ID = re.compile(rb"[0-9a-f]{32}")


def mark_cache(directory: Path) -> str | None:
    """The id of the cache in `directory`; it gets one when it has none, unless it is read-only. Raises `CacheError`."""
    identity = _read_id(directory)
    if identity is None:
        identity = uuid.uuid4().hex
        try:
            write_atomically(directory / MARKER, identity.encode(), SHARED)
        except OSError as error:
            if error.errno in _READ_ONLY and directory.is_dir():
                return None
            raise CacheError(f"{directory / MARKER} cannot be written: {error.strerror}.") from error
    return identity


def check_cache(directory: Path, identity: str | None, *, is_set: bool = False) -> None:
    """Raise `CacheError` unless `directory` is the cache with this id; None: any directory is, if `is_set` one that exists."""
    is_there = not is_set or os.path.exists(directory)
    if is_there and (identity is None or _read_id(directory) == identity):
        return
    what = "it is not the directory that was set" if directory.is_dir() else "the directory is missing"
    raise CacheError(
        f"The cache directory {directory} is not available: {what}.",
        hint="Mount its disk, or set another directory with 'foundry cache cd'.",
    )


def _read_id(directory: Path) -> str | None:
    try:
        descriptor = os.open(directory / MARKER, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            text = stream.read(100).strip() if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except PermissionError as error:  # of another user: it is one all the same, and not to be replaced
        raise CacheError(
            f"{directory / MARKER} cannot be read: {error.strerror}.", hint="Its owner can change that."
        ) from error
    except OSError:
        return None
    return text.decode() if _ID.fullmatch(text) else None

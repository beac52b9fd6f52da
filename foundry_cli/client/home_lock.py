"""The lock that says "running", seen from outside: whether a service holds it, and which process that is."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_LOCKS = Path("/proc/locks")


def is_held(lock: Path) -> bool:
    """Whether a service holds `lock`. Raises `OSError` when nobody can tell.

    The file is only read: its file system may have become read-only while the service runs. A shared lock is tried, so
    that two that look at the same time do not take each other for a service.
    """
    if sys.platform == "win32":
        return _is_held_by_locking(lock)
    import fcntl

    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):  # the latter on some network file systems
            return True
        raise
    finally:
        os.close(descriptor)
    return False


def _is_held_by_locking(lock: Path) -> bool:
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0, mode=0o600):
            return False
    except Timeout:
        return True


def is_holder(process: psutil.Process, lock: Path) -> bool:
    """Whether `process` holds `lock`. Raises `psutil.Error`."""
    import psutil

    try:
        return any(file.path == os.path.realpath(lock) for file in process.open_files())
    except psutil.AccessDenied:  # on Linux nobody may look into a service, but everybody may see who holds locks
        return process.pid in _holders(lock)


def _holders(lock: Path) -> set[int]:
    """Processes that hold `lock`, by the kernel's table: `1: FLOCK ADVISORY WRITE 123 08:01:456 0 EOF`."""
    try:
        inode = str(lock.stat().st_ino)
        entries = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:
        return set()
    return {int(entry[4]) for entry in entries if entry[1] == "FLOCK" and entry[5].rpartition(":")[2] == inode}

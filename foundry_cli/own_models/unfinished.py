"""A folder in work: hidden from lists by its lock, and emptied when the work does not come to an end."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from foundry_cli.errors import FoundryError
from foundry_cli.store.cache import INCOMPLETE_MARKER
from foundry_cli.store.download_lock import DownloadLock


def empty(root: Path) -> None:
    """Remove everything below `root` but the lock."""
    for entry in list(os.scandir(root)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        elif entry.name != INCOMPLETE_MARKER:
            with contextlib.suppress(OSError):  # the marker stays then, and with it the folder is no model
                os.unlink(entry.path)


def discard(root: Path, lock: DownloadLock) -> None:
    """Remove `root`, whose `lock` is held, with all that is in it; what cannot be removed stays hidden."""
    with contextlib.suppress(OSError, FoundryError):  # it is what was done before that is told
        empty(root)
        lock.complete()
        root.rmdir()

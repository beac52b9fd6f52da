"""The lock of a model that is being downloaded: `download.tmp` in its root, which also hides it from every list."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from foundry_cli.errors import DownloadCancelledError
from foundry_cli.store.cache import INCOMPLETE_MARKER
from foundry_cli.store.journal import JOURNAL, JournalReader
from foundry_cli.store.plain_file import disk_error, make_directory, open_plain, sync_directory

_POLL_SECONDS = 0.1


class DownloadLock:
    """An exclusive kernel lock on `download.tmp`: it ends with its holder, however that one dies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / INCOMPLETE_MARKER
        self._descriptor = -1

    def acquire(self, cancelled: threading.Event, waiting: Callable[[int], None]) -> bool:
        """Make the root and take the lock, polling while another has it; `waiting` gets the bytes that the other has.

        False: the other has ended its work meanwhile. In both cases the model may be complete now: look at its manifest.
        Raises `CacheError`, `DiskFullError`, `DownloadCancelledError`.
        """
        try:
            self._root.parent.mkdir(parents=True, exist_ok=True)
            make_directory(self._root)
            self._descriptor = open_plain(self._path, os.O_RDWR | os.O_CREAT)
            is_held = _try_lock(self._descriptor) or self._wait(cancelled, waiting)
            is_held = is_held and self._is_named()
        except OSError as error:
            self.release()
            raise disk_error(error, self._root) from error
        except BaseException:
            self.release()
            raise
        if not is_held:
            self.release()
        return is_held

    def complete(self) -> None:
        """The model is complete: remove the journal and `download.tmp`, then release. Raises `CacheError`."""
        try:
            sync_directory(self._root)  # the manifest must be there for good before the marker goes
            (self._root / JOURNAL).unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)  # still locked: whoever waits sees the name gone before it gets the lock
            sync_directory(self._root)
        except OSError as error:
            raise disk_error(error, self._root) from error
        finally:
            self.release()

    def release(self) -> None:
        """Give up the lock; what has arrived is kept. Does nothing when it is not held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _wait(self, cancelled: threading.Event, waiting: Callable[[int], None]) -> bool:
        journal = JournalReader(self._root)
        while self._is_named():
            journal.poll()
            waiting(journal.done_bytes())
            if cancelled.wait(_POLL_SECONDS):
                raise DownloadCancelledError("The download was cancelled.")
            if _try_lock(self._descriptor):
                return True
        return False

    def _is_named(self) -> bool:
        """Whether `download.tmp` is still the file that was opened: the other removes it when the model is complete."""
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

"""The lock that says "running": one service per home directory, and what is in there belongs to the one that holds it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from filelock import FileLock, Timeout

from foundry_cli.errors import ServiceStartError
from foundry_cli.home import explained, make_home
from foundry_cli.paths import Paths

logger = logging.getLogger("foundry.service")

ALREADY_RUNNING = "service_already_running"
_LOCK_SECONDS = 0.5  # others hold the lock for a moment to see whether a service runs
_WATCH_SECONDS = 5.0  # between two looks at the lock file


class AlreadyRunningError(ServiceStartError):
    """Another process holds the lock of this home directory."""

    code = ALREADY_RUNNING


class HomeLock:
    """The lock of one home directory, held for the whole life of a service."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._lock = FileLock(paths.lock_file, mode=0o600)
        self._held: os.stat_result

    def __enter__(self) -> HomeLock:
        """Raises `AlreadyRunningError`, `ServiceStartError`, `ForbiddenError`."""
        paths = self._paths
        try:
            make_home(paths)
            self._lock.acquire(timeout=_LOCK_SECONDS, poll_interval=0.02)
            self._held = os.stat(paths.lock_file)
        except Timeout as error:
            raise AlreadyRunningError(f"A service is already running for {paths.home}.") from error
        except OSError as error:
            message, hint = explained(error, paths.lock_file, paths)
            raise ServiceStartError(message, hint=hint) from error
        with suppress(OSError):  # of a service that is gone, or of the home that this was copied from
            paths.instance_file.unlink()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()

    def is_in_place(self) -> bool:
        """Whether the lock file is still the one that we hold. Raises `OSError` when the disk does not answer."""
        try:
            return os.path.samestat(self._held, os.stat(self._paths.lock_file))
        except FileNotFoundError:
            return False

    def remove_traces(self) -> None:
        """Remove record and socket. Without the lock file they may be those of the next service, which has another one."""
        try:
            if self.is_in_place():
                self._paths.instance_file.unlink(missing_ok=True)
                self._paths.socket.unlink(missing_ok=True)
        except OSError as error:  # they are in nobody's way
            logger.warning("record and socket were not removed: %s", error)

    def wait_for_loss(self, stop: Callable[[], None]) -> None:
        """Stop when the lock file was removed or replaced: no command would find us, and another service may start."""
        while True:
            time.sleep(_WATCH_SECONDS)
            try:
                if self.is_in_place():
                    continue
            except OSError:  # a disk that does not answer says nothing
                continue
            logger.warning("%s was removed, so the service ends", self._paths.lock_file)
            stop()
            return

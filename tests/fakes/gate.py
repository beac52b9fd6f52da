"""A gate that lets so many requests pass, for tests that stop a server in the middle without sleeping."""

from __future__ import annotations

import threading

_SECONDS = 30


class Gate:
    """Closed at first. Those who come wait until it is opened for them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._passes = 0
        self._waiting = 0

    def pass_one(self) -> None:
        """Wait for a pass and take it."""
        with self._condition:
            self._waiting += 1
            self._condition.notify_all()
            assert self._condition.wait_for(lambda: self._passes > 0, _SECONDS)
            self._passes -= 1
            self._waiting -= 1

    def open_for(self, count: int) -> None:
        """Let `count` more pass."""
        with self._condition:
            self._passes += count
            self._condition.notify_all()

    def wait_for_waiting(self, count: int) -> None:
        """Until `count` wait and no pass is left."""
        with self._condition:
            assert self._condition.wait_for(lambda: self._waiting >= count and self._passes == 0, _SECONDS)

"""The space on disk for the conversations of all models together.

A worker may write in the folder of its own model only, and keeps that within the budget. When it has written, the service
brings all folders within it: there is never more than the budget and the files that were written in that moment.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from foundry_cli.engine.conversation_files import trim


class ConversationBudget:
    """At most `size` bytes below `root`; the least recently used go first."""

    def __init__(self, root: Path, size: int) -> None:
        self.size = size
        self._root = root
        self._executor = ThreadPoolExecutor(1, "conversations")
        self._is_closed = False
        self.enforce()

    def enforce(self) -> None:
        """Remove what is too much."""
        trim(self._root, self.size)

    def enforce_soon(self) -> None:
        """The same in a thread. For the thread that closes it."""
        if not self._is_closed:
            self._executor.submit(self.enforce)

    def close(self) -> None:
        """The last time, when no worker writes any more."""
        self._is_closed = True
        self._executor.shutdown()
        self.enforce()

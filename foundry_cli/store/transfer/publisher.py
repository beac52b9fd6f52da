"""The thread of a transfer that makes data durable and gives files their final names."""

from __future__ import annotations

import os

from foundry_cli.store.journal import Journal
from foundry_cli.store.manifest import StoredFile
from foundry_cli.store.plain_file import sync_directory
from foundry_cli.store.transfer.attempt import Attempt
from foundry_cli.store.transfer.segments import Workload


class Publisher:
    """Names only files whose hash is right and whose bytes are durable; a slow disk does not hold up the hash of the next."""

    def __init__(self, work: Workload, journal: Journal) -> None:
        self._work = work
        self._journal = journal

    def run(self) -> None:
        """Name files until the work is over. Raises `OSError`."""
        while (found := self._work.next_to_publish()) is not None:
            if isinstance(found, tuple):
                self._publish(*found)
            else:
                for descriptor in found:
                    os.fsync(descriptor)
                self._journal.sync()

    def _publish(self, attempt: Attempt, sha256: str) -> None:
        file = StoredFile(attempt.file.path, attempt.file.size, sha256, tuple(attempt.digests))
        os.fsync(attempt.descriptor)
        if attempt.is_adopted:
            self._journal.begin(file.path, file.size, attempt.sha256, attempt.validator)
            for index, digest in enumerate(file.chunks):
                self._journal.add_chunk(file.path, index, digest)
        else:
            os.replace(attempt.path, attempt.final)
            sync_directory(attempt.final.parent)
        self._journal.publish(file.path, sha256)
        self._work.published(attempt, file)

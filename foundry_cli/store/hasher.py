"""The threads of a transfer that do not fetch: one computes the hash of every file as it grows, one gives files their names."""

from __future__ import annotations

import hashlib
import os

from foundry_cli.store.attempt import CLAIMED, Attempt
from foundry_cli.store.journal import Journal, chunk_size
from foundry_cli.store.manifest import CHUNK_BYTES, StoredFile
from foundry_cli.store.plain_file import sync_directory
from foundry_cli.store.segments import Workload


class Hasher:
    """Follows the chunks of each file in their order, so that the SHA-256 of a file is there soon after its last byte."""

    def __init__(self, work: Workload) -> None:
        self._work = work
        self._buffer = memoryview(bytearray(CHUNK_BYTES))

    def run(self) -> None:
        """Hash until the work is over. Raises `OSError`, `IntegrityError`."""
        while found := self._work.next_to_hash():
            attempt, index = found
            size = chunk_size(attempt.file.size, index)
            data = self._buffer[:size]
            count = os.preadv(attempt.descriptor, [data], index * CHUNK_BYTES)
            if count == size and _is_proven(attempt, index, data):
                attempt.hash.update(data)
                attempt.hashed += 1
            else:
                self._work.reject(attempt, index)


def _is_proven(attempt: Attempt, index: int, data: memoryview) -> bool:
    """Whether a chunk of an earlier run is what the source or the journal says; those of this run were hashed in memory."""
    if attempt.states[index] != CLAIMED:
        return True
    digest = hashlib.sha256(data).hexdigest()
    known = attempt.expected_digest(index) or attempt.digests[index]
    attempt.digests[index] = digest
    return known in ("", digest)


class Publisher:
    """Makes data durable, and gives files whose hash is right their final names."""

    def __init__(self, work: Workload, journal: Journal) -> None:
        self._work = work
        self._journal = journal

    def run(self) -> None:
        """Name files until the work is over. Raises `OSError`."""
        while found := self._work.next_to_publish():
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

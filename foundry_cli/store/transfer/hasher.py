"""The thread of a transfer that takes the hash of each file over the chunks that are on disk already."""

from __future__ import annotations

import os

from foundry_cli.chunks import CHUNK_BYTES, chunk_digest, chunk_size
from foundry_cli.store.transfer.attempt import CLAIMED, Attempt
from foundry_cli.store.transfer.segments import Workload


class Hasher:
    """Reads what no stream could hash while it had the bytes in hand: chunks of an earlier run, and those out of order."""

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
    digest = chunk_digest(data)
    known = attempt.expected_digest(index) or attempt.digests[index]
    attempt.digests[index] = digest
    return known in ("", digest)

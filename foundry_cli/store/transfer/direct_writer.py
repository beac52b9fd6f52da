"""Writes whole chunks past the page cache, in a thread of its own, while the next ones come.

When the bytes come as fast as this machine can take them, a copy in the page cache costs a fifth of the time, and it pushes
out what others have there. On a slower way neither matters, and a model that is loaded next is better found there.
"""

from __future__ import annotations

import math
import mmap
import os
import time
from collections import deque
from dataclasses import dataclass

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.store.plain_file import write_all
from foundry_cli.store.transfer.attempt import Attempt, FileHash
from foundry_cli.store.transfer.segments import AttemptOver, Segment, Workload

MACHINE_BOUND = 300e6
"""Bytes per second of one stream from which on nothing but this machine is slow: it is faster when it has less to do."""

_MEASURED_CHUNKS = 8  # over which the speed is taken
_MOST_WAITING = 2  # chunks, with the one that is being written; they are lost when the process is killed


@dataclass(frozen=True, eq=False)
class WholeChunk:
    """A chunk to be written: `data` lies on a page of its own, as the disk wants it."""

    segment: Segment
    index: int
    digest: str
    file_hash: FileHash | None
    data: mmap.mmap


class DirectWriter:
    """The chunks that are to be written, in their order. `run` is a thread; all else is for the streams."""

    def __init__(self, work: Workload, machine_bound: float = MACHINE_BOUND) -> None:
        """`machine_bound`: bytes per second of one stream from which on its chunks are written this way."""
        self._work = work
        self._most_seconds = _MEASURED_CHUNKS * CHUNK_BYTES / machine_bound if machine_bound else math.inf
        self._changed = work.new_condition()
        self._waiting: deque[WholeChunk] = deque()
        self._free: list[mmap.mmap] = []

    def buffer(self, segment: Segment, index: int) -> mmap.mmap | None:
        """Memory for a chunk that is to be written this way; None when another way is better, or the only one."""
        attempt = segment.attempt
        with self._changed:
            is_whole = (index + 1) * CHUNK_BYTES <= attempt.file.size
            if not self._is_fast(segment) or not is_whole or not attempt.open_direct():
                return None
            return self._free.pop() if self._free else mmap.mmap(-1, CHUNK_BYTES)

    def submit(self, chunk: WholeChunk) -> None:
        """Let a chunk be written and added to the work. Raises `AttemptOver` when that has ended."""
        with self._changed:
            while len(self._waiting) >= _MOST_WAITING and not self._work.ended.is_set():
                self._changed.wait()
            if self._work.ended.is_set():
                raise AttemptOver
            self._waiting.append(chunk)
            self._changed.notify_all()

    def wait(self, segment: Segment) -> None:
        """Until no chunk of `segment` waits, or the work has ended."""
        with self._changed:
            while self._has(segment) and not self._work.ended.is_set():
                self._changed.wait()

    def run(self) -> None:
        """Write until the work is over. Raises `OSError`, `IntegrityError`."""
        while chunk := self._next():
            attempt = chunk.segment.attempt
            _write(attempt, chunk)
            self._work.add(attempt, chunk.index, chunk.digest, chunk.file_hash)
            with self._changed:
                self._waiting.popleft()
                self._free.append(chunk.data)
                self._changed.notify_all()

    def _next(self) -> WholeChunk | None:
        """The first chunk, which stays in the line until it has been added."""
        with self._changed:
            while not self._waiting and not self._work.ended.is_set():
                self._changed.wait()
            return None if self._work.ended.is_set() else self._waiting[0]

    def _is_fast(self, segment: Segment) -> bool:
        """Whether its last chunks have come quickly; another one begins now."""
        now = time.monotonic()
        since = segment.begun.popleft() if len(segment.begun) == _MEASURED_CHUNKS else -math.inf
        segment.begun.append(now)
        return now - since <= self._most_seconds

    def _has(self, segment: Segment) -> bool:
        return any(chunk.segment is segment for chunk in self._waiting)


def _write(attempt: Attempt, chunk: WholeChunk) -> None:
    offset = chunk.index * CHUNK_BYTES
    try:
        if os.pwrite(attempt.direct_descriptor, chunk.data, offset) == CHUNK_BYTES:
            return
    except OSError:  # if the disk has something against it, the usual way will tell
        attempt.refuse_direct()
    write_all(attempt.descriptor, memoryview(chunk.data), offset)

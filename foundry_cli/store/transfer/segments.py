"""The work of a transfer, shared by its threads: which chunks are missing, which wait for the hash, which files for a name."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundry_cli.chunks import CHUNK_BYTES, chunk_size
from foundry_cli.errors import FoundryError, IntegrityError
from foundry_cli.remote import RemoteFile
from foundry_cli.store.journal import ANY_VERSION, Journal, Part
from foundry_cli.store.manifest import StoredFile
from foundry_cli.store.transfer.attempt import CLAIMED, HERE, MISSING, TAKEN, Attempt, FileHash, plan_file

_MOST_CHUNKS = 256  # of one request: each costs the server some 10 ms
_FEWEST_CHUNKS = 4  # near the end, when the streams share what is left
_MOST_RESTARTS = 3  # of a file that changes at the server
_ROUNDS = 2  # of a file or chunk whose hash is wrong
_MOST_OPEN = 200  # files at once; many systems allow a process 1,024
_SYNC_BYTES = 64 * 1024 * 1024  # what a power cut may cost
_SYNC_SECONDS = 2.0
_MEASURED_SECONDS = 0.25  # long enough for the beginning of a connection not to count
_ENOUGH = 100e6  # bytes per second of one stream; such a stream is held up by this machine, not by the network


class AttemptOver(Exception):  # noqa: N818 - no error: the bytes are not needed any more
    """The file is begun again, another stream brings these bytes, or the work is stopped."""


@dataclass(eq=False)
class Segment:
    """Chunks `first` to `end` (without it) of one attempt, for one stream."""

    attempt: Attempt
    first: int
    end: int
    part: Part | None = None  # of its first chunk, from an earlier run
    is_whole: bool = False  # the server sends all bytes or none
    begun: deque[float] = field(default_factory=deque)  # when its last chunks were, on the monotonic clock

    @property
    def start_byte(self) -> int:
        """Where it begins in the file."""
        return self.first * CHUNK_BYTES

    @property
    def stop_byte(self) -> int:
        """Where it ends in the file."""
        return min(self.end * CHUNK_BYTES, self.attempt.file.size)


class Workload:
    """All files of a transfer. Every method may be called by any thread; those named `next` wait for work.

    They raise `OSError` when the disk fails, and `IntegrityError` when bytes are wrong for good.
    """

    def __init__(self, files: Sequence[RemoteFile], root: Path, journal: Journal, streams: int) -> None:
        """Plan from what is in `root`. Raises `OSError`."""
        self.stored: dict[str, StoredFile] = {}
        self.error: FoundryError | None = None
        self.ended = threading.Event()
        self.current_file = ""
        self._root = root
        self._journal = journal
        self._most_streams = streams
        self._streams = 1  # that may work now
        self._measured = (time.monotonic(), 0)
        self._is_fast = False
        self._attempts: list[Attempt] = []
        self._over: list[Attempt] = []
        self._whole: dict[Attempt, Segment] = {}
        self._hashed: deque[tuple[Attempt, str]] = deque()
        self._failed_rounds: dict[tuple[str, int], int] = {}
        self._restarts: dict[str, int] = {}
        self._open_files = 0
        self._unsynced = 0  # bytes of all attempts
        self._synced_at = time.monotonic()
        self._lock = threading.RLock()
        self._conditions: list[threading.Condition] = []
        self._fetchable, self._hashable, self._publishable = (self.new_condition() for _ in range(3))
        for file in sorted(files, key=lambda file: file.size > CHUNK_BYTES):  # small ones first, else in their order
            self._plan(file)
        self.total_bytes = sum(file.size for file in files)
        self.done_bytes = sum(file.size for file in self.stored.values()) + sum(a.done_bytes for a in self._attempts)
        if not self._attempts:
            self.ended.set()

    def _plan(self, file: RemoteFile) -> None:
        planned = plan_file(self._root, file, self._journal.files.get(file.path), self._journal.origin)
        if isinstance(planned, StoredFile):
            self.stored[file.path] = planned
            return
        self._attempts.append(planned)
        if not planned.is_adopted and not planned.is_resumed:
            self._journal.begin(file.path, file.size, planned.sha256, "")

    def new_condition(self) -> threading.Condition:
        """A condition with the lock of the work, which is notified when the work ends."""
        self._conditions.append(threading.Condition(self._lock))
        return self._conditions[-1]

    @property
    def is_complete(self) -> bool:
        """Whether all files have their names."""
        return not self._attempts

    # What the fetchers need

    def next_segment(self, stream: int, rest: Callable[[], None] = lambda: None) -> Segment | None:
        """The next bytes to fetch, to be given back by `leave`; None when the work is over.

        `stream` counts from 0; those with a higher number wait until they would be of use. `rest` is called before a wait.
        """
        with self._lock:
            while not self.ended.is_set():
                for attempt in self._attempts if stream < self._streams else ():
                    first = -1 if attempt in self._whole else attempt.states.find(MISSING)
                    if first >= 0 and self._open(attempt):
                        return self._take(attempt, first)
                rest()
                self._fetchable.wait()
            return None

    def admit_stream(self) -> None:
        """Let one more stream work, because one is held up."""
        with self._lock:
            self._streams = min(self._streams + 1, self._most_streams)
            self._fetchable.notify_all()

    def measure(self, received: int) -> None:
        """Let one more stream work while those that do bring little. `received`: bytes of all until now.

        More connections help against slow ones; on a fast way they only take each other's processor time.
        """
        with self._lock:
            since, before = self._measured
            seconds = time.monotonic() - since
            if seconds < _MEASURED_SECONDS:
                return
            self._measured = (since + seconds, received)
            self._is_fast = received - before >= _ENOUGH * self._streams * seconds
            if not self._is_fast:
                self.admit_stream()

    def _open(self, attempt: Attempt) -> bool:
        if attempt.descriptor < 0:
            if self._open_files >= _MOST_OPEN:
                return False
            attempt.open()
            self._open_files += 1
        return True

    def _take(self, attempt: Attempt, first: int) -> Segment:
        attempt.users += 1
        part = attempt.parts.pop(first, None)
        self.done_bytes -= part.size if part else 0  # until its chunk is there
        end, limit = first, min(first + self._segment_chunks(), len(attempt.states))
        while end < limit and attempt.states[end] == MISSING and end not in attempt.parts:
            attempt.states[end] = TAKEN
            end += 1
        self.current_file = attempt.file.path
        return Segment(attempt, first, end, part)

    def _segment_chunks(self) -> int:
        """How long a segment is to be: near the end the streams share what is left."""
        missing, sharers = 0, self._streams if self._is_fast else self._most_streams
        for attempt in self._attempts:
            missing += attempt.states.count(MISSING)
            if missing >= _MOST_CHUNKS * sharers:
                return _MOST_CHUNKS
        return max(_FEWEST_CHUNKS, missing // sharers)

    def leave(self, segment: Segment) -> None:
        """The stream has ended its work on `segment`; what it has not brought is missing again."""
        attempt = segment.attempt
        with self._lock:
            attempt.users -= 1
            for index in range(segment.first, segment.end):
                if attempt.states[index] == TAKEN:
                    attempt.states[index] = MISSING
            if self._whole.get(attempt) is segment:
                del self._whole[attempt]
            self._fetchable.notify_all()

    def widen(self, segment: Segment) -> bool:
        """The server sends the whole file: let this stream have all of it, when the others have left it.

        Whether the stream has now got it. Raises `AttemptOver` when another stream has it.
        """
        attempt = segment.attempt
        with self._lock:
            owner = self._whole.setdefault(attempt, segment)
            if owner is not segment:
                raise AttemptOver
            if segment.is_whole:
                return False
            while attempt.users > 1 and self._is_needed(segment):  # two writers could spoil what is hashed already
                self._fetchable.wait()
            attempt.states[:] = attempt.states.replace(bytes([MISSING]), bytes([TAKEN]))
            self.done_bytes -= sum(part.size for part in attempt.parts.values())
            attempt.parts.clear()
            segment.first, segment.end, segment.is_whole = 0, len(attempt.states), True
            return True

    def is_wanted(self, segment: Segment, index: int) -> bool:
        """Whether a chunk is to be written. Raises `AttemptOver` when the stream is to leave."""
        if not self._is_needed(segment):
            raise AttemptOver
        return segment.attempt.states[index] < CLAIMED

    def _is_needed(self, segment: Segment) -> bool:
        attempt = segment.attempt
        return attempt.is_current and not self.ended.is_set() and self._whole.get(attempt, segment) is segment

    def agree(self, attempt: Attempt, validator: str) -> bool:
        """Whether bytes of the version `validator` belong to the attempt; its first answer decides which do."""
        with self._lock:
            if validator and not attempt.validator and attempt.is_current and not self.ended.is_set():
                attempt.validator = validator
                self._journal.set_validator(attempt.file.path, validator)
            return attempt.validator in (validator, ANY_VERSION)

    def add(self, attempt: Attempt, index: int, digest: str, file_hash: FileHash | None = None) -> None:
        """A chunk has been written; one with a wrong digest counts as not written."""
        with self._lock:
            if not attempt.is_current or attempt.states[index] == HERE or self.ended.is_set():
                return
            if attempt.expected_digest(index) not in ("", digest):
                self._count_round(attempt, index, f"Chunk {index} of {attempt.file.path}")
                return
            self._journal.add_chunk(attempt.file.path, index, digest)
            attempt.states[index] = HERE
            attempt.digests[index] = digest
            size = chunk_size(attempt.file.size, index)
            self.done_bytes += size
            attempt.unsynced += size
            self._unsynced += size
            if file_hash and index == attempt.hashed and file_hash.before is attempt.hash:
                attempt.hash = file_hash.value
                attempt.hashed += 1
            if attempt.is_hashable or attempt.is_hashed:
                self._hashable.notify()
            if self._unsynced >= _SYNC_BYTES:
                self._publishable.notify()

    def add_part(self, attempt: Attempt, index: int, part: Part) -> None:
        """The beginning of a chunk has been written: another run can go on from there."""
        with self._lock:
            if attempt.is_current and not self.ended.is_set():
                self._journal.add_part(attempt.file.path, index, part)

    # What the hasher needs

    def next_to_hash(self) -> tuple[Attempt, int] | None:
        """The next chunk for the hash of its file; None when the work is over."""
        with self._lock:
            while not self.ended.is_set():
                waiting = (a for a in self._attempts if a.is_hashable or (a.is_hashed and not a.is_ended))
                attempt = next((a for a in waiting if self._open(a)), None)
                if attempt is None:
                    self._hashable.wait()
                elif attempt.is_hashed:
                    self._end(attempt)
                else:
                    return attempt, attempt.hashed
            return None

    def reject(self, attempt: Attempt, index: int) -> None:
        """A chunk that was on disk is not what it should be."""
        with self._lock:
            if not attempt.is_current:
                return
            attempt.states[index] = MISSING
            attempt.digests[index] = ""
            self.done_bytes -= chunk_size(attempt.file.size, index)
            if attempt.is_adopted:
                self._make_partial(attempt)
            else:
                self._journal.remove_chunk(attempt.file.path, index)
            self._fetchable.notify_all()

    def _make_partial(self, attempt: Attempt) -> None:
        path = attempt.file.path
        self._journal.begin(path, attempt.file.size, attempt.sha256, attempt.validator)
        for index, state in enumerate(attempt.states):
            digest = attempt.expected_digest(index) or attempt.digests[index]
            if state >= CLAIMED and digest:
                self._journal.add_chunk(path, index, digest)
        attempt.become_partial()
        self._open_files -= 1

    def _end(self, attempt: Attempt) -> None:
        """The hash has seen all chunks."""
        digest = attempt.hash.hexdigest()
        if attempt.sha256 in ("", digest):
            attempt.is_ended = True
            self._hashed.append((attempt, digest))
            self._publishable.notify()
            return
        if not attempt.is_adopted:
            self._fail_file(attempt)
        self._begin_again(attempt)

    def _fail_file(self, attempt: Attempt) -> None:
        try:
            self._count_round(attempt, -1, attempt.file.path)
        except IntegrityError:
            attempt.discard()
            self._journal.begin(attempt.file.path, attempt.file.size, "", "")
            raise

    def _count_round(self, attempt: Attempt, index: int, what: str) -> None:
        key = attempt.file.path, index
        self._failed_rounds[key] = self._failed_rounds.get(key, 0) + 1
        if self._failed_rounds[key] >= _ROUNDS:
            raise IntegrityError(
                f"{what} has arrived {_ROUNDS} times with bytes that are not those that the source promises.",
                hint="The source is damaged or out of date: refresh the catalog, or try another source.",
            )

    # Beginning again

    def restart(self, attempt: Attempt, error: FoundryError) -> None:
        """The server has another version of the file: begin it from zero, or raise `error` when that happens too often.

        Where a hash decides, nothing is begun again: servers that share a name may call the same bytes differently.
        """
        with self._lock:
            if not attempt.is_current:
                return
            path = attempt.file.path
            if attempt.is_provable:
                attempt.validator = ANY_VERSION
                self._journal.set_validator(path, ANY_VERSION)
                return
            self._restarts[path] = self._restarts.get(path, 0) + 1
            if self._restarts[path] > _MOST_RESTARTS:
                raise error
            self._begin_again(attempt)

    def _begin_again(self, attempt: Attempt) -> None:
        """With a new file, because streams of the old attempt may still be writing."""
        attempt.is_current = False
        attempt.discard()
        if attempt.descriptor >= 0:
            self._open_files -= 1
        if attempt.is_adopted:
            attempt.close()  # only the hasher reads it, and it is the hasher that gives it up
        else:
            self._over.append(attempt)
        self.done_bytes -= attempt.done_bytes
        self._unsynced -= attempt.unsynced
        fresh = Attempt(self._root, attempt.file)
        fresh.sha256 = attempt.sha256
        fresh.validator = ANY_VERSION if attempt.validator == ANY_VERSION else ""
        self._journal.begin(fresh.file.path, fresh.file.size, fresh.sha256, fresh.validator)
        self._attempts[self._attempts.index(attempt)] = fresh
        self._fetchable.notify_all()
        self._hashable.notify()

    # What the publisher needs

    def next_to_publish(self) -> tuple[Attempt, str] | list[int] | None:
        """A file to name, with its SHA-256, or descriptors of data to make durable; None when the work is over."""
        with self._lock:
            while not self.ended.is_set():
                if self._hashed:
                    return self._hashed.popleft()
                is_due = self._unsynced >= _SYNC_BYTES or time.monotonic() - self._synced_at >= _SYNC_SECONDS
                if self._unsynced and is_due:
                    return self._take_unsynced()
                self._publishable.wait(_SYNC_SECONDS)
            return None

    def _take_unsynced(self) -> list[int]:
        descriptors = [attempt.descriptor for attempt in self._attempts if attempt.unsynced]
        for attempt in self._attempts:
            attempt.unsynced = 0
        self._unsynced, self._synced_at = 0, time.monotonic()
        return descriptors

    def published(self, attempt: Attempt, file: StoredFile) -> None:
        """A file has its name."""
        with self._lock:
            self._unsynced -= attempt.unsynced
            self.stored[file.path] = file
            self._attempts.remove(attempt)
            attempt.close()
            self._open_files -= 1
            self._fetchable.notify_all()
            self._hashable.notify()
            if not self._attempts:
                self.stop(None)

    def stop(self, error: FoundryError | None) -> None:
        """End the work; the first error wins."""
        with self._lock:
            self.error = self.error or error
            self.ended.set()
            for condition in self._conditions:
                condition.notify_all()

    def close(self) -> None:
        """Close all files; no thread may work on them any more."""
        for attempt in (*self._attempts, *self._over):
            attempt.close()

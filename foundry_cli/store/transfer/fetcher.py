"""One stream of a transfer: takes segments, asks for them until they are there, and writes what comes."""

from __future__ import annotations

import hashlib
import mmap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from foundry_cli.chunks import CHUNK_BYTES, chunk_size, new_chunk_hash
from foundry_cli.errors import DownloadError, OfflineError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, host_of
from foundry_cli.remote import FileAddress, RemoteFile, RemoteModel
from foundry_cli.store.journal import Part
from foundry_cli.store.plain_file import write_all
from foundry_cli.store.transfer.attempt import FileHash
from foundry_cli.store.transfer.direct_writer import DirectWriter, WholeChunk
from foundry_cli.store.transfer.range_request import (
    ChangedSetback,
    RangeBody,
    RefusedSetback,
    Setback,
    SlowSetback,
    TransientSetback,
    UnusableSetback,
    open_range,
)
from foundry_cli.store.transfer.segments import AttemptOver, Segment, Workload

_PIECE_BYTES = CHUNK_BYTES  # at most: as much as is there; smaller ones cost a tenth more processor time
_LONGEST_SPAN = 1 << 60
_SHORTEST_SPAN = 4 * CHUNK_BYTES
_PART_SECONDS = 2.0  # what the end of the process may cost a stream that is so slow that a chunk takes longer
_MOST_USELESS = 3  # answers in a row that bring nothing: an address that is refused, a wrong range


@dataclass(frozen=True)
class Patience:
    """When a connection is too slow to be kept: fewer than `bytes_per_second` over `seconds`."""

    bytes_per_second: float = 1024.0
    seconds: float = 30.0


class Addresses:
    """Where the files are now; asked once for all streams."""

    def __init__(self, remote: RemoteModel) -> None:
        self._remote = remote
        self._lock = threading.Lock()
        self._known: dict[str, FileAddress] = {}

    def get(self, file: RemoteFile) -> FileAddress:
        """The address in force. Raises what the source raises."""
        with self._lock:
            if file.path not in self._known:
                self._known[file.path] = self._remote.address(file)
            return self._known[file.path]

    def renew(self, file: RemoteFile, stale: FileAddress, refusal: DownloadError) -> None:
        """Ask for another address than `stale`. Raises `refusal` when there is none, `SourceUnreachableError`."""
        with self._lock:
            if self._known.get(file.path) != stale:
                return  # another stream has done it
            try:
                self._known[file.path] = self._remote.address(file, stale=stale)
            except SourceError as error:
                raise SourceError(f"{refusal.message} {error.message}", hint=error.hint) from error
            if self._known[file.path] == stale:
                raise refusal


class Cursor:
    """How far a stream is in its segment: the next byte, and the hashes of the chunk it lies in and of the file so far."""

    def __init__(self, work: Workload, writer: DirectWriter, segment: Segment) -> None:
        self.segment = segment
        self.attempt = segment.attempt
        self.position = segment.start_byte
        self.received = 0  # bytes that were needed
        self._work = work
        self._writer = writer
        self._buffer: mmap.mmap | None = None  # for the chunk, if it is to be written as a whole
        self._kept_at = 0.0  # when something of the chunk was journaled last
        self._begin_chunk()
        if segment.part:
            self._go_on(segment.first, segment.part)

    @property
    def is_done(self) -> bool:
        """Whether all bytes of the segment were there."""
        return self.position >= self.segment.stop_byte

    def room(self, offset: int) -> int:
        """How many bytes may be read at `offset`: none beyond a chunk, or beyond where the writing begins."""
        end = self.position if offset < self.position else (offset // CHUNK_BYTES + 1) * CHUNK_BYTES
        return min(_PIECE_BYTES, end - offset)

    def widen(self) -> None:
        """From now on the whole file is the segment. Raises `AttemptOver`."""
        self._writer.wait(self.segment)  # else what waits would be wanted a second time, and written over what is hashed
        if self._work.widen(self.segment):
            self.position = 0
            self._begin_chunk()

    def _go_on(self, index: int, part: Part) -> None:
        """Begin with what an earlier run has of the first chunk."""
        data = self.attempt.read_part(index, part)
        if data:
            self._is_wanted = True
            self._hash_piece(index, data)
            self.position += len(data)

    def accept(self, data: bytes) -> int:
        """Write the bytes at `position` unless they are there; how many were needed.

        Raises `AttemptOver`, `OSError`, `IntegrityError`.
        """
        index, offset = divmod(self.position, CHUNK_BYTES)
        is_wanted = self._work.is_wanted(self.segment, index)
        if offset == 0:
            self._is_wanted = is_wanted
            self._buffer = self._writer.buffer(self.segment, index) if is_wanted else None
        needed = len(data) if self._is_wanted else 0
        if self._is_wanted:
            self._write(data, offset)
            self._hash_piece(index, data)
            self._keep_part(index, offset + len(data))
        self.received += needed
        self.position += len(data)
        if offset + len(data) == chunk_size(self.attempt.file.size, index):
            self._end_chunk(index)
        return needed

    def _write(self, data: bytes, offset: int) -> None:
        if self._buffer:
            self._buffer[offset : offset + len(data)] = data
        else:
            write_all(self.attempt.descriptor, data, self.position)

    def _keep_part(self, index: int, size: int) -> None:
        now = time.monotonic()
        is_part = size < chunk_size(self.attempt.file.size, index)
        if is_part and self._buffer is None and now - self._kept_at >= _PART_SECONDS:
            self._kept_at = now
            self._work.add_part(self.attempt, index, Part(size, self._hash.hexdigest()))

    def _end_chunk(self, index: int) -> None:
        file_hash = FileHash(self._file_hash, self._hash_before) if self._file_hash and self._hash_before else None
        if self._buffer:
            self._writer.submit(WholeChunk(self.segment, index, self._hash.hexdigest(), file_hash, self._buffer))
        elif self._is_wanted:
            self._writer.wait(self.segment)  # the hash of the file goes from chunk to chunk
            self._work.add(self.attempt, index, self._hash.hexdigest(), file_hash)
        self._begin_chunk(self._file_hash if self._is_wanted else None)

    def _begin_chunk(self, file_hash: hashlib._Hash | None = None) -> None:
        """`file_hash`: of all that lies before it, if that is known."""
        self._hash = new_chunk_hash()
        self._hash_before = file_hash
        self._file_hash = file_hash.copy() if file_hash else None
        self._unhashed: list[bytes] = []  # pieces of this chunk that `_file_hash` has not seen
        self._is_wanted = False
        self._buffer = None
        self._kept_at = time.monotonic()

    def _hash_piece(self, index: int, data: bytes) -> None:
        """Let the hash of the file see the bytes while they are in the processor's cache, if it has come so far."""
        self._hash.update(data)
        self._unhashed.append(data)
        if self._file_hash is None and (before := self.attempt.hash_before(index)):
            self._hash_before, self._file_hash = before, before.copy()
        if self._file_hash:
            for piece in self._unhashed:
                self._file_hash.update(piece)
            self._unhashed.clear()


class Fetcher:
    """A stream. `note` says what it waits for; `is_away`: it is in a call that nobody can interrupt, with no file in hand."""

    def __init__(
        self,
        number: int,
        work: Workload,
        writer: DirectWriter,
        addresses: Addresses,
        client: HttpClient,
        patience: Patience,
    ) -> None:
        self.note = ""
        self.is_away = False
        self.received = 0
        self.in_hand = 0
        self.fellows: list[Fetcher] = [self]  # all streams: while one of them gets on, nobody gives up
        self._number = number
        self._work = work
        self._writer = writer
        self._addresses = addresses
        self._client = client
        self._patience = patience
        self._body: RangeBody | None = None
        self._span = _LONGEST_SPAN  # bytes of one request; fewer after one that nobody answered

    def run(self) -> None:
        """Fetch segments until the work is over. Raises `DownloadError` and its kinds, `OSError`."""
        while segment := self._work.next_segment(self._number, self._client.rest):
            try:
                cursor = Cursor(self._work, self._writer, segment)
                self.in_hand = cursor.position % CHUNK_BYTES
                self._fetch(cursor)
            except AttemptOver:
                continue
            finally:
                self._writer.wait(segment)
                self.in_hand = 0
                self._work.leave(segment)

    def interrupt(self) -> None:
        """Let a blocked read end."""
        body = self._body
        if body:
            body.interrupt()

    def _fetch(self, cursor: Cursor) -> None:
        setbacks = _Setbacks(self._client.retry.tries)
        address = None
        while not cursor.is_done:
            try:
                address = self._address(cursor)
                self._request(cursor, address)
            except ChangedSetback as setback:
                self._work.restart(cursor.attempt, setback.error)
                return
            except Setback as setback:
                self._overcome(setback, cursor, address, setbacks)

    def _address(self, cursor: Cursor) -> FileAddress:
        with self._away(), _source():
            return self._addresses.get(cursor.attempt.file)

    def _request(self, cursor: Cursor, address: FileAddress) -> None:
        attempt, segment = cursor.attempt, cursor.segment
        stop = min(segment.stop_byte, cursor.position + self._span)
        try:
            with self._away():
                body = open_range(self._client, address, attempt.file, cursor.position, stop, attempt.validator)
        except TransientSetback as setback:
            if setback.is_silent:  # perhaps somebody on the way keeps an answer back until all of it is there
                self._span = max(_SHORTEST_SPAN, (stop - cursor.position) // 4)
            raise
        with body:
            self._body = body
            try:
                self._check_ended()  # before anything is written: nobody may wait for this thread any more
                if not self._work.agree(attempt, body.validator):
                    raise ChangedSetback(SourceError(f"{host_of(address.url)} keeps changing {attempt.file.path}."))
                if body.start != cursor.position or body.stop > segment.stop_byte:
                    cursor.widen()
                self._receive(body, cursor, address)
                self._span = min(self._span * 2, _LONGEST_SPAN)
            finally:
                self._body = None

    def _receive(self, body: RangeBody, cursor: Cursor, address: FileAddress) -> None:
        offset = body.start
        speed = _Speed(self._patience, address)
        while offset < body.stop:
            try:
                data = body.read(min(cursor.room(offset), body.stop - offset))
            except TransientSetback:
                speed.check()
                raise
            self._check_ended()  # what an interrupted read returns may be anything
            if offset + len(data) == body.stop:
                body.check_end()
            if offset >= cursor.position:
                self.received += cursor.accept(data)
                self.in_hand = cursor.position % CHUNK_BYTES
            offset += len(data)
            speed.add(len(data))

    def _overcome(self, setback: Setback, cursor: Cursor, address: FileAddress | None, setbacks: _Setbacks) -> None:
        count = setbacks.count(setback, cursor, sum(fellow.received for fellow in self.fellows))
        if isinstance(setback, RefusedSetback):
            try:
                if address and not setback.is_redirected:
                    self._renew(cursor, address, setback)
            except TransientSetback as unreachable:
                self._overcome(unreachable, cursor, address, setbacks)
                return
            if count == 1:
                return
        self._work.admit_stream()
        seconds = self._client.retry.wait(count, setback.retry_after)
        self.note = f"waiting {max(seconds, 1):.0f} s: {setback.error.message.rstrip('.')}"
        self._work.ended.wait(seconds)
        self.note = ""
        self._check_ended()

    def _renew(self, cursor: Cursor, address: FileAddress, setback: Setback) -> None:
        with self._away(), _source():
            self._addresses.renew(cursor.attempt.file, address, setback.error)

    @contextmanager
    def _away(self) -> Iterator[None]:
        self.is_away = True
        try:
            yield
        finally:
            self.is_away = False

    def _check_ended(self) -> None:
        if self._work.ended.is_set():
            raise AttemptOver


@contextmanager
def _source() -> Iterator[None]:
    """A source that cannot be reached for a moment is as a server of files that cannot: it is asked again."""
    try:
        yield
    except OfflineError:
        raise
    except SourceUnreachableError as error:
        raise TransientSetback(error) from error


class _Speed:
    """Watches the speed of one answer."""

    def __init__(self, patience: Patience, address: FileAddress) -> None:
        self._patience = patience
        self._address = address
        self._since = time.monotonic()
        self._bytes = 0

    def add(self, count: int) -> None:
        """So many bytes have come. Raises `SlowSetback` when there were too few for too long."""
        self._bytes += count
        if time.monotonic() - self._since >= self._patience.seconds:
            self.check()
            self._since, self._bytes = time.monotonic(), 0

    def check(self) -> None:
        """The same for the time until now, unless that is too short to tell."""
        seconds = time.monotonic() - self._since
        if seconds >= min(1.0, self._patience.seconds) and self._bytes < self._patience.bytes_per_second * seconds:
            host = host_of(self._address.url)
            raise SlowSetback(SourceUnreachableError(f"{host} has sent only {self._bytes} bytes in {seconds:.0f} s."))


class _Setbacks:
    """Counts the setbacks of one segment; each kind from the last time that something was got on."""

    def __init__(self, tries: int) -> None:
        self._tries = tries
        self._counts: Counter[type[Setback]] = Counter()
        self._marks: dict[type[Setback], int] = {}

    def count(self, setback: Setback, cursor: Cursor, received_by_all: int) -> int:
        """How many there are now. Raises the error of the setback when these are enough."""
        kind = type(setback)
        mark = {TransientSetback: received_by_all, SlowSetback: received_by_all // CHUNK_BYTES}.get(kind, cursor.received)
        if self._marks.get(kind) != mark:
            self._marks[kind], self._counts[kind] = mark, 0
        self._counts[kind] += 1
        most = {RefusedSetback: _MOST_USELESS + 1, UnusableSetback: _MOST_USELESS}.get(kind, self._tries)
        if self._counts[kind] >= most:
            raise setback.error
        return self._counts[kind]

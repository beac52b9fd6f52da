"""One attempt at one file of a model: which of its chunks are on disk, and the open file they lie in."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.chunks import CHUNK_BYTES, chunk_count, chunk_digest, chunk_size
from foundry_cli.remote import RemoteFile
from foundry_cli.store.journal import FileRecord, Part
from foundry_cli.store.manifest import StoredFile
from foundry_cli.store.plain_file import NotPlainError, make_parents, open_plain

PARTIAL_SUFFIX = ".partial"

MISSING, TAKEN, CLAIMED, HERE = range(4)
"""States of a chunk: nowhere; being fetched; on disk as the journal says, to be compared; on disk."""


@dataclass(frozen=True, eq=False)
class FileHash:
    """The hash of a file to the end of a chunk, and the one to its beginning, on which it goes on."""

    value: hashlib._Hash
    before: hashlib._Hash


class Attempt:
    """The chunks of a file and the file they are written to. `Workload` guards the fields that change."""

    def __init__(self, root: Path, file: RemoteFile, record: FileRecord | None = None, *, is_adopted: bool = False) -> None:
        """`record`: what an earlier run left in the partial file. `is_adopted`: the file under its final name is tried."""
        self.file = file
        self.final = root / file.path
        self.path = self.final if is_adopted else partial_path(root, file.path)
        self.is_adopted = is_adopted
        self.is_resumed = record is not None
        self.is_current = True
        self.is_ended = False  # the hash is right, the name is still to be given
        self.users = 0  # streams that write to it
        self.sha256 = file.sha256 or (record.sha256 if record else "")  # that it must have; "": nobody says
        self.validator = record.validator if record else ""
        self.states = bytearray(chunk_count(file.size))
        self.digests = [""] * len(self.states)
        self.parts: dict[int, Part] = {}  # beginnings of missing chunks
        self.unsynced = 0  # bytes on disk that a power cut would take
        self.hashed = 0  # chunks that `hash` has seen
        self.hash = hashlib.sha256()
        self.descriptor = -1
        self.direct_descriptor = -1  # past the page cache
        self._can_be_direct = not is_adopted
        self._root = root
        if is_adopted:
            self._claim(range(len(self.states)), record)
        elif record:
            size = _size(self.path)
            self._claim((i for i in record.chunks if i * CHUNK_BYTES + chunk_size(file.size, i) <= size), record)
            self.parts = {i: part for i, part in record.parts.items() if i * CHUNK_BYTES + part.size <= size}

    def _claim(self, indices: Iterable[int], record: FileRecord | None) -> None:
        for index in indices:
            self.states[index] = CLAIMED
            self.digests[index] = record.chunks.get(index, "") if record else ""

    @property
    def done_bytes(self) -> int:
        """Bytes that are on disk."""
        chunks = sum(chunk_size(self.file.size, index) for index, state in enumerate(self.states) if state >= CLAIMED)
        return chunks + sum(part.size for part in self.parts.values())

    @property
    def is_hashable(self) -> bool:
        """Whether there is a chunk for the hash to take."""
        return self.hashed < len(self.states) and self.states[self.hashed] >= CLAIMED

    @property
    def is_hashed(self) -> bool:
        """Whether the hash has seen all chunks."""
        return self.hashed == len(self.states)

    def hash_before(self, index: int) -> hashlib._Hash | None:
        """The hash of all that lies before a chunk, to be copied; None when it has not come so far.

        Only who brings the chunk may ask: the hash cannot go on without it.
        """
        return self.hash if self.hashed == index else None

    def open(self) -> None:
        """Open the file unless it is open; not before it is used, as a model can have more files than a process may open.

        Raises `NotPlainError`, `OSError`.
        """
        if self.descriptor >= 0:
            return
        if self.is_adopted:
            self.descriptor = open_plain(self.path, os.O_RDONLY)
            return
        make_parents(self._root, self.file.path)
        self.descriptor = open_plain(self.path, os.O_RDWR | os.O_CREAT)
        if not self.is_resumed:
            os.ftruncate(self.descriptor, 0)

    def open_direct(self) -> bool:
        """Open the open file a second time, to write whole chunks past the page cache; False where that cannot be."""
        if self.direct_descriptor < 0 and self._can_be_direct:
            try:
                flags = os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC
                self.direct_descriptor = os.open(f"/proc/self/fd/{self.descriptor}", flags)  # this very file, whatever its name
            except (OSError, AttributeError):  # another system, or a file system that has no such way
                self._can_be_direct = False
        return self._can_be_direct

    def refuse_direct(self) -> None:
        """It cannot be after all."""
        self._can_be_direct = False

    def read_part(self, index: int, part: Part) -> bytes:
        """The bytes of a part, empty when they are not those that were written. Raises `OSError`."""
        data = os.pread(self.descriptor, part.size, index * CHUNK_BYTES)
        return data if len(data) == part.size and chunk_digest(data) == part.digest else b""

    @property
    def is_provable(self) -> bool:
        """Whether the source says which bytes the file must have, all together or chunk by chunk."""
        return bool(self.sha256) or len(self.file.chunk_digests) == len(self.states)

    def expected_digest(self, index: int) -> str:
        """What a chunk must have, "" when nobody says."""
        digests = self.file.chunk_digests
        return digests[index] if len(digests) == len(self.states) else ""

    def become_partial(self) -> None:
        """The file under its final name is not right after all: what is good of it becomes a partial file."""
        self.close()
        self.path = partial_path(self._root, self.file.path)
        os.replace(self.final, self.path)
        self.is_adopted, self.is_resumed = False, True

    def discard(self) -> None:
        """Remove the partial file. Who still writes to it writes into nothing."""
        if not self.is_adopted:
            if self.descriptor >= 0:
                os.ftruncate(self.descriptor, 0)
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        for descriptor in (self.descriptor, self.direct_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self.direct_descriptor = -1


def partial_path(root: Path, path: str) -> Path:
    """Where `path` grows until it is complete."""
    return root / (path + PARTIAL_SUFFIX)


def plan_file(root: Path, file: RemoteFile, record: FileRecord | None, origin: str) -> Attempt | StoredFile:
    """What is to be done for `file` of the model at `origin`, from names and sizes alone; a `StoredFile` when nothing is.

    Raises `NotPlainError` when a link or a device has the file's name.
    """
    record = record if record and record.fits(file, origin) else None
    chunks = dict(sorted(record.chunks.items())) if record else {}
    count = chunk_count(file.size)
    sha256 = file.sha256 or (record.sha256 if record else "")
    is_provable = bool(sha256) or len(file.chunk_digests) == count > 0
    is_there = _is_candidate(root / file.path, file.size)
    has_partial = _is_candidate(partial_path(root, file.path))
    if is_there and record and record.published and len(chunks) == count and sha256 in ("", record.published):
        return StoredFile(file.path, file.size, record.published, tuple(chunks.values()))
    if is_there and (is_provable or len(chunks) == count > 0):
        return Attempt(root, file, record, is_adopted=True)
    if has_partial and record and (is_provable or record.validator):
        return Attempt(root, file, record)
    return Attempt(root, file)  # without a hash or a validator nobody could tell bytes of two versions apart


def _is_candidate(path: Path, size: int | None = None) -> bool:
    """Whether there is a file that may be used: a second name of it is none of ours."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(status.st_mode):
        raise NotPlainError(path)
    return status.st_nlink == 1 and size in (None, status.st_size)


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0

"""The journal of a download: which chunks of which file are on disk, with their digests. Append-only, torn ends are normal.

One record is a line `checksum JSON`, written by one call. A record that is damaged counts as not written: then its chunk
is fetched again. Records are written after the data but not synchronized with it, so after a power cut a chunk is believed
only when its digest matches.
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundry_cli.chunks import chunk_count, chunk_size, is_chunk_digest
from foundry_cli.remote import RemoteFile
from foundry_cli.store.plain_file import open_plain

JOURNAL = "download.journal"
NEW_JOURNAL = "download.journal.new"  # of a repair, until it is complete
ANY_VERSION = "*"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 28  # bytes; two million chunks
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """The first `size` bytes of a chunk, with their digest."""

    size: int
    digest: str


@dataclass
class FileRecord:
    """What the journal knows about one file. `sha256` is what the whole file must have, "" when nobody says.

    `origin` is the address of the model that the bytes are of, "" when that is not known. `validator` is what the server names
    the version of its bytes, `ANY_VERSION` when it has several names for the same.
    """

    size: int
    sha256: str
    validator: str
    origin: str = ""
    chunks: dict[int, str] = field(default_factory=dict)
    parts: dict[int, Part] = field(default_factory=dict)  # of chunks that are not there as a whole
    published: str = ""  # SHA-256 of the file under its final name

    @property
    def done_bytes(self) -> int:
        """Bytes that need not be fetched any more."""
        if self.published:
            return self.size
        return sum(chunk_size(self.size, index) for index in self.chunks) + sum(part.size for part in self.parts.values())

    def fits(self, file: RemoteFile, origin: str) -> bool:
        """Whether it is about the same bytes as the source has now: those of another origin are proven by their hash only."""
        is_same = origin == self.origin if file.sha256 is None else self.sha256 in ("", file.sha256)
        return self.size == file.size and is_same


class JournalReader:
    """Follows a journal that another process may be writing."""

    def __init__(self, root: Path) -> None:
        self.files: dict[str, FileRecord] = {}
        self._path = root / JOURNAL
        self._identity = (0, 0)
        self._offset = 0
        self._rest = b""

    def poll(self) -> None:
        """Take in what was added since the last call; a missing or unreadable journal is an empty one."""
        try:
            descriptor = open_plain(self._path, os.O_RDONLY)
        except OSError:
            self._begin((0, 0))
            return
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != self._identity or status.st_size < self._offset:
                self._begin((status.st_dev, status.st_ino))
            self._read(descriptor)
        finally:
            os.close(descriptor)

    def done_bytes(self) -> int:
        """Bytes of all files that need not be fetched any more."""
        return sum(record.done_bytes for record in self.files.values())

    def _begin(self, identity: tuple[int, int]) -> None:
        self.files, self._identity, self._offset, self._rest = {}, identity, 0, b""

    def _read(self, descriptor: int) -> None:
        os.lseek(descriptor, self._offset, os.SEEK_SET)
        while self._offset < _LARGEST:
            try:
                block = os.read(descriptor, _BLOCK)
            except OSError:  # a journal that cannot be read costs bytes, never the download
                return
            if not block:
                return
            self._offset += len(block)
            *lines, self._rest = (self._rest + block).split(b"\n")
            self._rest = self._rest[-_BLOCK:]
            for line in lines:
                self._apply(line)

    def _apply(self, line: bytes) -> None:
        record = _parse(line)
        if len(record) < 3 or not isinstance(record[1], str):
            return
        kind, path, *values = record
        known = self.files.get(path)
        if kind == "file" and _is_file(values):
            self.files[path] = FileRecord(*values)
        elif known and kind == "chunk" and _is_chunk(values, known.size):
            known.chunks[values[0]] = values[1]
            known.parts.pop(values[0], None)
        elif known and kind == "part" and _is_part(values, known.size):
            known.parts[values[0]] = Part(*values[1:])
        elif known and kind == "validator" and isinstance(values[0], str):
            known.validator = values[0]
        elif known and kind == "bad" and type(values[0]) is int:
            known.chunks.pop(values[0], None)
        elif known and kind == "published" and _is_digest(values[0]):
            known.published = values[0]


class Journal:
    """The journal of the download that holds the lock. Used by several threads; all methods raise `OSError`."""

    def __init__(self, root: Path, origin: str = "", name: str = JOURNAL) -> None:
        """`origin`: the address of the model whose files come now. `name`: the file that is written."""
        reader = JournalReader(root)
        reader.poll()
        self.files = reader.files
        self.origin = origin
        self._lock = threading.Lock()
        self._descriptor = open_plain(root / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._is_torn = os.fstat(self._descriptor).st_size > 0  # perhaps

    def begin(self, path: str, size: int, sha256: str, validator: str) -> None:
        """What was known of `path` is void; it has `size` bytes now, with this validator of the server."""
        self._append("file", path, size, sha256, validator, self.origin)

    def set_validator(self, path: str, validator: str) -> None:
        """The server has named the version of `path` that it sends."""
        self._append("validator", path, validator)

    def add_chunk(self, path: str, index: int, digest: str) -> None:
        """A chunk is in the partial file."""
        self._append("chunk", path, index, digest)

    def add_part(self, path: str, index: int, part: Part) -> None:
        """The beginning of a chunk is in the partial file."""
        self._append("part", path, index, part.size, part.digest)

    def remove_chunk(self, path: str, index: int) -> None:
        """A chunk turned out to be wrong."""
        self._append("bad", path, index)

    def publish(self, path: str, sha256: str) -> None:
        """The file has its final name."""
        self._append("published", path, sha256)

    def sync(self) -> None:
        """Make what was written durable; the data must be so before."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; nothing is removed."""
        os.close(self._descriptor)

    def _append(self, *record: object) -> None:
        text = json.dumps(record, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        with self._lock:
            data = b"\n" + line if self._is_torn else line
            self._is_torn = True
            if os.write(self._descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._is_torn = False


def _parse(line: bytes) -> Sequence[Any]:
    checksum, _, text = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return ()
        record = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return record if isinstance(record, list) else ()


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_file(values: Sequence[object]) -> bool:
    if len(values) not in (3, 4):  # earlier releases did not write the origin
        return False
    size, sha256, *texts = values
    are_texts = all(isinstance(text, str) for text in texts)
    return type(size) is int and size >= 0 and are_texts and (sha256 == "" or _is_digest(sha256))


def _is_chunk(values: Sequence[Any], size: int) -> bool:
    return len(values) == 2 and type(values[0]) is int and 0 <= values[0] < chunk_count(size) and is_chunk_digest(values[1])


def _is_part(values: Sequence[Any], size: int) -> bool:
    is_of_chunk = len(values) == 3 and _is_chunk((values[0], values[2]), size)
    return is_of_chunk and type(values[1]) is int and 0 < values[1] < chunk_size(size, values[0])

"""Conversations on disk: tokens with their keys and values, so that a chat goes on at once after a restart.

A file is a line of JSON, the tokens (int32), keys and values as `CacheRows` writes them, and a checksum (XXH3, 64 bits) of
all that. Files of other models, templates or versions of the runtime lie in other folders, see `store_key`. They hold what
was said: only the user may read them, and they are kept within a budget, the least recently used going first.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.conversation_files import (
    PARTIAL,
    SUFFIX,
    free_bytes,
    kept_files,
    open_for_reading,
    open_for_writing,
    remove,
    trim,
)
from foundry_cli.engine.own_kernels import kernel_name

logger = logging.getLogger("foundry.engine")

_FORMAT = "foundry-keys-and-values"
_VERSION = 1
_LONGEST_HEAD = 1024  # bytes
_MOST_TOKENS = 1 << 24
_FEWEST_TOKENS = 64  # fewer are read again as quickly
_NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class Found:
    """A conversation on disk whose first `common` tokens are those of a prompt."""

    path: Path
    stored: int  # tokens
    common: int


def store_key(directory: Path, template: str | None) -> str:
    """The name of the folder for the model in `directory`: other weights, template, runtime or kernels give another one."""
    import onnxruntime

    manifest = directory / "foundry.manifest.json"
    if manifest.exists():
        identity: object = hashlib.sha256(manifest.read_bytes()).hexdigest()
    else:
        with os.scandir(directory) as listing:
            entries = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in listing)
        identity = [str(directory), entries]
    parts = json.dumps([_VERSION, identity, template, onnxruntime.__version__, kernel_name()])
    return hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:32]


class ConversationStore:
    """The conversations of one model. A disk that fails costs only the time to read a prompt again."""

    def __init__(self, directory: Path, budget: int) -> None:
        """`directory` exists; `budget`: bytes."""
        self._directory = directory
        self._budget = budget
        self._has_failed = False  # the last attempt to write
        self._tokens = {path: tokens for path in directory.glob("*" + SUFFIX) if (tokens := _read_tokens(path)) is not None}

    def find(self, tokens: Sequence[int], is_usable: Callable[[int], bool] = lambda _: True) -> Found | None:
        """What begins like `tokens` for longest. `is_usable` is asked about conversations with so many tokens."""
        wanted = np.asarray(tokens, dtype=np.int32)
        usable = {path: stored for path, stored in self._tokens.items() if is_usable(len(stored))}
        found = [Found(path, len(stored), _common(stored, wanted)) for path, stored in usable.items()]
        for best in sorted(found, key=lambda each: each.common, reverse=True):
            if os.path.lexists(best.path):
                return best
            del self._tokens[best.path]  # the service removed it, for the budget of all models together
        return None

    def load(self, found: Found, rows: CacheRows, row: int) -> bool:
        """Put the common tokens into `row`; False, and the file is gone, when it is damaged."""
        try:
            with open_for_reading(found.path) as stream:
                reader = _Hashing(stream)
                tokens = _read_head(reader)
                if tokens is None or not np.array_equal(tokens, self._tokens[found.path]):
                    raise EOFError("the file was exchanged")
                size = stream.tell() + rows.size(found.stored) + reader.hash.digest_size
                if os.fstat(stream.fileno()).st_size != size:
                    raise EOFError("the file has another size than it should")
                rows.read(row, found.stored, found.common, reader)
                is_whole = stream.read() == reader.hash.digest()
            os.utime(found.path)
        except (OSError, EOFError, ValueError) as error:
            logger.warning("a conversation on disk cannot be used: %s", error)
            is_whole = False
        if not is_whole:
            self._remove(found.path)
        return is_whole

    def save(self, tokens: Sequence[int], rows: CacheRows, row: int, *, age: float = 0.0) -> bool:
        """Write the conversation in `row`, last used `age` seconds ago, in place of those it continues.

        Those used before give way to it when there is no space. False when it could not be written, perhaps another time.
        """
        used, size = time.time() - age, rows.size(len(tokens))
        if len(tokens) < _FEWEST_TOKENS or self._would_go_at_once(used, size):
            return True
        kept = np.asarray(tokens, dtype=np.int32)
        path = self._directory / (hashlib.sha256(kept.tobytes()).hexdigest()[:32] + SUFFIX)
        while error := self._write(path, kept, rows, row, used):
            if error.errno not in _NO_SPACE or not self._give_way(used, size):
                if not self._has_failed:  # once is enough: every pause is another attempt
                    logger.warning("conversations cannot be kept on disk: %s", error.strerror)
                self._has_failed = True
                return False
        self._has_failed = False
        for other, stored in list(self._tokens.items()):
            if other != path and _common(stored, kept) == len(stored):
                self._remove(other)
        self._tokens[path] = kept
        for removed in trim(self._directory, self._budget):
            self._tokens.pop(removed, None)
        return True

    def _would_go_at_once(self, used: float, size: int) -> bool:
        return size + sum(file.size for file in kept_files(self._directory) if file.used >= used) > self._budget

    def _give_way(self, used: float, size: int) -> bool:
        """Remove the least recently used ones, until `size` bytes are free, if the older ones than `used` are enough."""
        older = [file for file in kept_files(self._directory) if file.used < used]
        if free_bytes(self._directory) + sum(file.size for file in older) < size:
            return False
        removed = 0
        for file in older:
            if removed and free_bytes(self._directory) >= size:  # at least one: of a quota the free space says nothing
                break
            removed += self._remove(file.path)
        return removed > 0

    def _write(self, path: Path, tokens: NDArray[np.int32], rows: CacheRows, row: int, used: float) -> OSError | None:
        partial = path.with_suffix(PARTIAL)
        try:
            with open_for_writing(partial) as stream:
                writer = _Hashing(stream)
                writer.write(json.dumps({"format": _FORMAT, "version": _VERSION, "tokens": len(tokens)}).encode() + b"\n")
                writer.write(tokens.data)
                rows.write(row, len(tokens), writer)
                stream.write(writer.hash.digest())
            os.utime(partial, (used, used))
            os.replace(partial, path)
        except OSError as error:
            remove(partial)
            return error
        return None

    def _remove(self, path: Path) -> bool:
        self._tokens.pop(path, None)
        return remove(path)


def _read_tokens(path: Path) -> NDArray[np.int32] | None:
    try:
        with open_for_reading(path) as stream:
            return _read_head(stream)
    except (OSError, ValueError):
        return None


def _read_head(stream: Any) -> NDArray[np.int32] | None:
    try:
        head = json.loads(stream.readline(_LONGEST_HEAD))
    except RecursionError:
        return None
    if not isinstance(head, dict) or (head.get("format"), head.get("version")) != (_FORMAT, _VERSION):
        return None
    count = head.get("tokens")
    if type(count) is not int or not 0 < count <= _MOST_TOKENS:
        return None
    tokens = np.empty(count, dtype=np.int32)
    return tokens if stream.readinto(tokens.data.cast("B")) == tokens.nbytes else None


def _common(stored: NDArray[np.int32], wanted: NDArray[np.int32]) -> int:
    length = min(len(stored), len(wanted))
    differing = np.flatnonzero(stored[:length] != wanted[:length])
    return int(differing[0]) if len(differing) else length


class _Hashing:
    """A file whose bytes are hashed on their way."""

    def __init__(self, stream: BinaryIO) -> None:
        self.hash = xxh3_64()
        self._stream = stream

    def readline(self, most: int) -> bytes:
        line = self._stream.readline(most)
        self.hash.update(line)
        return line

    def readinto(self, buffer: memoryview) -> int:
        count = int(self._stream.readinto(buffer))  # type: ignore[attr-defined]
        self.hash.update(buffer[:count])
        return count

    def write(self, data: bytes | memoryview) -> None:
        self.hash.update(data)
        self._stream.write(data)

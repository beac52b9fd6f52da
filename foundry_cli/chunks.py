"""Chunks: the pieces of a file that are fetched, journaled, checked and repaired as a whole.

Their digest is XXH3 with 64 bits: it has to find damage, not forgery, and takes a twentieth of the time of SHA-256. What a
file must be is said by the SHA-256 of all of it.
"""

from __future__ import annotations

import re

from xxhash import xxh3_64, xxh3_64_hexdigest

CHUNK_BYTES = 1 << 20
DIGEST_BYTES = 8
HASH_NAME = "xxh3-64"
_DIGEST = re.compile(r"[0-9a-f]{16}")


def chunk_count(size: int) -> int:
    """How many chunks a file of `size` bytes has."""
    return -(-size // CHUNK_BYTES)


def chunk_size(size: int, index: int) -> int:
    """Bytes of one chunk of a file of `size` bytes."""
    return min(CHUNK_BYTES, size - index * CHUNK_BYTES)


def chunk_digest(data: bytes | memoryview) -> str:
    """The digest of one chunk: 16 lower-case hex digits."""
    return xxh3_64_hexdigest(data)


def new_chunk_hash() -> xxh3_64:
    """The same for bytes that come piece by piece: `update`, then `hexdigest`."""
    return xxh3_64()


def is_chunk_digest(value: object) -> bool:
    """Whether `value` can be the digest of a chunk."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None

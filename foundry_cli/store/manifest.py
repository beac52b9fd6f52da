"""What a downloaded, added or imported model consists of: `foundry.manifest.json`, written last, in the model's folder.

A model with a manifest is complete when every file in it is there with its size; its SHA-256 is checked by `verify`.
The digests of the chunks of each file lie beside it in `foundry.chunks.json`, because lists of models do not need them.
Models without a manifest (put there by hand or by the original) are complete by what `cache.py` says.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from foundry_cli import mirror_index
from foundry_cli.chunks import CHUNK_BYTES, HASH_NAME
from foundry_cli.errors import SourceError
from foundry_cli.model_record import from_record, to_record
from foundry_cli.paths import SHARED, write_atomically
from foundry_cli.store.plain_file import NotPlainError, open_plain
from foundry_cli.types import ModelInfo

MANIFEST = "foundry.manifest.json"
CHUNKS = "foundry.chunks.json"
UNREADABLE = "cannot be read"
"""In what is said about a file of a model: the disk or its rights are the problem, and not what is in it."""
_VERSION = 1
_LARGEST = 64 * 1024 * 1024  # bytes
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_LEVELS = 8


@dataclass(frozen=True)
class StoredFile:
    """A file of a model on disk. `path` is relative to the model's folder, with `/`; `chunks`: digest of each chunk."""

    path: str
    size: int  # bytes
    sha256: str
    chunks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The files of a model, and what was known about it when they came."""

    model: ModelInfo
    files: tuple[StoredFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def check_path(text: str) -> str:
    """`text` if it is a relative path of plain names that every system takes. Raises `SourceError`."""
    if not _is_plain_path(text):
        raise SourceError(f"The model has a file with the name {text[:200]!r}, which cannot be used on every system.")
    return text


@lru_cache(4096)  # the files of all models have much the same names
def _is_plain_path(text: str) -> bool:
    parts = text.split("/")
    return len(parts) <= _MOST_LEVELS and all(_is_plain_name(part) for part in parts)


_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def _is_plain_name(name: str) -> bool:
    return (
        name not in ("", ".", "..")
        and len(name.encode("utf-8", "replace")) <= 200
        and name.isprintable()
        and not any(character in '<>:"|?*\\' for character in name)
        and not name.endswith((".", " "))
        and not name.startswith((".foundry", "foundry.manifest", "foundry.chunks"))
        and name not in ("download.tmp", "download.journal")
        and not _RESERVED.fullmatch(name)
    )


def check_paths(paths: Iterable[str]) -> None:
    """As `check_path` for all files of a model; two that differ in case only are refused, too."""
    seen: set[str] = set()
    for path in paths:
        folded = check_path(path).casefold()
        if folded in seen:
            raise SourceError(f"The model has two files with the name {path!r}.")
        seen.add(folded)


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write both files into `root`, the manifest last and atomically. Raises `OSError`."""
    chunks = {file.path: _pack(file.chunks) for file in manifest.files if file.chunks}
    if chunks:
        document = {"version": _VERSION, "chunkBytes": CHUNK_BYTES, "hash": HASH_NAME, "chunks": chunks}
        write_atomically(root / CHUNKS, json.dumps(document).encode(), SHARED)
    files = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in manifest.files]
    record = {**to_record(manifest.model), "fileSizeBytes": manifest.size_bytes, "fileSizeMb": manifest.size_bytes >> 20}
    document = {"version": _VERSION, "model": record, "files": files}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_atomically(root / MANIFEST, text.encode("utf-8", "replace"), SHARED)


def read_manifest(root: Path) -> Manifest | None:
    """The manifest in `root`, without chunk digests; None when there is none that can be used."""
    document = read_object(root / MANIFEST, _LARGEST)
    model = from_record(document.get("model"))
    files = document.get("files")
    if document.get("version") != _VERSION or model is None or not isinstance(files, list):
        return None
    stored = [_stored_file(entry) for entry in files]
    if not all(stored):
        return None
    return Manifest(model, tuple(file for file in stored if file))


def read_chunks(root: Path) -> dict[str, tuple[str, ...]]:
    """The chunk digests by path; empty when there are none that can be used."""
    return mirror_index.read_chunks(read_plain(root / CHUNKS, _LARGEST))


def first_problem(root: Path, manifest: Manifest) -> str:
    """The first file that is missing or has another size, in words; "" when there is none. No content is read."""
    for file in manifest.files:
        try:
            status = os.lstat(f"{root}/{file.path}")
        except (FileNotFoundError, NotADirectoryError):
            return f"{file.path} is missing"
        except OSError as error:
            return f"{file.path} {UNREADABLE}: {error.strerror}"
        if not stat.S_ISREG(status.st_mode):
            return f"{file.path} is not a plain file"
        if status.st_size != file.size:
            return f"{file.path} has {status.st_size} bytes instead of {file.size}"
    return ""


def manifest_problem(root: Path) -> str:
    """Why the manifest in `root` is none that can be used, in words."""
    try:
        descriptor = open_plain(root / MANIFEST, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as stream:
            stream.read(1)
    except NotPlainError:
        pass
    except OSError as error:
        return f"{MANIFEST} {UNREADABLE}: {error.strerror}"
    return f"{MANIFEST} cannot be used"


def read_object(path: Path, largest: int) -> dict[str, Any]:
    """The JSON object in a plain file; {} for anything else, without waiting for the writer of a named pipe."""
    try:
        document = json.loads(read_plain(path, largest))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def read_plain(path: Path, largest: int) -> bytes:
    """The first `largest` bytes of a plain file; none when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(largest) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""


def _stored_file(entry: object) -> StoredFile | None:
    if not isinstance(entry, dict):
        return None
    path, size, digest = entry.get("path"), entry.get("size"), entry.get("sha256")
    if not isinstance(path, str) or type(size) is not int or size < 0 or not isinstance(digest, str):
        return None
    try:
        check_path(path)
    except SourceError:
        return None
    return StoredFile(path, size, digest) if _SHA256.fullmatch(digest) else None


def _pack(digests: Iterable[str]) -> str:
    return base64.b64encode(b"".join(bytes.fromhex(digest) for digest in digests)).decode()

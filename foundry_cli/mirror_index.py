"""`index.json` of a static mirror: a directory, on a disk or a web server, that holds models and says which.

    {"format": "foundry-mirror", "version": 1, "models": [
      {…the record of `model_record`…, "path": "Publisher/name-1",
       "files": [{"path": "model.onnx", "size": 1, "sha256": "…"}], "chunks": {"size": 1, "sha256": "…"}}]}

The files of a model lie below its `path`. `chunks` is there when `foundry.chunks.json` is, too: digests of the pieces of
the files. `inference_model.json` is not in the list, because whoever fetches the model writes it from the record.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from foundry_cli.chunks import CHUNK_BYTES, DIGEST_BYTES, HASH_NAME, chunk_count
from foundry_cli.errors import SourceError
from foundry_cli.model_record import from_record, to_record
from foundry_cli.remote import RemoteFile
from foundry_cli.types import ModelInfo

INDEX = "index.json"
CHUNKS = "foundry.chunks.json"
LARGEST_INDEX = 256 * 1024 * 1024  # bytes
LARGEST_CHUNKS = 64 * 1024 * 1024  # bytes
_FORMAT, _VERSION = "foundry-mirror", 1
_MOST_MODELS = 100_000
_MOST_FILES = 10_000  # of one model
_LARGEST_FILE = 1 << 42  # bytes
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
_LEAVING = frozenset(("", ".", ".."))  # parts of a path that is absolute, not plain, or leads elsewhere


@dataclass(frozen=True)
class MirrorModel:
    """A model of a mirror. `path` is its folder below the mirror; `chunks` describes its `foundry.chunks.json`."""

    model: ModelInfo
    path: str
    files: tuple[RemoteFile, ...]
    chunks: RemoteFile | None = None


def read_index(content: bytes, source: str | None = None) -> list[MirrorModel]:
    """The models of an index; entries that cannot be used are left out. `source`: the name of their source.

    Raises `SourceError` for something that is not an index.
    """
    models = (_model(entry, source) for entry in _document(content)["models"])
    return [model for model in models if model is not None]


def write_index(models: Iterable[MirrorModel], earlier: bytes = b"") -> bytes:
    """The index of `models`, and of what `earlier`, an index, has beside them, sorted by id.

    What is not understood of `earlier` stays as it is: perhaps another version of this program does. Raises as `read_index`.
    """
    document: dict[str, Any] = _document(earlier) if earlier else {"format": _FORMAT, "version": _VERSION, "models": []}
    new = {_entry_id(entry): entry for entry in map(_entry, models)}
    kept = [entry for entry in document["models"] if _entry_id(entry) not in new]
    document["models"] = sorted((*kept, *new.values()), key=_entry_id)
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _document(content: bytes) -> dict[str, Any]:
    """An index whose entries have not been looked at. Raises `SourceError`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SourceError("The index of the mirror is not JSON.") from error
    entries = document.get("models") if isinstance(document, dict) and document.get("format") == _FORMAT else None
    if not isinstance(document, dict) or not isinstance(entries, list):
        raise SourceError("The index is not that of a mirror of models.")
    if document.get("version") != _VERSION:
        raise SourceError("The index of the mirror has a version that is not known.", hint="Update this program.")
    if len(entries) > _MOST_MODELS:
        raise SourceError(f"The index of the mirror has more than {_MOST_MODELS} models.")
    return document


def _entry_id(entry: object) -> str:
    """By which an entry is replaced; "" when it cannot be used."""
    model = from_record(entry)
    return model.id.lower() if model else ""


def read_chunks(content: bytes) -> dict[str, tuple[str, ...]]:
    """The digests of the pieces by path, from the bytes of a `foundry.chunks.json`; empty when they cannot be used."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    chunks = document.get("chunks") if isinstance(document, dict) else None
    if not isinstance(chunks, dict) or document.get("version") != 1:
        return {}
    if (document.get("chunkBytes"), document.get("hash")) != (CHUNK_BYTES, HASH_NAME):
        return {}
    return {path: _unpack(text) for path, text in chunks.items() if isinstance(text, str)}


def with_chunks(file: RemoteFile, chunks: dict[str, tuple[str, ...]]) -> RemoteFile:
    """`file` with the digests of its pieces, if there are as many as it has pieces."""
    digests = chunks.get(file.path, ())
    return replace(file, chunk_digests=digests) if len(digests) == chunk_count(file.size) else file


def _model(entry: object, source: str | None) -> MirrorModel | None:
    model = from_record(entry, source=source)
    if model is None or not isinstance(entry, dict):
        return None
    path, listed = entry.get("path"), entry.get("files")
    if not _is_contained(path) or not isinstance(listed, list) or not 0 < len(listed) <= _MOST_FILES:
        return None
    files = [file for file in map(_file, listed) if file]
    if len(files) != len(listed):
        return None
    chunks = entry.get("chunks")
    described = _file({**chunks, "path": CHUNKS}) if isinstance(chunks, dict) else None
    model = replace(model, size_bytes=sum(file.size for file in files))
    return MirrorModel(model, path, tuple(files), described)


def _file(entry: object) -> RemoteFile | None:
    if not isinstance(entry, dict):
        return None
    path, size, sha256 = entry.get("path"), entry.get("size"), entry.get("sha256")
    if not _is_contained(path) or type(size) is not int or not 0 <= size <= _LARGEST_FILE:
        return None
    return RemoteFile(path, size, sha256) if isinstance(sha256, str) and _SHA256.match(sha256) else None


def _is_contained(path: object) -> TypeGuard[str]:
    """Whether `path` is relative and stays below where it begins, on every system; more is checked where it is used."""
    if not isinstance(path, str) or not path.isprintable() or "\\" in path or ":" in path:
        return False
    return _LEAVING.isdisjoint(path.split("/"))


def _entry(model: MirrorModel) -> dict[str, Any]:
    files = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in model.files]
    entry = {**to_record(model.model), "path": model.path, "files": files}
    if model.chunks:
        entry["chunks"] = {"size": model.chunks.size, "sha256": model.chunks.sha256}
    return entry


def _unpack(text: str) -> tuple[str, ...]:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ()
    if len(data) % DIGEST_BYTES:
        return ()
    return tuple(data[start : start + DIGEST_BYTES].hex() for start in range(0, len(data), DIGEST_BYTES))

"""A model at its source: which files it has and where their bytes are. What catalog sources give and transfers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class RemoteFile:
    """A file of a model. `path` is relative to the model's folder, with `/`; sizes are bytes."""

    path: str
    size: int
    sha256: str | None = None  # 64 lower-case hex digits; None: the source does not say
    chunk_digests: tuple[str, ...] = ()  # as `chunks.chunk_digest` gives them; empty: the source does not say


@dataclass(frozen=True)
class FileAddress:
    """Where the bytes of a file are now. `headers` are credentials and the like: they go to the origin of `url` only."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class RemoteModel(Protocol):
    """The files of one model, as its source lists them. Used by several threads at once."""

    @property
    def files(self) -> Sequence[RemoteFile]:
        """All files, in the order of the source."""

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        """Where `file` is. `stale` is an address that the server refuses now (expired): another one is asked for.

        Raises `DownloadError` or `SourceUnreachableError` when there is none.
        """

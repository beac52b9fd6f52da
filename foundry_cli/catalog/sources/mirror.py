"""A static mirror as a source: a directory with an `index.json`, on this machine or behind any web server.

The list of a directory is read from it each time. That of a web server is stored as for other sources; when a model is
fetched, the index is asked for again, so that its digests are those of the files that are there now.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from foundry_cli.catalog.sources.base import SourceState
from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.errors import CacheError, ConfigError, DownloadError, SourceError
from foundry_cli.http import HttpClient, host_of
from foundry_cli.mirror_index import (
    CHUNKS,
    INDEX,
    LARGEST_CHUNKS,
    LARGEST_INDEX,
    MirrorModel,
    read_chunks,
    read_index,
    with_chunks,
)
from foundry_cli.remote import FileAddress, RemoteFile, RemoteModel
from foundry_cli.types import ModelInfo


@dataclass(frozen=True)
class LocalModel:
    """A model of a mirror on this machine: `store.copying.copy_model(files, directory, …)` fetches it, without HTTP."""

    files: Sequence[RemoteFile]
    directory: Path

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        """Where `file` is, as a `file:` address."""
        return FileAddress((self.directory / file.path).absolute().as_uri())


@dataclass(frozen=True)
class ServedModel:
    """A model of a mirror behind a web server."""

    files: Sequence[RemoteFile]
    server: WebDirectory
    path: str

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        """Where `file` is. Such an address does not expire: one that is refused stays so."""
        if stale is not None:
            raise SourceError(
                f"{host_of(self.server.url)} refuses {file.path}.", hint="The address of the mirror can hold user:password@."
            )
        return self.server.address(f"{self.path}/{file.path}")


@dataclass(frozen=True)
class WebDirectory:
    """A directory of a web server: its address without credentials, its query, and the headers that every request takes."""

    url: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, location: str) -> WebDirectory:
        """From the address of the directory or of its index, with or without `user:password@`. Raises `ConfigError`."""
        try:
            parts = urlsplit(location)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError("The location of the mirror is not an address.") from error
        if not host:
            raise ConfigError("The location of the mirror is not an address: it names no server.")
        netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        path = parts.path.removesuffix(f"/{INDEX}").rstrip("/")
        return cls(urlunsplit((parts.scheme, netloc, path, "", "")), parts.query, _authorization(parts))

    def address(self, path: str) -> FileAddress:
        """The file at `path` below the directory."""
        query = f"?{self.query}" if self.query else ""
        return FileAddress(f"{self.url}/{quote(path)}{query}", self.headers)

    def read(self, client: HttpClient, path: str, largest: int) -> bytes:
        """The whole file at `path`. Raises `SourceError`, `SourceUnreachableError`."""
        address = self.address(path)
        response, content = client.read("GET", address.url, headers=address.headers, largest=largest)
        if response.status_code in (401, 403):
            hint = "Write the address as https://user:password@host/… if the mirror asks for a name."
            raise SourceError(f"{host_of(self.url)} refuses {path}: status {response.status_code}.", hint=hint)
        if response.status_code != 200:
            raise SourceError(f"{host_of(self.url)} has no {path}: status {response.status_code}.")
        return content


class MirrorSource:
    """One mirror. `location` is a directory, a `file:` address, or the http(s) address of a directory or its index."""

    def __init__(self, name: str, location: str, directory: Path) -> None:
        """`directory` is where the lists of web servers are kept. Raises `ConfigError` for a location that is none."""
        self._name = name
        scheme = location.partition("://")[0].lower() if "://" in location else ""
        if scheme not in ("", "file", "http", "https"):
            hint = f"'foundry catalog remove {name}' takes it out of the settings."
            raise ConfigError(f"The catalog {name!r} is a mirror, so a directory or an http address, not {scheme}.", hint=hint)
        key = hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._stored = StoredList(directory / f"mirror-{key}.json", directory / f"mirror-{key}.state.json", name)
        self._server = WebDirectory.parse(location) if scheme.startswith("http") else None
        self._directory = _local_path(location) if scheme == "file" else Path(location)
        self._read: tuple[tuple[int, int], list[MirrorModel]] | None = None

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    @property
    def location(self) -> str:
        """The directory, or the address without user, password and query."""
        return self._server.url if self._server else str(self._directory)

    def models(self) -> list[ModelInfo]:
        """Everything in the index; nothing when there is none that can be read."""
        if self._server:
            return self._stored.models()
        try:
            return [each.model for each in self._local_models()]
        except DownloadError:  # `state` says so
            return []

    def state(self) -> SourceState:
        """What is known about the mirror; of a directory, whether its index can be read now."""
        if self._server:
            return SourceState(
                self.name, self.location, len(self._stored.models()), self._stored.refreshed, self._stored.problem
            )
        try:
            return SourceState(self.name, self.location, len(self._local_models()), None)
        except DownloadError as error:
            return SourceState(self.name, self.location, 0, None, error.message)

    def is_stale(self) -> bool:
        """Whether the stored list of a web server is missing or old; a directory needs none."""
        return self._server is not None and self._stored.is_stale()

    def refresh(self, client: HttpClient) -> None:
        """Read the index and store its list. Raises `DownloadError` and its kinds, `CacheError`; the old list stays then."""
        if not self._server:
            self._local_models()
            return
        try:
            models = [each.model for each in self._served_models(self._server, client)]
        except DownloadError as error:
            self._stored.failed(error.message)
            raise
        try:
            self._stored.save(models)
        except OSError as error:
            raise CacheError(f"The list of the mirror {self.name} cannot be stored: {error.strerror}.") from error

    def forget(self) -> None:
        """Delete what is stored on this machine about the mirror."""
        self._stored.forget()

    def open(self, model: ModelInfo, client: HttpClient) -> RemoteModel:
        """The files of `model` as the index lists them now: a `LocalModel` for a directory."""
        models = self._served_models(self._server, client) if self._server else self._local_models()
        found = next((each for each in models if each.model.id.lower() == model.id.lower()), None)
        if found is None:
            raise SourceError(f"The mirror {self.name} has no {model.id} any more.", hint="Run 'foundry catalog refresh'.")
        if not self._server:
            return LocalModel(found.files, self._directory / found.path)
        return ServedModel(_with_chunks(found, self._server, client), self._server, found.path)

    def _served_models(self, server: WebDirectory, client: HttpClient) -> list[MirrorModel]:
        return read_index(server.read(client, INDEX, LARGEST_INDEX), self.name)

    def _local_models(self) -> list[MirrorModel]:
        """Those of the index in the directory; read again only when it has changed. Raises `SourceError`."""
        index = self._directory / INDEX
        try:
            status = index.stat()
            stamp = status.st_mtime_ns, status.st_size
            if self._read is None or self._read[0] != stamp:
                with index.open("rb") as stream:
                    self._read = stamp, read_index(stream.read(LARGEST_INDEX), self.name)
        except OSError as error:
            raise SourceError(f"The index {index} cannot be read: {error.strerror}.") from error
        return self._read[1]


def _with_chunks(model: MirrorModel, server: WebDirectory, client: HttpClient) -> Sequence[RemoteFile]:
    """The files with the digests of their pieces; without them when they cannot be had: the whole files have digests, too."""
    if model.chunks is None or model.chunks.size > LARGEST_CHUNKS:
        return model.files
    try:
        content = server.read(client, f"{model.path}/{CHUNKS}", LARGEST_CHUNKS)
    except SourceError:
        return model.files
    if hashlib.sha256(content).hexdigest() != model.chunks.sha256:
        return model.files
    chunks = read_chunks(content)
    return tuple(with_chunks(file, chunks) for file in model.files)


def _local_path(location: str) -> Path:
    """The directory that a `file:` address means. Raises `ConfigError`."""
    from urllib.request import url2pathname  # loads much that a list does not need

    parts = urlsplit(location)
    if parts.netloc not in ("", "localhost"):
        raise ConfigError(f"{location} names another machine; write file:///directory.")
    return Path(url2pathname(parts.path))


def _authorization(parts: SplitResult) -> dict[str, str]:
    if parts.username is None and parts.password is None:
        return {}
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}

"""A model in a container of Azure Blob Storage that is read with a shared access signature (SAS)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from foundry_cli.errors import SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, host_of
from foundry_cli.remote import FileAddress, RemoteFile

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

API_VERSION = "2020-12-06"  # the oldest one that says all that is read here
MOST_FILES = 100_000
_LARGEST_PAGE = 64 * 1024 * 1024  # bytes; the service sends at most 5,000 blobs at once
_ERROR_CODE = re.compile(r"[A-Za-z]{1,60}")


class BlobContainer:
    """The files of one model. The signature is renewed when it is refused, once for all threads that wait for it."""

    def __init__(self, client: HttpClient, renew: Callable[[], str]) -> None:
        """`renew` gives the address of the container with a signature that is valid now; it is asked at once.

        Raises `SourceError` and `SourceUnreachableError`, as everything here.
        """
        self._client = client
        self._renew = renew
        self._lock = threading.Lock()
        self._container = renew()
        self._files = tuple(_files(list_blobs(client, self._container)))

    @property
    def files(self) -> Sequence[RemoteFile]:
        """All files, in the order of the container."""
        return self._files

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        """Where `file` is, with a signature; another one than that of `stale`."""
        with self._lock:  # whoever comes second finds the address that the first one asked for
            current = _blob_url(self._container, file.path)
            if stale is not None and current == stale.url:
                self._container = self._renew()
                current = _blob_url(self._container, file.path)
                if current == stale.url:
                    raise SourceError(f"{host_of(current)} refuses the address of {file.path}, and there is no other one.")
            return FileAddress(current)


@dataclass(frozen=True)
class Blob:
    """An entry of a listing. Size in bytes."""

    name: str
    size: int
    is_directory: bool = False


def list_blobs(client: HttpClient, container: str) -> list[Blob]:
    """All blobs of the container at the address `container`. Raises `SourceError` and `SourceUnreachableError`."""
    blobs: list[Blob] = []
    marker, seen = "", {""}
    while True:
        page, marker = _read_page(_ask(client, container, marker), container)
        blobs.extend(page)
        if not marker:
            return blobs
        if marker in seen or len(blobs) > MOST_FILES:
            raise SourceError(f"The list of files from {host_of(container)} has no end.")
        seen.add(marker)


def _ask(client: HttpClient, container: str, marker: str) -> bytes:
    query = "restype=container&comp=list" + (f"&marker={quote(marker, safe='')}" if marker else "")
    separator = "&" if urlsplit(container).query else "?"
    url = f"{container}{separator}{query}"
    response, content = client.read("GET", url, headers={"x-ms-version": API_VERSION}, largest=_LARGEST_PAGE)
    if response.status_code < 400:
        return content
    code = _ERROR_CODE.fullmatch(response.headers.get("x-ms-error-code", ""))
    message = f"{host_of(container)} answers with status {response.status_code}{f' ({code.group()})' if code else ''}"
    raise (SourceUnreachableError if response.status_code >= 500 else SourceError)(f"{message} to the list of files.")


def _read_page(content: bytes, container: str) -> tuple[list[Blob], str]:
    """The blobs of one answer, and the marker of the next."""
    from xml.etree import ElementTree

    problem = SourceError(f"The list of files from {host_of(container)} cannot be read.")
    try:
        text = content.decode("utf-8-sig")
        if "<!DOCTYPE" in text:  # may define entities that grow without bounds; the service sends none
            raise problem
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, RecursionError) as error:
        raise problem from error
    entries = root.find("Blobs")
    if root.tag != "EnumerationResults" or entries is None:
        raise problem
    blobs = [_blob(element) for element in entries.iter("Blob")]
    if not all(blobs):
        raise problem
    return [blob for blob in blobs if blob], (root.findtext("NextMarker") or "").strip()


def _blob(element: Element) -> Blob | None:
    name, size = element.find("Name"), element.findtext("Properties/Content-Length") or ""
    is_directory = (element.findtext("Properties/ResourceType") or "").lower() == "directory"
    if name is None or not name.text or not ((size.isascii() and size.isdigit() and len(size) < 19) or is_directory):
        return None
    is_encoded = name.get("Encoded") == "true"  # names with characters that XML cannot hold
    return Blob(unquote(name.text) if is_encoded else name.text, int(size or 0), is_directory)


def _files(blobs: list[Blob]) -> Iterator[RemoteFile]:
    """The blobs that are files of a model: no place-holders of directories, and not the description that is made here."""
    directories = {blob.name[:end] for blob in blobs for end in _slashes(blob.name)}
    for blob in blobs:
        is_placeholder = blob.is_directory or (not blob.size and (blob.name.endswith("/") or blob.name in directories))
        if not is_placeholder and not blob.name.endswith("inference_model.json"):
            yield RemoteFile(blob.name, blob.size)


def _slashes(name: str) -> list[int]:
    return [index for index, character in enumerate(name) if character == "/"]


def _blob_url(container: str, name: str) -> str:
    parts = urlsplit(container)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{quote(name, safe='/')}", parts.query, ""))

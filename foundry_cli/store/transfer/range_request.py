"""One request for a range of a file, and the rules by which an answer is believed (RFC 9110, 13.1.5, 14.4, 15.3.7)."""

from __future__ import annotations

import http.client
import re
from types import TracebackType
from typing import TYPE_CHECKING

from foundry_cli.errors import DownloadError, OfflineError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, host_of, retry_after_of, unreachable
from foundry_cli.remote import FileAddress, RemoteFile
from foundry_cli.store.journal import ANY_VERSION

if TYPE_CHECKING:
    import requests

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_TRANSIENT = frozenset({408, 425, 429, *range(500, 600)})
_REFUSED = frozenset({401, 403})
_GONE = frozenset({404, 410})


class Setback(Exception):  # noqa: N818 - it is overcome by trying again
    """An answer that did not bring what was asked for. `error` is raised when patience ends.

    `is_silent`: not even its beginning came. `is_redirected`: it is not from the server that was asked, but from another one
    that this one named, and may name anew.
    """

    def __init__(
        self, error: DownloadError, retry_after: float | None = None, *, is_silent: bool = False, is_redirected: bool = False
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after = retry_after
        self.is_silent = is_silent
        self.is_redirected = is_redirected


class TransientSetback(Setback):
    """The server or the way to it fails for the moment."""


class SlowSetback(Setback):
    """The bytes come so slowly that another connection may be better."""


class UnusableSetback(Setback):
    """The answer is about other bytes than those that were asked for."""


class RefusedSetback(Setback):
    """The address is not valid (any more)."""


class ChangedSetback(Setback):
    """The server has another version of the file now."""


class RangeBody:
    """The bytes `start` to `stop` of a file, as they come from a server. A context manager."""

    def __init__(self, response: requests.Response, url: str, start: int, stop: int, validator: str) -> None:
        self.start = start
        self.stop = stop
        self.validator = validator
        self._response = response
        self._url = url
        headers = response.headers
        self._has_length = "Content-Length" in headers and "Transfer-Encoding" not in headers

    def __enter__(self) -> RangeBody:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._response.close()

    def read(self, most: int) -> bytes:
        """The next bytes, as many as are there and at least one. Raises `TransientSetback`."""
        data = self._read(most)
        if not data:
            raise TransientSetback(SourceUnreachableError(f"{host_of(self._url)} breaks off in the middle of a file."))
        return data

    def check_end(self) -> None:
        """Raise `UnusableSetback` when more bytes come than were announced; to be called before the last are believed."""
        if not self._has_length and self._read(1):
            raise UnusableSetback(SourceError(f"{host_of(self._url)} sends more bytes than the file has."))

    def interrupt(self) -> None:
        """Let a `read` of another thread end at once; what it returns then must not be used."""
        try:
            self._response.raw.shutdown()
        except (OSError, RuntimeError, ValueError):  # it has been read to its end meanwhile
            return

    def _read(self, most: int) -> bytes:
        import urllib3

        try:
            data: bytes = self._response.raw.read1(most, decode_content=False)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise TransientSetback(unreachable(self._url, error)) from error
        return data


def open_range(client: HttpClient, address: FileAddress, file: RemoteFile, start: int, stop: int, validator: str) -> RangeBody:
    """Ask for the bytes from `start` to `stop`, of the version that `validator` names; "" or `ANY_VERSION` for any.

    The answer holds them, or the first of them, or, from a server that does no ranges, all bytes of the file. Raises `Setback`
    and its kinds, `SourceError` (there is no such file, a redirect is refused), `OfflineError`, `DownloadCancelledError`.
    """
    validator = "" if validator == ANY_VERSION else validator
    headers = {**address.headers, "Range": f"bytes={start}-{stop - 1}"}
    if validator and not validator.startswith("W/"):
        headers["If-Range"] = validator
    try:
        response = client.open("GET", address.url, headers=headers, window=True)
    except OfflineError:
        raise
    except SourceUnreachableError as error:
        raise TransientSetback(error, is_silent=True) from error
    try:
        return _checked(response, address.url, file, start, stop, validator)
    except BaseException:
        response.close()
        raise


def _checked(response: requests.Response, url: str, file: RemoteFile, start: int, stop: int, validator: str) -> RangeBody:
    _check_status(response, url, file)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise _unusable(url, file, f"with the encoding {encoding[:20]!r}")
    sent = _validator(response, validator)
    if validator and sent != validator:
        raise ChangedSetback(SourceError(f"{host_of(url)} keeps changing {file.path}."))
    if response.status_code == 200:
        start, stop = 0, file.size
    elif response.headers.get("Content-Type", "").lower().startswith("multipart/"):
        raise _unusable(url, file, "in several parts")
    else:
        stop = _check_range(response.headers.get("Content-Range", ""), url, file, start, stop)
    declared = response.headers.get("Content-Length", "")
    if declared and declared != str(stop - start):
        raise _unusable(url, file, f"with {declared[:20]} bytes instead of {stop - start}")
    return RangeBody(response, url, start, stop, sent)


def _check_status(response: requests.Response, url: str, file: RemoteFile) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in _TRANSIENT:
        error = SourceUnreachableError(f"{host_of(url)} answers with status {status}.", hint="Try again later.")
        raise TransientSetback(error, retry_after_of(response.headers))
    if status in _REFUSED:
        refusal = SourceError(f"{host_of(response.url)} refuses {file.path} (status {status}).")
        raise RefusedSetback(refusal, is_redirected=host_of(response.url) != host_of(url))
    if status in _GONE:
        raise SourceError(f"{host_of(url)} does not have {file.path} (status {status}).")
    raise _unusable(url, file, f"with status {status}")


def _check_range(header: str, url: str, file: RemoteFile, start: int, stop: int) -> int:
    """Where the answer ends: a server may send less than it was asked for, and need not know the size of the file."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    first, last, size = match.groups() if match else ("-1", "-1", "*")
    is_right = int(first) == start <= int(last) < stop and (size == "*" or int(size) == file.size)
    if not is_right:
        said = f"the range {header[:80]!r}" if header else "no range"
        raise _unusable(url, file, f"with {said} instead of {start}-{stop - 1}/{file.size}")
    return int(last) + 1


def _validator(response: requests.Response, known: str) -> str:
    """What names the version of the file: a strong ETag, else a date, else a weak ETag, else nothing."""
    etag, date = response.headers.get("ETag", "").strip(), response.headers.get("Last-Modified", "").strip()
    if response.status_code == 206 and known and not date and not known.startswith(('"', "W/")):
        date = known  # to a request with `If-Range` a server need not repeat it, see RFC 9110, 15.3.7
    return etag if etag.startswith('"') else date or etag


def _unusable(url: str, file: RemoteFile, how: str) -> UnusableSetback:
    return UnusableSetback(SourceError(f"{host_of(url)} answers a request for {file.path} {how}."))

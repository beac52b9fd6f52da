"""The one factory for outbound HTTP: proxies, time-outs, retries, redirects, and nothing of it in messages that is secret.

Requests of commands to the service of this machine do not come here, see `client/client.py`.
"""

from __future__ import annotations

import json
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from foundry_cli import __version__
from foundry_cli.config import LOOPBACK_HOSTS
from foundry_cli.errors import DownloadCancelledError, DownloadError, OfflineError, SourceError, SourceUnreachableError

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0  # between two pieces of an answer
MOST_REDIRECTS = 5
LARGEST_DOCUMENT = 256 * 1024 * 1024  # bytes of an answer that is read as a whole
_PIECE = 256 * 1024
_WORTH_SAYING = 3.0  # seconds of a wait
_SLOWEST, _PATIENCE_SECONDS = 1024, 30.0  # bytes per second of a document, and how long it may be slower
_WINDOW_BYTES = 1024 * 1024  # what a server may send ahead of what has been read; lost when the process is killed
_TCP_WINDOW_CLAMP = 10  # Linux, tcp(7)
_LOOPBACK_ADDRESS = re.compile(r"127(\.\d{1,3}){3}")
_TRANSIENT = frozenset({408, 425, 429, *range(500, 600)})
_PROXY_ASKS_WHO = re.compile(r"(Tunnel connection failed: )?407\b")  # how `http.client` and `httpx` say it of a tunnel


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after which time a request is made again. Seconds."""

    tries: int = 12  # of a transfer, without any progress between them
    document_tries: int = 4  # of an answer that is read as a whole: somebody waits for it
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 60.0

    def wait(self, failures: int, retry_after: float | None = None) -> float:
        """The time to wait after so many failures: what the server asks for, or twice as long each time with jitter."""
        if retry_after is not None:
            return min(max(retry_after, 0.0), self.longest_retry_after) + random.uniform(0, self.first_wait)
        longest: float = min(self.first_wait * 2.0 ** min(failures - 1, 30), self.longest_wait)
        return random.uniform(0.5, 1.0) * longest


class HttpClient:
    """Requests to servers of catalogs and models. Can be used by several threads at once."""

    def __init__(
        self,
        *,
        is_offline: bool = False,
        retry: RetryPolicy = RetryPolicy(),
        cancelled: threading.Event | None = None,
        read_seconds: float = READ_SECONDS,
        on_wait: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`cancelled` ends waits and retries with `DownloadCancelledError` when it is set; `on_wait` is told of longer ones."""
        self.retry = retry
        self.cancelled = cancelled or threading.Event()
        self._is_offline = is_offline
        self._read_seconds = read_seconds
        self._on_wait = on_wait
        self._of_thread = threading.local()

    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None, window: bool = False
    ) -> requests.Response:
        """One request without retries; the answer's body is not read yet. The caller closes it.

        Up to five redirects are followed; `headers` are sent to the origin of `url` only, apart from `Range`,
        `If-Range` and `Accept…`. `body` is sent as JSON. `window` bounds what the server sends ahead.
        Raises `SourceUnreachableError`, `SourceError` (a redirect that is refused), `OfflineError`.
        """
        self.check_online(url)
        given = {"User-Agent": f"foundry-cli/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
        origin, hops = _origin(url), 0
        while True:
            response = self._send(method, url, given, body, window)
            target = response.headers.get("Location") if response.is_redirect else None
            if target is None:
                return response
            response.close()
            hops += 1
            if hops > MOST_REDIRECTS:
                raise SourceError(f"{host_of(url)} redirects more than {MOST_REDIRECTS} times.")
            url = _redirected(url, target)
            if _origin(url) != origin:
                given = {name: value for name, value in given.items() if _may_leave_origin(name)}

    def read(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        largest: int = LARGEST_DOCUMENT,
    ) -> tuple[requests.Response, bytes]:
        """A request whose whole answer is wanted, made again after failures that pass. A status of 400 and more is given
        back, too, when it is none of those. Raises as `open`, and `DownloadCancelledError`."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                with self.open(method, url, headers=headers, body=body) as response:
                    content = _content(response, largest)
                if response.status_code not in _TRANSIENT:
                    return response, content
                error = SourceUnreachableError(f"{host_of(url)} answers with status {response.status_code}.")
                retry_after = retry_after_of(response.headers)
            except OfflineError:
                raise
            except SourceUnreachableError as unreachable:
                error, retry_after = unreachable, None
            failures += 1
            self.wait_to_ask_again(error, failures, retry_after, time.monotonic() - began)

    def read_json(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[requests.Response, Any]:
        """As `read`, for a JSON document with a status below 400. Raises `SourceError` for anything else, too."""
        response, content = self.read(method, url, headers=headers, body=body)
        if response.status_code >= 400:
            raise SourceError(f"{host_of(url)} answers with status {response.status_code}.")
        try:
            return response, json.loads(content)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{host_of(url)} answers with something that is not JSON.") from error

    def tell(self, text: str) -> None:
        """Let who waits know why something takes another way, or longer."""
        self._on_wait(text)

    def rest(self) -> None:
        """Close the connections of this thread, which are kept for other requests until then."""
        for session in vars(self._of_thread).values():
            session.close()
        vars(self._of_thread).clear()

    def wait_to_ask_again(
        self, error: SourceUnreachableError, failures: int, retry_after: float | None = None, took: float = 0.0
    ) -> None:
        """Wait for a document that did not come so many times; raise `error` when that is enough, or as `pause`.

        `took`: seconds of the last try, which is worth a word if it was long.
        """
        if failures >= min(self.retry.tries, self.retry.document_tries):
            raise error
        seconds = self.retry.wait(failures, retry_after)
        if max(seconds, took) >= _WORTH_SAYING:
            self._on_wait(f"{error.message} Asking again in {max(seconds, 1):.0f} s.")
        self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Wait, unless the work is cancelled meanwhile: then `DownloadCancelledError`."""
        if self.cancelled.wait(seconds):
            raise DownloadCancelledError("The download was cancelled.")

    def check_online(self, url: str) -> None:
        """Raise `OfflineError` when `url` may not be asked now, `DownloadCancelledError` when nothing may."""
        if self.cancelled.is_set():
            raise DownloadCancelledError("The download was cancelled.")
        if self._is_offline and not is_loopback(url):
            raise OfflineError(
                f"{host_of(url)} is not asked, because the network is switched off.",
                hint="Unset FOUNDRY_OFFLINE, or 'offline' in the settings.",
            )

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Any, window: bool) -> requests.Response:
        import requests

        try:
            response = self._session(window).request(
                method,
                url,
                headers=dict(headers),
                json=body,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_SECONDS, self._read_seconds),
                proxies={"http": "", "https": "", "all": ""} if is_loopback(url) else None,
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise unreachable(url, error) from None  # the chain holds the whole address, which may be secret
        if response.status_code == 407:
            response.close()
            raise refused_by_proxy(url)
        return response

    def _session(self, window: bool) -> requests.Session:
        """A session of this thread: `requests` promises nothing for sessions that threads share."""
        name = "bounded" if window else "plain"
        session: requests.Session | None = getattr(self._of_thread, name, None)
        if session is None:
            session = _new_session(window)
            setattr(self._of_thread, name, session)
        return session


def _new_session(window: bool) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            clamp = [(socket.IPPROTO_TCP, _TCP_WINDOW_CLAMP, _WINDOW_BYTES)] if window and sys.platform == "linux" else []
            super().init_poolmanager(*arguments, socket_options=[*HTTPConnection.default_socket_options, *clamp], **options)

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            """Redirects are ours to judge; `requests` would read the body of one, however long, and parse its target."""

    session = Session()
    session.headers.clear()
    session.auth = _no_credentials
    session.mount("http://", Adapter())
    session.mount("https://", Adapter())
    return session


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps `requests` from sending what it finds in ~/.netrc."""
    return request


def _content(response: requests.Response, largest: int) -> bytes:
    import http.client

    import requests
    import urllib3

    pieces, size, began = [], 0, time.monotonic()
    try:
        for piece in _pieces(response):
            pieces.append(piece)
            size += len(piece)
            if size > largest:
                raise SourceError(f"The answer of {host_of(response.url)} is larger than {largest} bytes.")
            if size < _SLOWEST * (time.monotonic() - began - _PATIENCE_SECONDS):
                raise SourceUnreachableError(f"{host_of(response.url)} has sent only {size} bytes in all this time.")
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise unreachable(response.url, error) from None
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and "Content-Encoding" not in response.headers and size < int(declared):
        raise SourceUnreachableError(f"The answer of {host_of(response.url)} broke off.")
    return b"".join(pieces)


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """The content as it comes: waiting for large pieces nobody would see that it comes slowly."""
    if "Content-Encoding" in response.headers:
        return response.iter_content(_PIECE)
    return iter(lambda: response.raw.read1(_PIECE, decode_content=False), b"")


def _redirected(url: str, target: str) -> str:
    """The address that a redirect leads to. Raises `SourceError` for one that is refused."""
    try:
        new = urljoin(url, target)
        old_parts, parts = urlsplit(url), urlsplit(new)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{host_of(url)} redirects to something that is not an address.") from error
    refused = (
        parts.scheme not in ("http", "https")
        or (old_parts.scheme == "https" and parts.scheme == "http")
        or "@" in parts.netloc
        or not host
        or (is_loopback(new) and not is_loopback(url))
    )
    if refused:
        raise SourceError(f"{host_of(url)} redirects to an address that is not followed: {parts.scheme}://{host or ''}.")
    return new


def _may_leave_origin(header: str) -> bool:
    return header.lower() in ("user-agent", "range", "if-range") or header.lower().startswith("accept")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def is_loopback(url: str) -> bool:
    """Whether `url` is on this machine; such requests never go through a proxy."""
    host = urlsplit(url).hostname or ""
    return host in LOOPBACK_HOSTS or _LOOPBACK_ADDRESS.fullmatch(host) is not None


def host_of(url: str) -> str:
    """Scheme, host and port of `url`: what may be said of an address that can hold secrets."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}"
    except ValueError:
        return "the server"


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header `Retry-After` asks for (a number or a date; RFC 9110 10.2.3); None without a usable one."""
    import email.utils

    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def unreachable(url: str, error: Exception) -> DownloadError:
    """What is raised when a server does not answer; the cause in a word, without the query of the address.

    It is a `SourceUnreachableError`, or what `refused_by_proxy` returns: that would not be better a second time.
    """
    if any(_PROXY_ASKS_WHO.match(str(link)) for link in _chain(error)):
        return refused_by_proxy(url)
    return SourceUnreachableError(
        f"{host_of(url)} cannot be reached: {_cause(error)}.",
        hint="Check the network, and HTTPS_PROXY and NO_PROXY if there is a proxy.",
    )


def refused_by_proxy(url: str) -> SourceError:
    """What is raised when a proxy answers with status 407."""
    return SourceError(
        f"The proxy on the way to {host_of(url)} wants to know who asks (status 407).",
        hint="Put a name and a password into the variable: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT (HTTP_PROXY likewise).",
    )


def _chain(error: BaseException) -> list[BaseException]:
    """`error` and its reasons, the innermost last."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 10:
        chain.append(current)
        inner = getattr(current, "reason", None)
        nested = next((argument for argument in current.args if isinstance(argument, BaseException)), None)
        current = current.__cause__ or current.__context__ or (inner if isinstance(inner, BaseException) else nested)
    return chain


def _cause(error: BaseException) -> str:
    """The innermost reason: the outer ones repeat the whole address."""
    import requests

    chain = _chain(error)
    for link in reversed(chain):
        if isinstance(link, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(link, (TimeoutError, requests.Timeout)):
            return "it does not answer in time"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not work"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS fails"
    causes = (link.strerror for link in reversed(chain) if isinstance(link, OSError) and link.strerror)
    return next((str(cause).lower() for cause in causes), "the connection breaks off")

"""A web server for the files of a model that can misbehave in every way that a transfer must survive, and counts its bytes."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

from foundry_cli.chunks import CHUNK_BYTES, chunk_digest
from foundry_cli.remote import FileAddress, RemoteFile

_FOREVER = 1 << 60
_PIECE = 64 * 1024
_REFUSAL = b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code><Message>Signature fields not valid</Message></Error>"


@dataclass(frozen=True)
class Behaviour:
    """What the server does wrong with one file. A number is how many requests it is done to; `FOREVER` for all."""

    ignores_range: int = 0  # 200 with all bytes
    wrong_start: int = 0  # a 206 whose range begins one byte later
    wrong_total: int = 0
    unsatisfiable: int = 0  # 416
    without_range: int = 0  # 206 without Content-Range
    multipart: int = 0
    status: int = 0  # answered `statuses` times
    statuses: int = 0
    retry_after: str | None = None
    truncates: int = 0  # closes in the middle, after `after` bytes of the answer
    resets: int = 0  # the same with RST
    after: int = 300_000
    flips: int = 0  # one bit is wrong, at `flip_at` of the file
    flip_at: int = 0
    gzips: int = 0
    longer: int = 0  # Content-Length says more than comes
    shorter: int = 0  # … says less
    endless: int = 0  # no length, and no end
    unmeasured: bool = False  # no Content-Length: the body ends with the connection
    chunked: bool = False  # instead of a Content-Length, too
    redirect: str = ""
    stalls: int = 0  # after `after` bytes nothing more comes, until `Origin.release`
    silent: int = 0  # not even a status comes, until `Origin.release`
    keeps_back: int = 0  # answers of more bytes than that, until `Origin.release`, as a virus scanner on the way
    most: int = 0  # bytes of one answer; 0: all that were asked for
    unknown_size: bool = False  # Content-Range does not say it
    bytes_per_second: int = 0
    piece: int = _PIECE  # bytes per write
    etag: str | None = None  # None: from the content; "": none
    last_modified: str = ""
    new_etags: int = 0  # another ETag for each request
    signature: str = ""  # that the query must have as `sig`; else 403


FOREVER = _FOREVER


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    path: str
    query: str
    headers: Mapping[str, str]


@dataclass
class _File:
    content: bytes
    behaviour: Behaviour
    used: dict[str, int] = field(default_factory=dict)
    sent: int = 0


class Origin:
    """A server on a free port of this machine, as a context manager. Contents and behaviours may change while it runs."""

    def __init__(self, files: Mapping[str, bytes], behaviour: Behaviour = Behaviour()) -> None:
        self.requests: list[Request] = []
        self.connections = 0  # that were ever made
        self.release = threading.Event()  # ends stalls
        self.lock = threading.RLock()
        self.progress = threading.Condition(self.lock)
        self.files = {path: _File(content, behaviour) for path, content in files.items()}
        self._connections: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.origin = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.release.set()
        with self.lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    @property
    def base(self) -> str:
        """Address of the server, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, path: str, query: str = "") -> str:
        """Address of one file."""
        return f"{self.base}/{quote(path)}{'?' if query else ''}{query}"

    def behave(self, path: str, **changes: object) -> None:
        """Change what is done wrong with a file, and count anew."""
        with self.lock:
            file = self.files[path]
            file.behaviour = replace(file.behaviour, **changes)  # type: ignore[arg-type]
            file.used.clear()

    def change(self, path: str, content: bytes) -> None:
        """The file has other bytes from now on; answers under way end with the old ones."""
        with self.lock:
            self.files[path].content = content

    @property
    def sent(self) -> int:
        """Bytes of bodies that were written to connections."""
        with self.lock:
            return sum(file.sent for file in self.files.values())

    def wait_sent(self, count: int, seconds: float = 60.0) -> bool:
        """Wait until so many bytes of bodies were written; whether they were."""
        with self.progress:
            return self.progress.wait_for(lambda: sum(file.sent for file in self.files.values()) >= count, seconds)

    def sent_of(self, path: str) -> int:
        """The same of one file."""
        with self.lock:
            return self.files[path].sent

    def requests_of(self, path: str) -> list[Request]:
        """The requests for one file."""
        with self.lock:
            return [request for request in self.requests if request.path == path]

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        with self.lock:
            return len(self._connections)

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        """Used by the handler: `connection` is open."""
        with self.lock:
            self._connections.add(connection)
            self.connections += 1
        try:
            yield
        finally:
            with self.lock:
                self._connections.discard(connection)


class OriginModel:
    """A model whose files are those of an `Origin`; the signature in its addresses can be renewed."""

    def __init__(self, origin: Origin, *, hashes: bool = True, chunks: bool = False, signatures: Sequence[str] = ()) -> None:
        """`chunks`: the source gives the digests of chunks, too. `signatures`: one after the other, when one is stale."""
        self.files = [_remote_file(path, file.content, hashes, chunks) for path, file in origin.files.items()]
        self.renewals = 0
        self._origin = origin
        self._signatures = list(signatures)
        self._lock = threading.Lock()

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        """Where `file` is."""
        with self._lock:
            if stale is not None and stale == self._address(file):
                self.renewals += 1
                if len(self._signatures) > 1:
                    del self._signatures[0]
            return self._address(file)

    def _address(self, file: RemoteFile) -> FileAddress:
        return FileAddress(self._origin.url(file.path, f"sig={self._signatures[0]}" if self._signatures else ""))


def _remote_file(path: str, content: bytes, hashes: bool, chunks: bool) -> RemoteFile:
    digests = chunk_digests(content) if chunks else ()
    return RemoteFile(path, len(content), hashlib.sha256(content).hexdigest() if hashes else None, digests)


def chunk_digests(content: bytes) -> tuple[str, ...]:
    """SHA-256 of each chunk."""
    starts = range(0, len(content), CHUNK_BYTES)
    return tuple(chunk_digest(content[start : start + CHUNK_BYTES]) for start in starts)


class _Server(ThreadingHTTPServer):
    origin: Origin
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what these tests are about."""


class _Broken(Exception):  # noqa: N818 - a way to end
    """The connection is to be closed."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        # What is counted as sent must not be far ahead of what the client can have got.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self) -> None:
        with self.server.origin.connected(self.connection), suppress(_Broken, ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: warnings and prints of a test are errors."""

    def do_GET(self) -> None:
        origin = self.server.origin
        parts = urlsplit(self.path)
        path = unquote(parts.path.lstrip("/"))
        with origin.lock:
            origin.requests.append(Request(path, parts.query, dict(self.headers.items())))
            file = origin.files.get(path)
            self._behaviour = file.behaviour if file else Behaviour()
            content = file.content if file else b""
        if file is None:
            self._refuse(404)
            return
        self._file = file
        if self._does("silent"):
            origin.release.wait()
            raise _Broken
        if self._behaviour.redirect:
            self._reply(302, b"", {"Location": self._behaviour.redirect})
        elif self._behaviour.signature and parse_qs(parts.query).get("sig") != [self._behaviour.signature]:
            self._refuse(403)
        elif self._does("statuses"):
            after = self._behaviour.retry_after
            self._reply(self._behaviour.status, b"later", {"Retry-After": after} if after is not None else {})
        else:
            self._answer(content)

    def _does(self, what: str) -> bool:
        """Whether this is one of the requests that a behaviour is for."""
        with self.server.origin.lock:
            used = self._file.used.get(what, 0)
            if used >= getattr(self._behaviour, what):
                return False
            self._file.used[what] = used + 1
            return True

    def _refuse(self, status: int) -> None:
        self._reply(status, _REFUSAL, {"Content-Type": "application/xml"})

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, content: bytes) -> None:
        etag = self._behaviour.etag
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"' if etag is None else etag
        if self._does("new_etags"):
            etag = f'"{self._file.used["new_etags"]}"'
        headers = {"ETag": etag, "Last-Modified": self._behaviour.last_modified, "Content-Type": "application/octet-stream"}
        headers = {name: value for name, value in headers.items() if value}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        is_current = condition is None or condition in (etag, self._behaviour.last_modified)
        if self._does("unsatisfiable"):
            self._reply(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
        elif asked is None or not is_current or self._does("ignores_range"):
            self._send(200, content, 0, headers)
        else:
            start, stop = int(asked[1]), min(int(asked[2]) + 1, len(content))
            if 0 < self._behaviour.keeps_back < stop - start:
                self.server.origin.release.wait()
                raise _Broken
            stop = min(stop, start + self._behaviour.most) if self._behaviour.most else stop
            self._send(206, content[start:stop], start, {**headers, **self._range(start, stop, len(content))})

    def _range(self, start: int, stop: int, total: int) -> dict[str, str]:
        if self._does("without_range"):
            return {}
        if self._does("multipart"):
            return {"Content-Type": "multipart/byteranges; boundary=x"}
        if self._does("wrong_start"):
            start += 1
        if self._does("wrong_total"):
            total += 1
        return {"Content-Range": f"bytes {start}-{stop - 1}/{'*' if self._behaviour.unknown_size else total}"}

    def _send(self, status: int, body: bytes, start: int, headers: dict[str, str]) -> None:
        body = self._spoilt(body, start, headers)
        is_endless = self._does("endless")
        length = len(body)
        if self._does("longer"):
            length += 100_000
        elif self._does("shorter"):
            length //= 2
        if self._behaviour.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif is_endless or self._behaviour.unmeasured:
            headers["Connection"] = "close"
        else:
            headers["Content-Length"] = str(length)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._write_faultily(body)
        if self._behaviour.chunked:
            self.wfile.write(b"0\r\n\r\n")
        while is_endless:
            self._write(b"\0" * _PIECE)
        if length != len(body) or "Connection" in headers:
            raise _Broken

    def _spoilt(self, body: bytes, start: int, headers: dict[str, str]) -> bytes:
        if start <= self._behaviour.flip_at < start + len(body) and self._does("flips"):
            at = self._behaviour.flip_at - start
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        if self._does("gzips"):
            body = gzip.compress(b"\0" * len(body))
            headers["Content-Encoding"] = "gzip"
        return body

    def _write_faultily(self, body: bytes) -> None:
        after = self._behaviour.after
        if after < len(body):
            for what in ("truncates", "resets", "stalls"):
                if self._does(what):
                    self._write(body[:after])
                    self._break(what)
        self._write(body)

    def _break(self, what: str) -> None:
        if what == "stalls":
            self.server.origin.release.wait()
        elif what == "resets":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        raise _Broken

    def _write(self, body: bytes) -> None:
        rate, began = self._behaviour.bytes_per_second, time.monotonic()
        view = memoryview(body)
        for offset in range(0, len(body), self._behaviour.piece):
            piece = view[offset : offset + self._behaviour.piece]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._behaviour.chunked else piece)
            with self.server.origin.lock:
                self._file.sent += len(piece)
                self.server.origin.progress.notify_all()
            if rate:
                self.server.origin.release.wait(max(0.0, began + (offset + len(piece)) / rate - time.monotonic()))

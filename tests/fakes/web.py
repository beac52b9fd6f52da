"""A small web server for tests: answers come from a function of the request, and every request is kept."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; `path` is what stood in its first line."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Respond = Callable[[Seen], Answer]


def static_files(directory: Path) -> Respond:
    """Answers of a plain web server: the files below `directory`, whole or in ranges."""

    def respond(request: Seen) -> Answer:
        path = directory / unquote(urlsplit(request.path).path).lstrip("/")
        if not path.is_file():
            return Answer(404)
        data, validator = path.read_bytes(), {"ETag": f'"{path.stat().st_mtime_ns:x}"'}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if wanted is None:
            return Answer(200, data, validator)
        first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        return Answer(206, data[first : last + 1], {**validator, "Content-Range": f"bytes {first}-{last}/{len(data)}"})

    return respond


@dataclass
class WebServer:
    """A running server."""

    port: int
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web_server(respond: Respond) -> Iterator[WebServer]:
    """A server on a port of its own, in this process, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Seen(self.command, self.path, headers, self.rfile.read(length))
            running.seen.append(request)
            answer = respond(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_POST = do_HEAD = do_CONNECT = _handle  # noqa: N815 - names of the base class

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = WebServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

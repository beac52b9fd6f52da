"""As much of Hugging Face's HTTP interface as fetching a repository takes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Repositories by name, each with its files; `gated` ones are given to those with the token "good" only."""

    daemon_threads = True

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]], gated: tuple[str, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.gated = gated
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serve until the end of the block."""
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/")
        name = next((name for name in self.server.repositories if f"{name}/" in f"{path}/"), None)
        if name is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif name in self.server.gated and self.headers.get("Authorization") != "Bearer good" and "resolve" in path:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("api/"):
            self._describe(name, path)
        else:
            self._give(name, path.partition("/resolve/")[2].partition("/")[2])

    do_HEAD = do_GET  # noqa: N815

    def _describe(self, name: str, path: str) -> None:
        files = self.server.repositories[name]
        if "/tree/" in path:
            entries = [{"type": "file", "path": file, "size": len(data), "oid": _digest(data)} for file, data in files.items()]
            self._send_json(entries)
        elif "/revision/" in path and not path.endswith(("/main", COMMIT)):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._send_json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]})

    def _give(self, name: str, file: str) -> None:
        data = self.server.repositories[name].get(file)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET":
            self.server.fetched.append(file)
        self._send(200, data, {"ETag": f'"{_digest(data)}"', "X-Repo-Commit": COMMIT})

    def _send_json(self, document: Any) -> None:
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def _digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()

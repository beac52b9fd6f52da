"""Servers of one connection each, for what no real web server does: silence, broken answers, tunnels."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Talk = Callable[[socket.socket], None]


@contextmanager
def wire_server(talk: Talk) -> Iterator[int]:
    """Have `talk` lead every connection to a port of its own, which is given."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):  # the end of the listener
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=_lead, args=(talk, connection), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def _lead(talk: Talk, connection: socket.socket) -> None:
    with connection, suppress(ConnectionError):
        connection.settimeout(20)
        talk(connection)


def read_request(connection: socket.socket) -> bytes:
    """A request with its body, as its `Content-Length` says."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def wait_for_end(connection: socket.socket) -> None:
    """Until the other side has closed."""
    with suppress(ConnectionError):
        while connection.recv(1 << 16):
            pass


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise ConnectionError("the client has gone")
    return data


def tunnel_to(port: int, seen: list[bytes]) -> Talk:
    """A proxy that lets every CONNECT through to `port` on this machine, and keeps what it was asked in `seen`."""

    def talk(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as far:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(far, connection), daemon=True)
            back.start()
            _copy(connection, far)
            back.join(10)

    return talk


def proxy_that_refuses(seen: list[bytes]) -> Talk:
    """A proxy that wants a name and a password, and keeps what it was asked in `seen`."""

    def talk(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    return talk


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)

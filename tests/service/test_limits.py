"""HTTP abuse: sizes, ambiguities, slowness, and what a connection is good for afterwards."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h11
import pytest
from starlette.types import Message

from foundry_cli.api.limits import LARGEST_BODY
from foundry_cli.service import limits, protocol
from foundry_cli.service.errors import CatchUnexpected
from foundry_cli.service.limits import BodyLimits
from foundry_cli.service.protocol import LimitedProtocol
from foundry_cli.service.server import bind_tcp
from tests.service.local import JSON, LocalService, local_service, question, read_all

HOST = b"Host: localhost\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-filler": "x" * (17 * 1024)},
        {f"x-filler-{number}": "x" for number in range(101)},
    ],
    ids=["17 KiB", "101 lines"],
)
def test_headers_over_the_limit(local: LocalService, headers: dict[str, str]) -> None:
    status, answered, answer = local.get("/health", **headers)
    assert (status, answered["connection"], answer["error"]["code"]) == (431, "close", "headers_too_large")


def test_headers_over_the_limit_that_do_not_end(local: LocalService) -> None:
    assert local.raw(b"GET /health HTTP/1.1\r\n" + HOST + b"x: " + b"x" * 300_000).startswith(b"HTTP/1.1 400")


def test_a_target_that_is_a_whole_address(local: LocalService) -> None:
    head = b"GET http://localhost/v1/models?a=b HTTP/1.1\r\n"
    assert local.raw(head + b"Host: evil.example\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    head = b"GET http://evil.example/v1/models HTTP/1.1\r\n"
    assert local.raw(head + HOST + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert local.raw(b"GET HTTP://localhost HTTP/1.1\r\nConnection: close\r\n\r\n")[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400")


def test_an_endless_address(local: LocalService) -> None:
    assert local.get("/" + "x" * 20_000)[0] == 431
    assert local.get("/v1/models/" + "x" * 15_000)[0] == 404


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 0x2\r\n\r\n{}",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"x y: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"x: a\0b\r\n\r\n",
        b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET /health\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_ambiguous_and_malformed_requests(local: LocalService, request_head: bytes) -> None:
    answer = local.raw(request_head)  # returns: the connection is closed
    assert answer.split(b" ")[1] in (b"400", b"501")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET http://localhost/health HTTP/1.1", b"200"),
        (b"GET //health HTTP/1.1", b"404"),
        (b"GET /v1/../health HTTP/1.1", b"404"),
        (b"GET /health%00 HTTP/1.1", b"404"),
        (b"GET /HEALTH HTTP/1.1", b"404"),
        (b"GET /health/ HTTP/1.1", b"404"),
        (b"OPTIONS * HTTP/1.1", b"404"),
        (b"CONNECT localhost:80 HTTP/1.1", b"404"),
        (b"TRACE /health HTTP/1.1", b"405"),
        (b"HEAD /health HTTP/1.1", b"405"),
        (b"POST /openai/unloadall HTTP/1.1\r\nContent-Type: application/json", b"405"),
        (b"GET /%68ealth HTTP/1.1", b"200"),
    ],
)
def test_odd_addresses_and_methods(local: LocalService, request_line: bytes, status: bytes) -> None:
    answer = local.raw(request_line + b"\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert answer.split(b" ")[1] == status


def test_a_body_declared_too_large(local: LocalService) -> None:
    with socket.create_connection(("127.0.0.1", local.port), timeout=20) as connection:
        connection.sendall(POST + b"Content-Length: 1000000000000\r\n\r\n{")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413")


def test_a_body_too_large_still_shows_its_answer(local: LocalService) -> None:
    text = question(messages=[{"role": "user", "content": "x" * (LARGEST_BODY + (1 << 20))}])
    status, _, answer = local.chat(text)
    assert (status, answer["error"]["code"]) == (413, "body_too_large")


def test_a_chunked_body_too_large(local: LocalService) -> None:
    connection = local.connect()
    pieces = (b" " * (1 << 20) for _ in range(18))
    connection.request("POST", "/v1/chat/completions", pieces, JSON, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_refused_body_is_not_read_for_ever(local: LocalService) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", local.port), timeout=20) as connection:
        connection.sendall(POST + b"Content-Length: 1000000000000\r\n\r\n")
        with suppress(OSError):
            while sent < 4 * limits.LARGEST_DISCARD:
                sent += connection.send(b" " * (1 << 20))
    assert sent < 2 * limits.LARGEST_DISCARD


def test_chunked_and_whole_bodies_are_equal(local: LocalService) -> None:
    connection = local.connect()
    pieces = iter([json.dumps(question())[:10].encode(), json.dumps(question())[10:].encode()])
    connection.request("POST", "/v1/chat/completions", pieces, JSON, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_connection_goes_on_after_errors(local: LocalService) -> None:
    connection = local.connect()
    for body in (b"", b"{", b"[]", b'{"model": 5}', json.dumps(question(model="no-such")).encode(), b"{}"):
        connection.request("POST", "/v1/chat/completions", body, JSON)
        first = connection.sock
        response = connection.getresponse()
        assert 400 <= response.status < 500
        assert "error" in json.loads(response.read())
        assert connection.sock is first
    for path in ("/nowhere", "/openai/load/no-such", "/health"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    assert (response.status, connection.sock) == (200, first)
    connection.close()


def test_pipelined_requests_are_answered_in_order(local: LocalService) -> None:
    request = b"GET /v1/models/%d HTTP/1.1\r\n" + HOST + b"\r\n"
    last = b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answer = local.raw(b"".join(request % number for number in range(20)) + last)
    assert [answer.find(b"'%d'" % number) for number in range(20)] == sorted(answer.find(b"'%d'" % n) for n in range(20))
    assert answer.count(b"HTTP/1.1 404") == 20
    assert answer.count(b"HTTP/1.1 200") == 1


async def _run_limits(messages: list[Message]) -> int:
    """The status of a request whose body arrives as `messages` and then stops."""
    arriving: asyncio.Queue[Message] = asyncio.Queue()
    for message in messages:
        arriving.put_nowait(message)
    statuses: list[int] = []

    async def read_all_of_it(_: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    request = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "http_version": "1.1"}
    full = {**request, "headers": []}
    await CatchUnexpected(BodyLimits(read_all_of_it, idle_seconds=0.01))(full, arriving.get, send)
    return statuses[0]


def test_a_body_that_stops_arriving() -> None:
    piece = {"type": "http.request", "body": b"{", "more_body": True}
    assert asyncio.run(_run_limits([piece])) == 408
    assert asyncio.run(_run_limits([piece, {**piece, "more_body": False}])) == 200


class ImpatientProtocol(LimitedProtocol):
    """Waits for nobody."""

    header_seconds = 0.2
    reader_seconds = 0.01


class ExclusiveProtocol(LimitedProtocol):
    """Takes few."""

    most_connections = 3


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_slow_headers(tmp_path: Path, begun: bytes) -> None:
    with local_service(tmp_path, protocol=ImpatientProtocol) as local:
        assert local.raw(begun) == b""
        with socket.create_connection(("127.0.0.1", local.port), timeout=20) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET /hea")
            read_all(connection)  # returns: cut off


def test_connections_over_the_limit(tmp_path: Path) -> None:
    with local_service(tmp_path, protocol=ExclusiveProtocol) as local:
        held = [socket.create_connection(("127.0.0.1", local.port), timeout=20) for _ in range(3)]
        status, headers, answer = local.get("/health")
        assert (status, headers["connection"], answer["error"]["code"]) == (429, "close", "queue_full")
        held += [socket.create_connection(("127.0.0.1", local.port), timeout=20) for _ in range(5)]
        assert read_all(held[-1]) == b""  # closed at once
        with socket.socket(socket.AF_UNIX) as unix:  # whoever floods the port does not keep the owner out
            unix.connect(str(local.socket))
            unix.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert read_all(unix).startswith(b"HTTP/1.1 200")
        for connection in held:
            connection.close()


@contextmanager
def three_idle(local: LocalService) -> Iterator[list[http.client.HTTPConnection]]:
    """As many connections as an `ExclusiveProtocol` takes, each after an answer."""
    idle = [local.connect() for _ in range(3)]
    for connection in idle:
        connection.request("GET", "/health")
        connection.getresponse().read()
    yield idle
    for connection in idle:
        connection.close()


def test_the_connection_that_is_idle_for_longest_makes_room(tmp_path: Path) -> None:
    with local_service(tmp_path, protocol=ExclusiveProtocol) as local, three_idle(local) as idle:
        assert local.get("/health")[0] == 200
        assert idle[0].sock.recv(1) == b""
        for connection in idle[1:]:
            connection.request("GET", "/health")
            assert connection.getresponse().read()


def test_a_burst_of_connections_keeps_to_the_limit(tmp_path: Path) -> None:
    with local_service(tmp_path, protocol=ExclusiveProtocol) as local, three_idle(local) as idle:
        burst = [socket.create_connection(("127.0.0.1", local.port), timeout=20) for _ in range(5)]
        for connection in idle:
            assert connection.sock.recv(1) == b""
        for place, connected in enumerate(burst):
            connected.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            assert read_all(connected).split(b" ")[1] == (b"200" if place < 3 else b"429")
            connected.close()


def test_a_connection_outlives_the_pools_of_clients(local: LocalService) -> None:
    assert local.server.config.timeout_keep_alive > 60  # httpx gives them up after 5 s, urllib3 never


class FakeTransport:
    """What the protocol does to a connection."""

    def __init__(self) -> None:
        self.is_aborted = asyncio.Event()

    def get_extra_info(self, _: str) -> None:
        """Nothing is known."""

    def is_closing(self) -> bool:
        """It is not."""
        return False

    def abort(self) -> None:
        """Cut."""
        self.is_aborted.set()

    def close(self) -> None:
        """End."""


async def _protocol() -> tuple[LimitedProtocol, FakeTransport]:
    from uvicorn import Config
    from uvicorn.server import ServerState

    made = ImpatientProtocol(Config(app=protocol.refuse, log_config=None), ServerState(), {})
    transport = FakeTransport()
    made.connection_made(transport)  # type: ignore[arg-type]
    return made, transport


def test_a_client_that_does_not_read() -> None:
    async def run() -> None:
        made, transport = await _protocol()
        made.pause_writing()
        made.resume_writing()
        made.pause_writing()
        assert not transport.is_aborted.is_set()
        await asyncio.wait_for(transport.is_aborted.wait(), 20)
        made.connection_lost(OSError())

    asyncio.run(run())


def test_a_stop_in_the_middle_of_a_malformed_request() -> None:
    async def run() -> None:
        made, transport = await _protocol()
        made.conn.receive_data(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(h11.RemoteProtocolError):
            made.conn.next_event()
        made.conn.send_failed()
        made.shutdown()
        assert transport.is_aborted.is_set()
        made.connection_lost(OSError())

    asyncio.run(run())


def test_answers_are_not_held_back_by_the_kernel() -> None:
    # Without TCP_NODELAY every answer on a kept connection, and every token of a stream, may wait 40 ms.
    with bind_tcp("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # what asyncio looks at

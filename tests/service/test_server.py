"""Sockets and the pieces of the service process that need no process: addresses, records, log entries."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from foundry_cli.api.errors import error_body, error_from_body
from foundry_cli.client.client import ServiceClient
from foundry_cli.config import check_exposure
from foundry_cli.errors import (
    ConfigError,
    FoundryError,
    InvalidRequestError,
    ModelNotFoundError,
    ServiceStartError,
    ServiceUnreachableError,
)
from foundry_cli.instance import InstanceRecord, read_instance
from foundry_cli.log import LOG_NAME, start_logging
from foundry_cli.service.errors import STATUS, CatchUnexpected, body_of, status_of
from foundry_cli.service.server import bind_tcp, bind_unix


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposure(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.2", "192.0.2.1", "LOCALHOST", "example.org", ""])
def test_everything_else_needs_one(host: str) -> None:
    check_exposure(host, "secret")
    for key in (None, ""):
        with pytest.raises(ConfigError, match="without an API key"):
            check_exposure(host, key)


def test_the_socket_is_private(tmp_path: Path) -> None:
    path = tmp_path / "run" / "service.sock"
    path.parent.mkdir(mode=0o700)
    path.write_text("left by a killed service")
    before = os.umask(0)
    try:
        listener = bind_unix(path, tmp_path)
    finally:
        os.umask(before)
    assert listener is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()


def test_a_socket_where_others_may_write(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o770)
    with pytest.raises(ServiceStartError, match="cannot listen"):
        bind_unix(tmp_path / "run" / "service.sock", tmp_path)
    with pytest.raises(ServiceStartError, match="cannot listen"):
        bind_unix(tmp_path / "run" / "below" / "service.sock", tmp_path / "home")


def test_a_sticky_port_is_a_wish(tmp_path: Path) -> None:
    with bind_tcp("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind_tcp("127.0.0.1", 0, port) as second:
            assert second.getsockname()[1] != port
        with pytest.raises(ServiceStartError, match=f"127.0.0.1:{port}"):
            bind_tcp("127.0.0.1", port)
    with bind_tcp("127.0.0.1", 0, port) as again:
        assert again.getsockname()[1] == port


RECORD = InstanceRecord("identity", 7, 1.5, "127.0.0.1", 8080, "/run/x.sock", "token", "1.0")


def test_a_record_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "instance.json"
    RECORD.write(path)
    assert read_instance(path) == RECORD
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_instance(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8080"), ("0.0.0.0", "http://127.0.0.1:8080"), ("::", "http://[::1]:8080"),
     ("::1", "http://[::1]:8080"), ("localhost", "http://localhost:8080")],
)  # fmt: skip
def test_the_address_of_a_record(host: str, url: str) -> None:
    assert InstanceRecord("", 1, 1.0, host, 8080, "", "", "").base_url == url


def test_a_client_of_something_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        client = ServiceClient(InstanceRecord("", 1, 1.0, "127.0.0.1", other.getsockname()[1], "", "token", ""))

        async def answer() -> bool:
            async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
                await writer.drain()
                writer.close()

            async with await asyncio.start_server(speak, sock=other):
                with pytest.raises(ServiceUnreachableError):
                    await asyncio.to_thread(client.status)
                return await asyncio.to_thread(client.is_alive)

        assert asyncio.run(answer()) is False


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The log file of a service, with the logging of the tests put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield start_logging(tmp_path / "logs", "info")
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])


def test_a_log_entry_is_one_line(log: Path) -> None:
    logging.getLogger("foundry.test").info("a\nb \x1b[31m %s", "c\r\n\u2028\x00")
    logging.getLogger("foundry.test").debug("not at this level")
    (line,) = log.read_text().splitlines()
    assert line.endswith("INFO    foundry.test a\\nb \\x1b[31m c\\r\\n\\u2028\\x00")
    assert log.name == LOG_NAME


def test_a_traceback_cannot_pass_for_entries(log: Path) -> None:
    try:
        raise ValueError("x\n2026-01-01 00:00:00,000 INFO    foundry.service forged")
    except ValueError:
        logging.getLogger("foundry.test").exception("failed")
    first, *rest = log.read_text().splitlines()
    assert first.endswith("failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_log_files_are_rotated(log: Path) -> None:
    (handler,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, RotatingFileHandler)]
    handler.maxBytes = 1000
    for number in range(100):
        logging.getLogger("foundry.test").info("entry %d", number)
    files = sorted(log.parent.iterdir())
    assert [file.name for file in files] == [LOG_NAME, *(f"{LOG_NAME}.{number}" for number in range(1, 5))]
    assert all(file.stat().st_size <= 1000 for file in files)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).mkdir()
    before = logging.getLogger().handlers[:]
    with pytest.raises(IsADirectoryError):
        start_logging(tmp_path, "info")
    assert logging.getLogger().handlers == before


def test_every_error_has_a_status() -> None:
    for kind, status in STATUS.items():
        assert status_of(kind("x")) == status
    assert status_of(FoundryError("x")) == 500
    assert body_of(FoundryError("x"))["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("n: wrong.", param="n"),
        ModelNotFoundError.named("x", ["y"]),
        FoundryError("Failed."),
        FoundryError("Failed.", hint="Try again."),
    ],
)
def test_an_error_survives_the_wire(error: FoundryError) -> None:
    again = error_from_body(json.loads(json.dumps(body_of(error))), "fallback")
    assert (type(again), again.message, again.hint, again.param) == (type(error), error.message, error.hint, error.param)


@pytest.mark.parametrize("body", [None, [], "x", {"error": "x"}, {"error": {}}, {"error": {"message": 5}}])
def test_other_error_bodies(body: object) -> None:
    assert error_from_body(body, "fallback").message == "fallback"


def test_odd_fields_in_an_error_body() -> None:
    error = error_from_body({"error": {"message": "m", "code": 7, "param": 5, "hint": []}}, "fallback")
    assert (type(error), error.message, error.param, error.hint) == (FoundryError, "m", None, None)


def test_names_that_are_not_unicode_can_be_sent() -> None:
    body = error_body(FoundryError("file \udcff", hint="see \udcff"), "server_error")
    assert body["error"]["message"] == "file \\udcff see \\udcff"


def test_what_happens_after_the_answer_began_is_not_hidden() -> None:
    async def fail(_: object, __: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200})  # type: ignore[operator]
        raise ZeroDivisionError

    async def send(_: object) -> None:
        pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(CatchUnexpected(fail)({"type": "http"}, send, send))  # type: ignore[arg-type]

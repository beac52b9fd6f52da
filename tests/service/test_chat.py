"""`POST /v1/chat/completions`: whole answers, streams, what goes wrong on the way, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest

from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.request import EngineEvent, GenerationRequest, TextChunk
from foundry_cli.errors import ContextLengthError, EngineDiedError, ModelInvalidError
from tests.service.local import (
    JSON,
    MODEL,
    Answer,
    FakeEngine,
    LocalService,
    events,
    finish,
    local_service,
    question,
    read_all,
)

Events = AsyncGenerator[EngineEvent, None]


@pytest.mark.parametrize(
    "name",
    ["fake-model:3", "fake-model", "FAKE-Model:3", "Fake-Model", "  fake-model:3 "],
    ids=["id", "name", "case", "both", "blank"],
)
def test_names_of_a_model(local: LocalService, name: str) -> None:
    assert local.chat(question(model=name))[2]["model"] == MODEL


def test_a_whole_answer(local: LocalService) -> None:
    status, headers, answer = local.chat(question())
    assert (status, headers["content-type"]) == (200, "application/json")
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert "x-foundry-ignored-fields" not in headers


def test_a_stream(local: LocalService) -> None:
    status, headers, body = local.chat(question(stream=True))
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "text/event-stream; charset=utf-8", "no-store")
    *chunks, done = events(body)
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["delta"] for choice in choices] == [{"role": "assistant", "content": ""}, {"content": "Hello"}, {}]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert not [chunk for chunk in chunks if "usage" in chunk]


def test_a_stream_with_usage(local: LocalService) -> None:
    *_, last, done = events(local.chat(question(stream=True, stream_options={"include_usage": True}))[2])
    assert (done, last["choices"], last["usage"]["total_tokens"]) == ("[DONE]", [], 4)
    assert last["engine"] == "fake"


def test_an_answer_names_its_engine(local: LocalService) -> None:
    assert local.chat(question())[2]["engine"] == "fake"
    (loaded,) = local.get("/openai/status")[2]["loadedModels"]
    facts = [loaded[name] for name in ("engine", "kernels", "mostRunning", "threads")]
    assert facts == ["fake", "none", 8, 2]


def test_fields_that_are_ignored_are_named(local: LocalService) -> None:
    odd = {"mirostat": 1, "bad\r\nname": 1, "\N{SNOWMAN}": 1, "x" * 100: 1}
    for stream in (False, True):
        headers = local.chat(question(stream=stream, **odd))[1]
        assert headers["x-foundry-ignored-fields"] == "mirostat"


def test_an_execution_provider_that_is_not_here(local: LocalService) -> None:
    status, _, answer = local.chat(question(ep="cuda"))
    assert (status, answer["error"]["param"]) == (400, "ep")
    for provider in ("", "cpu", None):
        assert local.chat(question(ep=provider))[0] == 200


def test_a_model_that_is_not_there(local: LocalService) -> None:
    status, _, answer = local.chat(question(model="fake-modell"))
    error = answer["error"]
    assert (status, error["code"], error["param"], error["type"]) == (404, "model_not_found", "model", "invalid_request_error")
    assert "'fake-model'" in error["message"]
    assert "foundry model list" in error["message"]


async def _speak_hostile(_: GenerationRequest) -> Events:
    for text in ("\n\ndata: [DONE]\n\n", "\r\r", "\u2028\u2029\x85", "\ud800", "x" * (1 << 20)):
        yield TextChunk(text)
    yield finish()


def test_hostile_text_in_a_stream(tmp_path: Path) -> None:
    with local_service(tmp_path, _speak_hostile) as local:
        body = local.chat(question(stream=True))[2]
        *chunks, done = events(body)
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text == "\n\ndata: [DONE]\n\n\r\r\u2028\u2029\x85?" + "x" * (1 << 20)
        assert done == "[DONE]"
        assert body.count(b"\n\n") == len(chunks) + 1
        assert not {"\u2028", "\u2029", "\x85"} & set(body.decode())


def _failing(error: Exception, *before: str) -> Answer:
    async def answer(_: GenerationRequest) -> Events:
        for text in before:
            yield TextChunk(text)
        raise error

    return answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextLengthError("Too long: 7 of 5.", param="messages"), 400, "context_length_exceeded"),
        (ModelInvalidError("tokenizer.json is missing."), 422, "model_invalid"),
        (ZeroDivisionError("a secret of /home/somebody at 0x7f00"), 500, "failed"),
    ],
)
def test_errors_before_the_first_token(tmp_path: Path, error: Exception, status: int, code: str, stream: bool) -> None:
    with local_service(tmp_path, _failing(error)) as local:
        answered, _, answer = local.chat(question(stream=stream))
        assert (answered, answer["error"]["code"]) == (status, code)
        assert "secret" not in json.dumps(answer)
        assert local.get("/health")[0] == 200


@pytest.mark.parametrize("error", [EngineDiedError("It ended."), ZeroDivisionError("a secret")])
def test_errors_in_the_middle_of_a_stream(tmp_path: Path, error: Exception) -> None:
    with local_service(tmp_path, _failing(error, "Hel", "lo")) as local:
        status, _, body = local.chat(question(stream=True))
        *_, last = events(body)  # a stream that fails has no [DONE]
        assert status == 200
        assert last["error"]["type"] == "server_error"
        assert last["error"]["message"].startswith("It ended." if isinstance(error, EngineDiedError) else "Internal error ")
        assert b"secret" not in body
        assert b'finish_reason":"stop' not in body


@pytest.mark.parametrize("stream", [False, True])
def test_a_worker_that_dies_before_the_first_token_is_replaced_once(tmp_path: Path, stream: bool) -> None:
    deaths: list[int] = []

    async def answer(_: GenerationRequest) -> Events:
        if len(deaths) < 1:
            deaths.append(1)
            raise EngineDiedError("It ended.")
        yield TextChunk("Hello again")
        yield finish()

    with local_service(tmp_path, answer) as local:
        assert local.chat(question(stream=stream))[0] == 200
        deaths[:] = [] if stream else [1]
        assert local.chat(question(stream=stream))[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_costs_no_more_than_two_workers(tmp_path: Path, stream: bool) -> None:
    tries: list[object] = []

    async def answer(request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        tries.append(request)
        raise EngineDiedError("It ended.")
        yield

    with local_service(tmp_path, answer) as local:
        assert local.chat(question(stream=stream))[0] == 503
    assert len(tries) == 2


def test_a_worker_that_always_dies(tmp_path: Path) -> None:
    with local_service(tmp_path, _failing(EngineDiedError("It ended."))) as local:
        status, headers, answer = local.chat(question())
        assert (status, headers["retry-after"], answer["error"]["code"]) == (503, "2", "engine_died")


class Endless:
    """An answer without an end; says when it begins and when it is cancelled."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.has_begun = threading.Event()
        self.is_cancelled = threading.Event()

    async def __call__(self, _: GenerationRequest) -> Events:
        """The answer."""
        try:
            for text in self.texts:
                yield TextChunk(text)
            self.has_begun.set()
            await asyncio.Event().wait()
        finally:
            self.is_cancelled.set()


def _send(local: LocalService, **fields: Any) -> socket.socket:
    body = json.dumps(question(**fields)).encode()
    connection = socket.create_connection(("127.0.0.1", local.port), timeout=20)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    return connection


def _close(connection: socket.socket) -> None:
    connection.close()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("leave", [_close, _reset, _half_close])
@pytest.mark.parametrize(("stream", "texts"), [(False, []), (False, ["Hel"]), (True, []), (True, ["Hel"])])
def test_a_client_that_leaves_cancels_its_answer(tmp_path: Path, stream: bool, texts: list[str], leave: Any) -> None:
    answer = Endless(*texts)
    with local_service(tmp_path, answer) as local:
        connection = _send(local, stream=stream)
        assert answer.has_begun.wait(20)
        leave(connection)
        assert answer.is_cancelled.wait(20)
        assert local.get("/health")[0] == 200
        connection.close()


class SlowStart:
    """A load that waits until it is let go."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.count = 0
        self.has_begun = threading.Event()
        self.go_on = threading.Event()

    async def __call__(self, *_: object, **__: object) -> EngineProcess:
        """Load."""
        self.count += 1
        self.has_begun.set()
        await asyncio.to_thread(self.go_on.wait)
        return cast(EngineProcess, FakeEngine(self._answer))


def test_a_client_that_leaves_while_the_model_loads(tmp_path: Path) -> None:
    answer = Endless()
    start = SlowStart(answer)
    with local_service(tmp_path, start=start) as local:
        connection = _send(local)
        assert start.has_begun.wait(20)
        connection.close()
        start.go_on.set()
        assert local.get(f"/openai/load/{MODEL}")[0] == 200  # the load was not wasted
        assert local.get("/openai/loadedmodels")[2] == [MODEL]
        assert start.count == 1
        assert not answer.has_begun.is_set() or answer.is_cancelled.wait(20)


def test_many_requests_for_a_cold_model_load_it_once(tmp_path: Path) -> None:
    async def answer(_: GenerationRequest) -> Events:
        yield TextChunk("Hello")
        yield finish()

    start = SlowStart(answer)
    with local_service(tmp_path, start=start) as local:
        connections = [_send(local) for _ in range(30)]
        assert start.has_begun.wait(20)
        start.go_on.set()
        for connection in connections:
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            connection.close()
        assert start.count == 1


@pytest.mark.parametrize("texts", [[], ["Hel", "lo"]])
def test_a_stop_lets_every_stream_end_honestly(tmp_path: Path, texts: list[str]) -> None:
    answer = Endless(*texts)
    with local_service(tmp_path, answer, drain_seconds=1) as local:
        stream, whole = _send(local, stream=True), _send(local)
        assert answer.has_begun.wait(20)
        local.server.should_exit = True
        status = b"200" if texts else b"503"
        data = read_all(stream)
        assert data.startswith(b"HTTP/1.1 " + status)
        assert b'"code":"service_stopping"' in data
        assert b"[DONE]" not in data
        assert data.endswith(b"0\r\n\r\n" if texts else b"}")  # complete, as HTTP understands it
        rest = read_all(whole)
        assert rest.startswith(b"HTTP/1.1 503")
        assert b'"code":"service_stopping"' in rest
        assert answer.is_cancelled.wait(20)
        stream.close()
        whole.close()


def test_a_stop_waits_for_running_answers(tmp_path: Path) -> None:
    go_on = threading.Event()
    has_begun = threading.Event()

    async def answer(_: GenerationRequest) -> Events:
        yield TextChunk("Hel")
        has_begun.set()
        await asyncio.to_thread(go_on.wait)
        yield TextChunk("lo")
        yield finish()

    with local_service(tmp_path, answer, drain_seconds=20) as local:
        connection = _send(local, stream=True)
        idle = local.connect()
        idle.request("GET", "/health")
        idle.getresponse().read()
        assert has_begun.wait(20)
        local.server.should_exit = True
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""  # idle connections end at once
        idle.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", local.port), timeout=20)
        go_on.set()
        assert b"data: [DONE]\n\n" in read_all(connection)
        connection.close()


def test_a_body_of_another_kind(local: LocalService) -> None:
    status, _, answer = local.send("POST", "/v1/chat/completions", b"", JSON)
    assert (status, answer["error"]["message"]) == (400, "The request body is empty.")

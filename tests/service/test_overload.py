"""More requests than there are places: the surplus is refused at once, and nothing else is disturbed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.request import EngineEvent, GenerationRequest, TextChunk
from tests.conftest import RunningService
from tests.service.local import finish, local_service, question

pytestmark = pytest.mark.slow

WAITING = 64
REQUESTS = 200
PATIENCE = 2.0  # seconds: of a stream between two chunks, on a machine that does other things, too


@dataclass(frozen=True)
class Answered:
    """Status, headers and body of an answer, and after how many seconds it was there."""

    status: int
    headers: dict[str, str]
    body: Any
    seconds: float


async def _send(port: int, body: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    await writer.drain()
    return reader, writer


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines)


async def _ask(port: int, body: dict[str, Any]) -> Answered:
    began = time.monotonic()
    reader, writer = await _send(port, body)
    try:
        status, headers = await _head(reader)
        data = await reader.read()
        is_json = headers["content-type"] == "application/json"
        return Answered(status, headers, json.loads(data) if is_json else data, time.monotonic() - began)
    finally:
        writer.close()


async def _stream(port: int, body: dict[str, Any]) -> AsyncGenerator[str, None]:
    """The texts of a stream."""
    reader, writer = await _send(port, {**body, "stream": True})
    try:
        assert (await _head(reader))[0] == 200
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        yield text
    finally:
        writer.close()


class Watched:
    """A stream that is read to its end in the background."""

    def __init__(self, port: int, body: dict[str, Any]) -> None:
        self.texts: list[str] = []
        self.times: list[float] = []
        self.has_begun = asyncio.Event()
        self.end = asyncio.create_task(self._read(port, body))

    @property
    def longest_pause(self) -> float:
        """Between two of its chunks."""
        return max(after - before for before, after in pairwise(self.times))

    async def _read(self, port: int, body: dict[str, Any]) -> None:
        async with aclosing(_stream(port, body)) as texts:
            async for text in texts:
                self.texts.append(text)
                self.times.append(time.monotonic())
                self.has_begun.set()


async def _refused(tasks: list[asyncio.Task[Answered]], count: int) -> list[Answered]:
    """The first `count` answers, all of them refusals."""
    ended: list[Answered] = []
    for task in asyncio.as_completed(tasks):
        ended.append(await task)
        if len(ended) == count:
            break
    for answer in ended:
        assert (answer.status, answer.body["error"]["code"]) == (429, "queue_full")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.seconds < 5 * PATIENCE  # 200 requests come at once, and the test is a program of its own
    await asyncio.sleep(0.2)
    assert sum(task.done() for task in tasks) == count, "no more than that"
    return ended


class Crowd:
    """One stream of numbers, and answers that come when the gate is opened."""

    def __init__(self) -> None:
        self.is_open = False
        self.begun = 0

    async def __call__(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """An answer."""
        if request.max_tokens == 1:
            self.begun += 1
            while not self.is_open:
                await asyncio.sleep(0.01)
            yield TextChunk("served")
        else:
            for number in range(300):
                yield TextChunk(f"{number} ")
                await asyncio.sleep(0.005)
        yield finish()


def test_exactly_as_many_as_there_are_places_are_served(tmp_path: Path) -> None:
    crowd = Crowd()

    async def run(port: int) -> None:
        watched = Watched(port, question())
        await watched.has_begun.wait()
        places = 8 + WAITING - 1
        bodies = [question(max_tokens=1, stream=bool(index % 2)) for index in range(REQUESTS)]
        tasks = [asyncio.create_task(_ask(port, body)) for body in bodies]
        await _refused(tasks, REQUESTS - places)
        assert crowd.begun == places
        crowd.is_open = True
        served = [answer for answer in await asyncio.gather(*tasks) if answer.status == 200]
        assert len(served) == places
        assert all("served" in str(answer.body) for answer in served)
        await watched.end
        assert watched.texts == [f"{number} " for number in range(300)]
        assert watched.longest_pause < PATIENCE
        assert (await _ask(port, question(max_tokens=1))).status == 200

    with local_service(tmp_path, crowd) as local:
        asyncio.run(run(local.port))


def test_a_stream_of_a_real_model_goes_on(service: RunningService) -> None:
    service.client.load("slow:1")
    (loaded,) = [model for model in service.client.status()["loadedModels"] if model["id"] == "slow:1"]
    places = loaded["mostRunning"] + WAITING - 1

    async def run(port: int) -> None:
        ask = {"model": "slow:1", "messages": [{"role": "user", "content": "Hi"}]}
        watched = Watched(port, {**ask, "max_tokens": 250})
        await watched.has_begun.wait()
        tasks = [asyncio.create_task(_ask(port, ask)) for _ in range(REQUESTS)]
        await _refused(tasks, REQUESTS - places)
        before = len(watched.texts)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await watched.end
        assert "".join(watched.texts) == "0123456789" * 25
        assert before < 250
        assert watched.longest_pause < PATIENCE

    asyncio.run(run(service.client.record.port))


def test_background_work_takes_nobody_the_places(tmp_path: Path) -> None:
    crowd = Crowd()

    async def run(port: int) -> None:
        background = [asyncio.create_task(_ask(port, question(max_tokens=1, priority="background"))) for _ in range(REQUESTS)]
        places = (8 + WAITING) // 2
        await _refused(background, REQUESTS - places)
        others = [asyncio.create_task(_ask(port, question(max_tokens=1))) for _ in range(REQUESTS)]
        await _refused(others, REQUESTS - 8 - WAITING)
        crowd.is_open = True
        answers = await asyncio.gather(*background, *others)
        assert sum(answer.status == 200 for answer in answers) == places + 8 + WAITING

    with local_service(tmp_path, crowd) as local:
        asyncio.run(run(local.port))

"""The service's side of one engine worker: starts it, speaks frames with it, notices its end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from foundry_cli.engine.confinement import worker_environment
from foundry_cli.engine.frames import Frame, FrameError, FrameReader, encode_frame
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, TextChunk, Timing, Usage
from foundry_cli.errors import EngineDiedError, EngineError, FoundryError, InsufficientMemoryError, error_for_code

logger = logging.getLogger("foundry.engine")

WORKER_COMMAND = (sys.executable, "-m", "foundry_cli.engine.worker")
_STOP_SECONDS = 3.0  # for a worker to end by itself
_STDERR_LINES = 20

_Item = EngineEvent | FoundryError


class EngineProcess:
    """One running worker with its model loaded."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._identities = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[_Item]] = {}
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._ready: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._is_stopping = False
        self.ended = asyncio.Event()
        self.context_length = 0
        self.load_seconds = 0.0
        self._tasks = [asyncio.create_task(self._read_frames()), asyncio.create_task(self._read_stderr())]

    @classmethod
    async def start(cls, name: str, directory: Path, command: Sequence[str] = WORKER_COMMAND) -> EngineProcess:
        """Start a worker on the model in `directory` and wait until it is loaded.

        Raises the error the worker reports, or `EngineDiedError` when it ends without a word.
        """
        process = await asyncio.create_subprocess_exec(
            *command, str(directory), "--parent", str(os.getpid()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=Path(sys.executable).anchor, env=worker_environment(),
        )  # fmt: skip
        engine = cls(process, name)
        try:
            ready = await engine._ready
        except BaseException:
            await engine.stop()
            raise
        engine.context_length = int(ready["context_length"])
        engine.load_seconds = float(ready["load_seconds"])
        return engine

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can take requests."""
        return not self.ended.is_set() and not self._is_stopping

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """The events of one answer, the last one a `Finish`. Closing the iterator early cancels the answer."""
        if not self.is_alive:
            raise self._death()
        identity = next(self._identities)
        answer = self._answers[identity] = asyncio.Queue()
        is_finished = False
        try:
            self._send({"op": "generate", "id": identity, "request": request.to_frame()})
            while not is_finished:
                item = await answer.get()
                is_finished = not isinstance(item, TextChunk)
                if isinstance(item, FoundryError):
                    raise item
                yield item
        finally:
            del self._answers[identity]
            if not is_finished and self.is_alive:
                self._send({"op": "cancel", "id": identity})

    async def stop(self) -> None:
        """End the worker: first by closing its pipe, then by force. Running answers end with an error."""
        self._is_stopping = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except asyncio.TimeoutError:
            self._process.kill()
        await self.ended.wait()

    def _send(self, frame: Frame) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(encode_frame(frame))

    async def _read_frames(self) -> None:
        assert self._process.stdout is not None
        reader = FrameReader()
        try:
            while data := await self._process.stdout.read(1 << 16):
                for frame in reader.feed(data):
                    self._dispatch(frame)
        except (FrameError, KeyError, TypeError, ValueError) as error:
            logger.error("%s: the worker sent something unintelligible: %s", self._name, error)
            self._process.kill()
        await self._process.wait()
        self._conclude()

    def _dispatch(self, frame: Frame) -> None:
        if frame["op"] == "ready":
            self._ready.set_result(frame)
        elif frame["op"] == "failed":
            self._ready.set_exception(_error(frame))
        elif answer := self._answers.get(int(frame["id"])):  # none: cancelled meanwhile
            answer.put_nowait(_item(frame))

    def _conclude(self) -> None:
        """The worker is gone: say so to everyone who waits for it."""
        self.ended.set()
        death = self._death()
        if not self._ready.done():
            self._ready.set_exception(death)
        for answer in self._answers.values():
            answer.put_nowait(death)
        if not self._is_stopping:
            logger.error("%s: %s", self._name, death.message)
            for line in self._stderr:
                logger.error("%s: %s", self._name, line)

    def _death(self) -> FoundryError:
        code = self._process.returncode
        if self._is_stopping:
            return EngineError(f"The model {self._name} was unloaded while it was needed.")
        if sys.platform != "win32" and code == -signal.SIGKILL:
            return InsufficientMemoryError(
                f"The engine worker of {self._name} was killed, most likely because memory ran out.",
                hint="Close other programs, use a smaller model or a shorter conversation.",
            )
        return EngineDiedError(
            f"The engine worker of {self._name} ended unexpectedly ({_describe(code)}).",
            hint="The next request loads the model again. 'foundry service diag --logs' shows what was reported.",
        )

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(1 << 16):
            for line in data.decode("utf-8", "replace").splitlines():
                self._stderr.append(line[:500])
                logger.debug("%s: %s", self._name, line[:500])


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _item(frame: Frame) -> _Item:
    if frame["op"] == "text":
        return TextChunk(frame["text"], frame["tokens"])
    if frame["op"] == "finish":
        return Finish(frame["reason"], Usage(**frame["usage"]), Timing(**frame["timing"]))
    return _error(frame)


def _error(frame: dict[str, Any]) -> FoundryError:
    return error_for_code(frame.get("code"))(str(frame["message"]), hint=frame.get("hint"), param=frame.get("param"))

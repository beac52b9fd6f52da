"""Worker processes for tests: the real one on scripted models, and small programs that misbehave on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.frames import Frame, FrameReader, encode_frame
from foundry_cli.engine.process import WORKER_COMMAND, EngineProcess
from foundry_cli.engine.request import Finish, GenerationRequest, TextChunk
from tests.models.scripted_tokenizer import IS_OLD_RUNTIME

needs_batches = pytest.mark.skipif(IS_OLD_RUNTIME, reason="the runtime for Python 3.10 has no tokenizer for the batched engine")


@asynccontextmanager
async def engine(directory: Path, **options: Any) -> AsyncIterator[EngineProcess]:
    """A worker with the model in `directory`, stopped at the end."""
    process = await EngineProcess.start("test", directory, **options)
    try:
        yield process
    finally:
        await process.stop()


@dataclass
class Answer:
    """One whole answer."""

    chunks: list[str] = field(default_factory=list)
    finish: Finish | None = None

    @property
    def text(self) -> str:
        return "".join(self.chunks)

    @property
    def cached_tokens(self) -> int:
        assert self.finish is not None
        return self.finish.usage.cached_tokens

    @property
    def reason(self) -> str:
        assert self.finish is not None
        return self.finish.reason


async def answer(process: EngineProcess, asked: GenerationRequest) -> Answer:
    """Ask and wait for the end."""
    whole = Answer()
    async for event in process.generate(asked):
        assert whole.finish is None, "something after the end"
        if isinstance(event, TextChunk):
            whole.chunks.append(event.text)
        else:
            whole.finish = event
    assert whole.finish is not None
    return whole


async def interrupted(process: EngineProcess, asked: GenerationRequest, action: Callable[[], object]) -> None:
    """Begin an answer, do something, and listen to the end."""
    async with aclosing(process.generate(asked)) as events:
        await anext(events)
        action()
        async for _ in events:
            pass


@contextmanager
def raw_worker(directory: Path) -> Iterator[tuple[Callable[..., None], Iterator[Frame]]]:
    """The real worker without `EngineProcess`: a function that sends requests, and all frames in their true order."""
    command = [*WORKER_COMMAND, str(directory), "--parent", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        stdin, descriptor = worker.stdin, worker.stdout.fileno()

        def send(**requests: GenerationRequest) -> None:
            frames = [{"op": "generate", "id": int(name[1:]), "request": r.to_frame()} for name, r in requests.items()]
            stdin.write(b"".join(map(encode_frame, frames)))
            stdin.flush()

        reader = FrameReader()
        yield send, (frame for data in iter(lambda: os.read(descriptor, 1 << 16), b"") for frame in reader.feed(data))
        stdin.close()


_PRELUDE = """
import os, signal, sys, time
from foundry_cli.engine.frames import FrameReader, encode_frame
from foundry_cli.engine.messages import event_frame
from foundry_cli.engine.request import Finish, TextChunk, Timing, Usage

def send(frame):
    os.write(1, encode_frame(frame))

def ready():
    send({"op": "ready", "context_length": 100, "load_seconds": 0.5})

def requests():
    reader = FrameReader()
    while data := os.read(0, 65536):
        yield from (frame for frame in reader.feed(data) if frame["op"] in ("generate", "embed"))

def text(frame, text):
    send(event_frame(frame["id"], TextChunk(text)))

def finish(frame):
    send(event_frame(frame["id"], Finish("stop", Usage(1, 1, 0), Timing())))

"""


def program(body: str) -> tuple[str, ...]:
    """A command that speaks frames and does what `body` says."""
    return (sys.executable, "-c", _PRELUDE + body)


OBEDIENT = program("""
ready()
for frame in requests():
    text(frame, "ok")
    finish(frame)
""")

"""The service's side of one engine worker: starts it, speaks frames with it, notices its end or its silence."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from foundry_cli.engine.answer_queue import AnswerQueue
from foundry_cli.engine.confinement import worker_environment
from foundry_cli.engine.frames import Frame, FrameReader, encode_frame
from foundry_cli.engine.messages import GAVE_UP, Converted, Embedded, EmbeddingVectors, Item, read_error
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest
from foundry_cli.engine.silence import Silence, SilenceWatch
from foundry_cli.engine.worker_log import relay
from foundry_cli.errors import EngineDiedError, EngineError, FoundryError, ModelUnloadedError
from foundry_cli.execution_providers import CPU

logger = logging.getLogger("foundry.engine")

WORKER_COMMAND = (sys.executable, "-m", "foundry_cli.engine.worker")
_STDOUT, _STDERR, _LIFE = 1, 2, 3
_STDERR_LINES = 20
_STDERR_SECONDS = 0.2  # for what a dead worker wrote last


@dataclass(frozen=True)
class Patience:
    """Seconds that a worker may take before it is ended by force; `silence` counts with answers to give."""

    load: float = 600.0
    silence: Silence = field(default_factory=Silence)  # a worker at work says so every few seconds, between two steps
    stop: float = 3.0


@dataclass(frozen=True)
class WorkerOptions:
    """How the service wants its workers. `conversations`: where they are kept on disk; None: they are not.

    `on_kept` is called when a worker has written one there.
    """

    engine: str = "auto"
    conversations: Path | None = None
    conversation_bytes: int = 0
    on_kept: Callable[[], object] = lambda: None

    def arguments(self) -> list[str]:
        """For the command line of the worker."""
        kept = ["--conversations", str(self.conversations)] if self.conversations else []
        return ["--engine", self.engine, *kept, "--conversation-bytes", str(self.conversation_bytes)]


_DEFAULT_OPTIONS = WorkerOptions()


@dataclass(frozen=True)
class Embeddings:
    """The vectors of some entries in their order, each as float32 in little-endian, and the tokens of all entries."""

    vectors: tuple[bytes, ...]
    tokens: int


class EngineProcess(asyncio.SubprocessProtocol):
    """One running worker with its model loaded.

    It is the event loop's protocol of the process: what arrives on a pipe is handled in the same round of the loop.
    """

    _transport: asyncio.SubprocessTransport
    _silence: SilenceWatch

    def __init__(self, name: str, patience: Patience, on_kept: Callable[[], object] = lambda: None) -> None:
        self._name = name
        self._patience = patience
        self._on_kept = on_kept
        self._loop = asyncio.get_running_loop()
        self._identities = itertools.count(1)
        self._answers: dict[int, AnswerQueue] = {}
        self._reader = FrameReader()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._open = {_STDOUT, _STDERR, _LIFE}  # what has not ended yet
        self._ready: asyncio.Future[Frame] = self._loop.create_future()
        self._ready.add_done_callback(_note_seen)  # who gives a load up does not look at it
        self._is_stopping = False
        self._fault: FoundryError | None = None  # why it was ended by force
        self.ended = asyncio.Event()
        self.context_length = 0
        self.load_seconds = 0.0
        self.engine = ""  # `Runtime.name`
        self.kernels = ""  # `Runtime.kernels`
        self.most_running = 1  # answers that are written at once
        self.threads = 1

    @classmethod
    async def start(
        cls,
        name: str,
        directory: Path,
        provider: str = CPU,
        command: Sequence[str] = WORKER_COMMAND,
        patience: Patience | None = None,
        options: WorkerOptions = _DEFAULT_OPTIONS,
        *,
        embeds: bool = False,
    ) -> EngineProcess:
        """Start a worker on the model in `directory` and wait until it is loaded with the execution provider `provider`.

        `embeds`: it is there for `embed`, and for nothing else.
        Raises the error the worker reports, `EngineDiedError` when it ends without a word, or `EngineError`.
        """
        engine = cls(name, patience or Patience(), options.on_kept)
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: engine, *command, os.path.abspath(directory), "--parent", str(os.getpid()), "--provider", provider,
                *options.arguments(), *(["--embed"] if embeds else []),
                cwd=Path(sys.executable).anchor, env=worker_environment(),
            )  # fmt: skip
        except OSError as error:
            raise EngineError(f"The engine worker of {name} cannot be started: {error.strerror}.") from error
        try:
            await engine._become_ready()
        except BaseException:
            engine._kill()  # it has nothing to finish
            await engine.stop()
            raise
        return engine

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._transport.get_pid()

    @property
    def has_given_up(self) -> bool:
        """Whether it has ended on purpose, because of one request; see `GAVE_UP`."""
        return self.ended.is_set() and self._transport.get_returncode() == GAVE_UP

    @property
    def is_alive(self) -> bool:
        """Whether it can take requests."""
        return not self.ended.is_set() and not self._is_stopping

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """The events of one answer, the last one a `Finish`. Closing the iterator early cancels the answer."""
        identity, answer = self._ask({"op": "generate", "request": request.to_frame()})
        is_finished = False
        try:
            while not is_finished:
                item = await answer.get()
                is_finished = isinstance(item, (Finish, FoundryError))
                if isinstance(item, FoundryError):
                    raise item
                assert not isinstance(item, (Converted, EmbeddingVectors, Embedded))
                yield item
        finally:
            del self._answers[identity]
            if not is_finished and self.is_alive:
                self._send({"op": "cancel", "id": identity})

    async def tokenize(self, request: GenerationRequest) -> list[int]:
        """The tokens of the prompt that `request` makes. Raises as an answer to it would."""
        tokens = await self._convert({"op": "tokenize", "request": request.to_frame()})
        assert isinstance(tokens, list)
        return tokens

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, control tokens left out. Raises `InvalidRequestError` for one that the model does not have."""
        return str(await self._convert({"op": "detokenize", "tokens": list(tokens)}))

    async def embed(self, entries: Sequence[str | Sequence[int]], dimensions: int | None = None) -> Embeddings:
        """The vectors of texts, or of lists of tokens; with `dimensions` their first numbers only. To give up cancels.

        Raises `InvalidRequestError` and `ContextLengthError` naming the entry, and what an answer raises.
        """
        identity, answer = self._ask({"op": "embed", "input": list(entries), "dimensions": dimensions})
        vectors = [b""] * len(entries)
        item: Item | None = None
        try:
            while isinstance(item := await answer.get(), EmbeddingVectors):
                size = len(item.data) // len(item.places)
                for index, place in enumerate(item.places):
                    vectors[place] = item.data[index * size : (index + 1) * size]
        finally:
            del self._answers[identity]
            if not isinstance(item, (Embedded, FoundryError)) and self.is_alive:
                self._send({"op": "cancel", "id": identity})
        if isinstance(item, FoundryError):
            raise item
        assert isinstance(item, Embedded)
        return Embeddings(tuple(vectors), item.tokens)

    async def _convert(self, frame: Frame) -> list[int] | str:
        identity, answer = self._ask(frame)
        try:
            item = await answer.get()
        finally:
            del self._answers[identity]
        if isinstance(item, FoundryError):
            raise item
        assert isinstance(item, Converted)
        return item.value

    def _ask(self, frame: Frame) -> tuple[int, AnswerQueue]:
        """Send a request; what comes in reply arrives in the queue. Raises when the worker is gone."""
        if not self.is_alive:
            raise self._death()
        identity = next(self._identities)
        self._silence.note_question()
        answer = self._answers[identity] = AnswerQueue()
        self._send({**frame, "id": identity})
        return identity, answer

    async def stop(self) -> None:
        """End the worker: first by closing its pipe, then by force. Running answers end with an error."""
        self._is_stopping = True
        self._stdin().close()
        try:
            await asyncio.wait_for(self.ended.wait(), self._patience.stop)
        except asyncio.TimeoutError:
            self._kill()
            await self.ended.wait()

    async def _become_ready(self) -> None:
        try:
            ready = await asyncio.wait_for(self._ready, self._patience.load)
            self.context_length = int(ready["context_length"])
            self.load_seconds = float(ready["load_seconds"])
            self.engine = str(ready.get("engine", ""))
            self.kernels = str(ready.get("kernels", ""))
            self.most_running = int(ready.get("most_running", 1))
            self.threads = int(ready.get("threads", 1))
        except asyncio.TimeoutError as error:
            raise EngineError(f"{self._name} was not loaded within {self._patience.load:g} s.") from error
        except (LookupError, TypeError, ValueError) as error:
            raise EngineError(f"The engine worker of {self._name} sent something unintelligible.") from error

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._transport.kill()

    def _send(self, frame: Frame) -> None:
        self._stdin().write(encode_frame(frame))

    def _stdin(self) -> asyncio.WriteTransport:
        return cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the process runs."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._silence = SilenceWatch(
            self.pid, self._patience.silence, owes_answer=lambda: bool(self._answers), on_silence=self._give_up
        )

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Called by the event loop for what the worker writes."""
        if fd == _STDERR:
            self._note_stderr(data)
            return
        self._silence.note_word()
        try:
            for frame in self._reader.feed(data):
                self._dispatch(frame)
        except Exception as error:  # noqa: BLE001 - whatever it was: those who wait must hear of the end
            if self._fault is None:
                logger.error("%s: the worker sent something unintelligible: %s", self._name, error)
                self._fault = EngineError(f"The engine worker of {self._name} sent something unintelligible and was ended.")
                self._kill()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Called by the event loop at the end of a pipe."""
        self._end_of(fd)

    def process_exited(self) -> None:
        """Called by the event loop when the process is gone; what it wrote last may still arrive."""
        self._end_of(_LIFE)

    def _end_of(self, part: int) -> None:
        self._open.discard(part)
        if not self._open:
            self._conclude()
        elif self._open == {_STDERR}:  # somebody else may have inherited it and keep it open
            self._loop.call_later(_STDERR_SECONDS, self._conclude)

    def _dispatch(self, frame: Frame) -> None:
        if frame["op"] == "busy":
            return
        if frame["op"] == "log":
            relay(self._name, frame)
            return
        if frame["op"] == "kept":
            self._on_kept()
            return
        if frame["op"] in ("ready", "failed"):
            if self._ready.done():  # whoever waited has given up
                return
            if frame["op"] == "ready":
                self._ready.set_result(frame)
            else:
                self._ready.set_exception(read_error(frame))
        elif (answer := self._answers.get(int(frame["id"]))) and not answer.put(frame):  # no answer: cancelled meanwhile
            logger.warning("%s: an answer that its client does not read was cancelled", self._name)
            self._send({"op": "cancel", "id": int(frame["id"])})

    def _give_up(self, seconds: float) -> None:
        self._fault = EngineError(
            f"The engine worker of {self._name} did not react for {seconds:.1f} s and was ended.",
            hint="Try again with a shorter prompt, or another variant of the model.",
        )
        self._kill()

    def _conclude(self) -> None:
        """The worker is gone."""
        if self.ended.is_set():
            return
        self.ended.set()
        if self._transport.is_closing():  # by the event loop: whoever started it gave up before it ran
            self._is_stopping = True
        self._transport.close()
        self._silence.cancel()
        death = self._death()
        if not self._ready.done():
            self._ready.set_exception(death)
        for answer in self._answers.values():
            answer.end(death)
        if not self._is_stopping:
            logger.error("%s: %s", self._name, death.message)
            for line in self._stderr:
                logger.error("%s: %s", self._name, line)

    def _death(self) -> FoundryError:
        code = self._transport.get_returncode()
        if self._fault is not None:
            return self._fault
        if self._is_stopping:
            return ModelUnloadedError(f"The model {self._name} was unloaded while it was needed.")
        return EngineDiedError(
            f"The engine worker of {self._name} ended unexpectedly ({_describe(code)}).",
            hint="The next request loads the model again. 'foundry service diag --logs' shows what was reported.",
        )

    def _note_stderr(self, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            self._stderr.append(line[:500])
            logger.debug("%s: %s", self._name, line[:500])


def _note_seen(ready: asyncio.Future[Frame]) -> None:
    if not ready.cancelled():
        ready.exception()


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        if sys.platform != "win32" and code == -signal.SIGKILL:
            return "killed, perhaps because memory ran out"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"

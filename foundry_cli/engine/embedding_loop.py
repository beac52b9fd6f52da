"""What the worker of a model for embeddings does: one step of each request in turn, and between them what has arrived.

A short request so waits for one step of each of the others, however many texts these have. The frames are in `frames.py`.
"""

from __future__ import annotations

import base64
import queue
import time
import traceback
from collections.abc import Callable
from typing import BinaryIO

from foundry_cli.engine.embedding_job import EmbeddingJob, Vectors
from foundry_cli.engine.embedding_runtime import EmbeddingRuntime
from foundry_cli.engine.frames import Frame, encode_frame
from foundry_cli.engine.messages import error_fields
from foundry_cli.errors import FoundryError, InvalidRequestError

Inbox = queue.SimpleQueue[Frame | None]

_MOST_RUNNING = 16
_SILENCE_SECONDS = 5.0  # without any other message: say that work goes on


class EmbeddingWorker:
    """Requests in, vectors out. `None` in the inbox is the end."""

    def __init__(
        self, runtime: EmbeddingRuntime, inbox: Inbox, sink: BinaryIO, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._runtime = runtime
        self._inbox = inbox
        self._sink = sink
        self._clock = clock
        self._sent = clock()
        self._jobs: dict[int, EmbeddingJob] = {}  # whose turn it is comes first

    def facts(self) -> Frame:
        """What the service wants to know of the loaded model."""
        return {
            "context_length": self._runtime.files.context_length,
            "engine": self._runtime.name,
            "kernels": self._runtime.kernels,
            "most_running": _MOST_RUNNING,
        }

    def run(self) -> None:
        """Work until the pipe ends."""
        while self._take_frames():
            self._step()
            if self._clock() - self._sent > _SILENCE_SECONDS:
                self._send({"op": "busy"})
            self._sink.flush()

    def _take_frames(self) -> bool:
        """Note what has arrived; wait for something when there is no work. False at the end of the pipe."""
        while not self._inbox.empty() or not self._jobs:
            self._sink.flush()
            frame = self._inbox.get()
            if frame is None:
                return False
            if frame["op"] == "cancel":
                self._jobs.pop(int(frame["id"]), None)
            else:
                self._begin(int(frame["id"]), frame)
        return True

    def _begin(self, identity: int, frame: Frame) -> None:
        try:
            if frame["op"] != "embed":
                raise InvalidRequestError("The model makes embeddings, and writes no text.", param="model")
            self._jobs[identity] = EmbeddingJob(self._runtime, frame["input"], frame["dimensions"])
        except Exception as error:  # noqa: BLE001 - a fault in one request must not end the others
            self._send_error(identity, error)

    def _step(self) -> None:
        """One step of the request whose turn it is."""
        identity = self._next()
        if identity is None:
            return
        job = self._jobs.pop(identity)
        try:
            vectors = job.step()
        except Exception as error:  # noqa: BLE001 - as above
            self._send_error(identity, error)
            return
        if vectors:
            self._send_vectors(identity, vectors)
        if job.is_done:
            self._send({"op": "embedded", "id": identity, "tokens": job.token_count})
        else:
            self._jobs[identity] = job  # behind the others

    def _next(self) -> int | None:
        """Of the long texts only one has its keys and values in memory; the others wait for its end."""
        is_taken = any(job.is_reading for job in self._jobs.values())
        return next((identity for identity, job in self._jobs.items() if not (is_taken and job.needs_memory)), None)

    def _send_vectors(self, identity: int, vectors: Vectors) -> None:
        data = base64.b64encode(b"".join(vectors.values())).decode()
        self._send({"op": "embeddings", "id": identity, "places": list(vectors), "vectors": data})

    def _send_error(self, identity: int, error: Exception) -> None:
        if not isinstance(error, FoundryError):
            traceback.print_tb(error.__traceback__)  # places only: the message may quote a text
        self._send({"op": "error", "id": identity, **error_fields(error)})

    def _send(self, frame: Frame) -> None:
        self._sink.write(encode_frame(frame))
        self._sent = self._clock()

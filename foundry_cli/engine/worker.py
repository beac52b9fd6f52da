"""The engine worker: one process that owns one loaded model and answers requests for it.

One thread owns the model. Between two steps it takes what has arrived (new requests, cancellations), so nothing waits
longer than one step. A second thread only reads the pipe; the end of the pipe is the end of the process.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

from foundry_cli.engine.chat_template import ChatTemplate, PromptTemplate
from foundry_cli.engine.confinement import confine, die_with_parent
from foundry_cli.engine.frames import Frame, FrameReader, encode_frame
from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.engine.processors import usable_cores
from foundry_cli.engine.prompt_cache import PromptCache
from foundry_cli.engine.request import Finish, GenerationRequest, TextChunk
from foundry_cli.engine.runtime import Runtime
from foundry_cli.engine.scheduler import Scheduler, Step
from foundry_cli.engine.sequence import Sequence
from foundry_cli.errors import EngineError, FoundryError

_MOST_RUNNING = 8  # answers that share the model's time; the others wait
_MEMORY_SHARE = 2  # conversations may take half of the memory that is free after loading
_SMALLEST_BUDGET = 64 * 1024 * 1024  # bytes


class Worker:
    """Requests in, events out, and the model in between. `runtime` and the streams are given, so tests can give others."""

    def __init__(self, runtime: Runtime, source: BinaryIO, sink: BinaryIO, *, memory_budget: int) -> None:
        self._runtime = runtime
        self._template = _template(runtime.files)
        self._sink = sink
        self._inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._scheduler = Scheduler()
        self._waiting: deque[Sequence] = deque()
        self._running: dict[int, Sequence] = {}
        self._cache = PromptCache(
            runtime.new_context,
            bytes_per_token=runtime.files.kv_bytes_per_token,
            budget=memory_budget,
            context_length=runtime.files.context_length,
        )
        threading.Thread(target=_read_frames, args=(source, self._inbox), daemon=True).start()

    def run(self) -> None:
        """Work until the pipe ends."""
        while self._take_frames():
            self._admit()
            step = self._scheduler.next_step()
            if step is not None:
                self._run_step(step)

    def _take_frames(self) -> bool:
        """Handle what has arrived; wait for something when there is no work. False at the end of the pipe."""
        is_idle = not self._running and not self._waiting
        while is_idle or not self._inbox.empty():
            frame = self._inbox.get()
            if frame is None:
                return False
            if frame["op"] == "generate":
                self._accept(frame)
            elif frame["op"] == "cancel":
                self._cancel(int(frame["id"]))
            is_idle = is_idle and not self._waiting
        return True

    def _accept(self, frame: Frame) -> None:
        identity = int(frame["id"])
        try:
            request = GenerationRequest.from_frame(frame["request"])
            self._waiting.append(Sequence.create(identity, request, self._prompt(request), self._runtime))
        except FoundryError as error:
            self._send_error(identity, error)

    def _prompt(self, request: GenerationRequest) -> list[int]:
        if self._template is None:
            text = self._runtime.apply_own_template(request.messages)
        else:
            text = self._template.render(request.messages)
        tokens = self._runtime.encode(text)
        if not tokens:
            raise EngineError("The prompt is empty after the chat template was applied.")
        return tokens

    def _cancel(self, identity: int) -> None:
        if sequence := self._running.get(identity):
            self._end(sequence, sequence.finish("cancelled"))
        for sequence in [waiting for waiting in self._waiting if waiting.identity == identity]:
            self._waiting.remove(sequence)
            self._send(_event_frame(identity, sequence.finish("cancelled")))

    def _admit(self) -> None:
        """Start waiting sequences in order, as long as there is a place and memory."""
        while self._waiting and len(self._running) < _MOST_RUNNING:
            sequence = self._waiting[0]
            try:
                if not sequence.start(self._cache):
                    return
            except FoundryError as error:
                self._waiting.popleft()
                self._send_error(sequence.identity, error)
                continue
            self._waiting.popleft()
            self._running[sequence.identity] = sequence
            self._scheduler.add(sequence)

    def _run_step(self, step: Step) -> None:
        sequence = step.task
        assert isinstance(sequence, Sequence)
        began = time.perf_counter()
        was_prefilling = sequence.is_prefilling
        try:
            events = sequence.step(step.prefill_tokens)
        except FoundryError as error:
            self._drop(sequence, error)
            return
        self._scheduler.charge(step, time.perf_counter() - began, was_prefill=was_prefilling)
        for event in events:
            if isinstance(event, Finish):
                self._end(sequence, event)
            else:
                self._send(_event_frame(sequence.identity, event))
        if sequence.identity in self._running and sequence.has_outgrown():
            self._move(sequence)

    def _move(self, sequence: Sequence) -> None:
        """Send a sequence that filled its context to the front of the waiting line, for a larger one."""
        assert sequence.context is not None
        self._leave(sequence)
        self._cache.discard(sequence.context)
        sequence.context = None
        self._waiting.appendleft(sequence)

    def _end(self, sequence: Sequence, finish: Finish) -> None:
        assert sequence.context is not None
        self._leave(sequence)
        self._send(_event_frame(sequence.identity, finish))
        self._cache.release(sequence.context)

    def _drop(self, sequence: Sequence, error: FoundryError) -> None:
        assert sequence.context is not None
        self._leave(sequence)
        self._cache.discard(sequence.context)
        self._send_error(sequence.identity, error)

    def _leave(self, sequence: Sequence) -> None:
        del self._running[sequence.identity]
        self._scheduler.remove(sequence)

    def _send_error(self, identity: int, error: FoundryError) -> None:
        self._send({"op": "error", "id": identity, **_error_fields(error)})

    def _send(self, frame: Frame) -> None:
        self._sink.write(encode_frame(frame))
        self._sink.flush()


def _read_frames(source: BinaryIO, inbox: queue.SimpleQueue[Frame | None]) -> None:
    reader = FrameReader()
    descriptor = source.fileno()
    try:
        while data := os.read(descriptor, 1 << 16):
            for frame in reader.feed(data):
                inbox.put(frame)
    finally:
        inbox.put(None)


def _event_frame(identity: int, event: TextChunk | Finish) -> Frame:
    if isinstance(event, TextChunk):
        return {"op": "text", "id": identity, "text": event.text, "tokens": event.tokens}
    usage, timing = vars(event.usage), vars(event.timing)
    return {"op": "finish", "id": identity, "reason": event.reason, "usage": usage, "timing": timing}


def _error_fields(error: FoundryError) -> Frame:
    return {"code": error.code, "message": error.message, "hint": error.hint, "param": error.param}


def _template(files: ModelFiles) -> ChatTemplate | PromptTemplate | None:
    if files.chat_template is not None:
        return ChatTemplate(files.chat_template, files.special_tokens)
    return PromptTemplate(files.prompt_template) if files.prompt_template else None


def _memory_budget() -> int:
    import psutil

    return max(_SMALLEST_BUDGET, psutil.virtual_memory().available // _MEMORY_SHARE)


def _claim_output() -> BinaryIO:
    """The pipe to the service; whatever libraries print to standard output goes to standard error from now on."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sink


def main() -> None:
    """Load the model of the directory given and serve it on standard input and output."""
    parser = argparse.ArgumentParser(prog="foundry-engine-worker")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    sink = _claim_output()
    began = time.monotonic()
    try:
        from foundry_cli.engine.runtime import GenAIRuntime

        files = read_model_files(arguments.directory)
        confine(arguments.directory)
        runtime = GenAIRuntime(files, threads=usable_cores())
        worker = Worker(runtime, sys.stdin.buffer, sink, memory_budget=_memory_budget())
    except FoundryError as error:
        sink.write(encode_frame({"op": "failed", **_error_fields(error)}))
        sink.flush()
        return
    ready = {"op": "ready", "context_length": files.context_length, "load_seconds": time.monotonic() - began}
    sink.write(encode_frame(ready))
    sink.flush()
    worker.run()


if __name__ == "__main__":
    main()

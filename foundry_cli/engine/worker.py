"""The engine worker: one process that owns one loaded model and answers requests for it.

One thread owns the model. Between two steps it takes what has arrived (new requests, cancellations), so nothing waits
longer than one step. A second thread only reads the pipe; the end of the pipe is the end of the process.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from foundry_cli.config import ENGINES
from foundry_cli.engine.confinement import confine, device_files, die_with_parent
from foundry_cli.engine.conversation_files import claim_folder
from foundry_cli.engine.conversation_store import ConversationStore, store_key
from foundry_cli.engine.frames import Frame, FrameReader, encode_frame
from foundry_cli.engine.grammar import GrammarFactory
from foundry_cli.engine.messages import error_fields, event_frame
from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.engine.prompt import PromptBuilder
from foundry_cli.engine.request import Finish, GenerationRequest, TextChunk, Timing, Usage
from foundry_cli.engine.runtime import LogitRows, Runtime
from foundry_cli.engine.runtime_choice import open_runtime
from foundry_cli.engine.sampling import choose_batch
from foundry_cli.engine.scheduler import Scheduler, Step
from foundry_cli.engine.sequence import Sequence
from foundry_cli.engine.waiting_line import WaitingLine
from foundry_cli.engine.worker_log import log_to
from foundry_cli.errors import FoundryError
from foundry_cli.execution_providers import CPU
from foundry_cli.hardware.memory import available_memory
from foundry_cli.hardware.processors import usable_cores

logger = logging.getLogger("foundry.engine")

Inbox = queue.SimpleQueue[Frame | None]

_MEMORY_SHARE = 2  # conversations may take half of the memory that is free after loading
_SMALLEST_BUDGET = 64 * 1024 * 1024  # bytes
_PAUSE_SECONDS = 3.0  # without work: time to keep conversations; sooner would write a lively chat again at every turn
_PREPARE_SECONDS = 0.05  # for requests that arrive together
_SILENCE_SECONDS = 5.0  # without any other message: say that work goes on


class Worker:
    """Requests in, events out, and the model in between. `None` in the inbox is the end; `clock` measures steps."""

    def __init__(
        self,
        runtime: Runtime,
        inbox: Inbox,
        sink: BinaryIO,
        *,
        memory_budget: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._runtime = runtime
        self._inbox = inbox
        self._clock = clock
        self._prompts = PromptBuilder(runtime)
        self._grammars = GrammarFactory(runtime.files.directory, runtime.files.eos_token_ids)
        self._sink = sink
        self._sent = clock()
        self._scheduler = Scheduler()
        self._arrived: dict[int, tuple[Frame, float]] = {}  # not yet looked at, oldest first
        self._prefills: dict[int, Frame] = {}  # chats to read when there is nothing else to do
        self._cache = runtime.new_cache(memory_budget)
        self._waiting = WaitingLine(self._cache)
        self._running: dict[int, Sequence] = {}

    def facts(self) -> Frame:
        """What the service wants to know of the loaded model."""
        runtime = self._runtime
        return {"context_length": runtime.files.context_length, "engine": runtime.name, "most_running": runtime.most_running}

    def run(self) -> None:
        """Work until the pipe ends; then keep the conversations."""
        self._work()
        while self._keep_next():
            pass

    def _keep_next(self) -> bool:
        """Write a conversation to disk, if there is one to write, and tell the service."""
        if not self._cache.save_next():
            return False
        with suppress(OSError):  # at the end nobody may be listening any more
            self._send({"op": "kept"})
            self._sink.flush()
        return True

    def _work(self) -> None:
        while self._take_frames():
            self._prepare_some()
            self._admit()
            step = self._scheduler.next_step()
            if step is not None:
                self._run_step(step)
            self._sink.flush()  # once for all answers: each flush wakes the service

    def _take_frames(self) -> bool:
        """Note what has arrived; wait for something when there is no work. False at the end of the pipe."""
        while not self._inbox.empty() or (self._is_idle() and not self._prefills):
            frame = self._next_frame()
            if frame is None:
                return False
            if frame["op"] == "generate" and frame["request"]["max_tokens"] == 0:
                self._prefills[int(frame["id"])] = frame
            elif frame["op"] == "generate":
                self._end_prefills()
                self._arrived[int(frame["id"])] = frame, time.monotonic()
            elif frame["op"] == "cancel":
                self._cancel(int(frame["id"]))
        return True

    def _is_idle(self) -> bool:
        return not (self._arrived or self._waiting or self._running)

    def _next_frame(self) -> Frame | None:
        """What has arrived, or will; a pause is used to keep the conversations, lest a crash costs them."""
        self._sink.flush()
        try:
            return self._inbox.get(timeout=_PAUSE_SECONDS)
        except queue.Empty:
            while self._inbox.empty() and self._keep_next():
                pass
            return self._inbox.get()

    def _prepare_some(self) -> None:
        """One at a time, so that running answers do not wait for all; more while prompts are read, whose steps take long."""
        began = self._clock()
        self._prepare()
        while self._arrived and self._clock() - began < _PREPARE_SECONDS and not self._is_writing():
            self._prepare()

    def _is_writing(self) -> bool:
        return any(sequence.is_writing for sequence in self._running.values())

    def _prepare(self) -> None:
        """Turn one request into tokens."""
        if self._is_idle() and self._prefills:
            identity = next(iter(self._prefills))
            frame, arrived = self._prefills.pop(identity), time.monotonic()
        elif self._arrived:
            identity = min(self._arrived, key=self._is_background)  # of equals the oldest
            frame, arrived = self._arrived.pop(identity)
        else:
            return
        try:
            request = GenerationRequest.from_frame(frame["request"])
            build = self._prompts.build_prefix if request.max_tokens == 0 else self._prompts.build
            prompt = build(request.messages)
            if not prompt:  # the template begins with the question
                self._send(event_frame(identity, Finish("length", Usage(), Timing())))
                return
            grammar = self._grammars.compile(request.grammar) if request.grammar else None
            self._waiting.append(Sequence.create(identity, request, prompt, self._runtime, arrived, grammar))
        except Exception as error:  # noqa: BLE001 - a fault in one request must not end the others
            self._send_error(identity, error)

    def _is_background(self, identity: int) -> bool:
        return bool(self._arrived[identity][0]["request"]["priority"] == "background")

    def _cancel(self, identity: int) -> None:
        if self._arrived.pop(identity, None) or self._prefills.pop(identity, None):
            self._send(event_frame(identity, Finish("cancelled", Usage(), Timing())))
        elif sequence := self._running.get(identity):
            self._end(sequence, sequence.finish("cancelled"))
        for sequence in [waiting for waiting in self._waiting if waiting.identity == identity]:
            self._waiting.remove(sequence)
            self._send(event_frame(identity, sequence.finish("cancelled")))

    def _end_prefills(self) -> None:
        """Nobody shall wait for the reading of a chat, nor find it in the way; what has been read stays."""
        reading = [sequence.identity for sequence in (*self._running.values(), *self._waiting) if sequence.max_tokens == 0]
        for identity in (*self._prefills, *reading):
            self._cancel(identity)

    def _admit(self) -> None:
        """Start waiting sequences in order, as long as there is a place and memory."""
        while len(self._running) < self._runtime.most_running and (sequence := self._next_waiting()):
            try:
                if not sequence.start(self._cache):
                    self._waiting.note_full(sequence)
                    continue
            except Exception as error:  # noqa: BLE001 - as above
                self._waiting.remove(sequence)
                self._send_error(sequence.identity, error)
                continue
            self._waiting.take(sequence)
            self._running[sequence.identity] = sequence
            self._scheduler.add(sequence)

    def _next_waiting(self) -> Sequence | None:
        """Who comes next; never so much work in the background that it takes all places."""
        background = sum(sequence.is_background for sequence in self._running.values())
        return self._waiting.next(background=background < self._runtime.most_running // 2)

    def _run_step(self, step: Step) -> None:
        sequences = [task for task in step.tasks if isinstance(task, Sequence)]
        was_read = not step.tasks[0].is_writing
        began = self._clock()
        if was_read:
            self._read(sequences[0], step.piece)
        else:
            self._write(sequences)
        self._scheduler.charge(step, self._clock() - began, was_read=was_read)
        if self._clock() - self._sent > _SILENCE_SECONDS:
            self._send({"op": "busy"})

    def _read(self, sequence: Sequence, piece: int) -> None:
        try:
            logits = sequence.read(piece)
        except Exception as error:  # noqa: BLE001 - as above
            self._drop(sequence, error)
            return
        self._waiting.note_change()  # who waits for the same beginning may go on from it
        if logits is not None:
            self._choose([sequence], logits[None])

    def _write(self, sequences: list[Sequence]) -> None:
        """The next token of each answer. When that fails, once more one by one: only the one at fault shall end."""
        contexts = [sequence.context for sequence in sequences if sequence.context]
        lengths = [len(context.tokens) for context in contexts]
        try:
            logits = self._runtime.append_each(contexts, [sequence.tokens[-1] for sequence in sequences])
        except Exception as error:  # noqa: BLE001 - as above
            if len(sequences) == 1:
                self._drop(sequences[0], error)
                return
            for sequence, context, length in zip(sequences, contexts, lengths, strict=True):
                context.rewind(length)
                self._write([sequence])
            return
        self._choose(sequences, logits)

    def _choose(self, sequences: list[Sequence], logits: LogitRows) -> None:
        choices = choose_batch([sequence.sampler for sequence in sequences], logits)
        for sequence, choice in zip(sequences, choices, strict=True):
            try:
                if isinstance(choice, Exception):
                    raise choice
                if sequence.max_tokens == 0:
                    self._end(sequence, sequence.finish("length"))
                    continue
                events = sequence.accept(choice)
            except Exception as error:  # noqa: BLE001 - as above
                self._drop(sequence, error)
                continue
            self._tell(sequence, events)

    def _tell(self, sequence: Sequence, events: list[TextChunk | Finish]) -> None:
        for event in events:
            if isinstance(event, Finish):
                self._end(sequence, event)
                return
            self._send(event_frame(sequence.identity, event))
        if not sequence.has_room(self._cache):
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
        self._send(event_frame(sequence.identity, finish))
        self._cache.release(sequence.context, min(sequence.prompt_length, len(sequence.context.tokens)))

    def _drop(self, sequence: Sequence, error: Exception) -> None:
        assert sequence.context is not None
        self._leave(sequence)
        self._cache.discard(sequence.context)
        self._send_error(sequence.identity, error)

    def _leave(self, sequence: Sequence) -> None:
        del self._running[sequence.identity]
        self._waiting.note_change()
        self._scheduler.remove(sequence)

    def _send_error(self, identity: int, error: Exception) -> None:
        if not isinstance(error, FoundryError):
            traceback.print_tb(error.__traceback__)  # places only: the message may quote the conversation
        self._send({"op": "error", "id": identity, **error_fields(error)})

    def _send(self, frame: Frame) -> None:
        self._sink.write(encode_frame(frame))
        self._sent = self._clock()


def _read_frames(descriptor: int, inbox: Inbox) -> None:
    reader = FrameReader()
    try:
        while data := os.read(descriptor, 1 << 16):
            for frame in reader.feed(data):
                inbox.put(frame)
    finally:
        inbox.put(None)


def claim_output() -> BinaryIO:
    """The pipe to the service, as bytes; whatever libraries print to standard output goes to standard error from now on."""
    if sys.platform == "win32":
        import msvcrt

        for stream in (sys.stdin, sys.stdout):
            msvcrt.setmode(stream.fileno(), os.O_BINARY)  # else line ends would be translated
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sink


def main() -> None:
    """Load the model of the directory given and serve it on standard input and output."""
    parser = argparse.ArgumentParser(prog="foundry-engine-worker")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--provider", default=CPU)
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--conversations", type=Path, help="folder for conversations of all models; none: they are not kept")
    parser.add_argument("--conversation-bytes", type=int, default=0)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which lets answers finish
    sink = claim_output()
    log_to(sink)
    began = time.monotonic()
    try:
        worker = _load(arguments, sink)
    except FoundryError as error:
        sink.write(encode_frame({"op": "failed", **error_fields(error)}))
        sink.flush()
        return
    facts = {**worker.facts(), "threads": usable_cores(), "load_seconds": time.monotonic() - began}
    sink.write(encode_frame({"op": "ready", **facts}))
    sink.flush()
    worker.run()


def _load(arguments: argparse.Namespace, sink: BinaryIO) -> Worker:
    files = read_model_files(arguments.directory)
    kept = _conversations(arguments, files)
    confine(arguments.directory, devices=() if arguments.provider == CPU else device_files(), writable=kept)
    store = ConversationStore(kept, arguments.conversation_bytes) if kept else None
    runtime = open_runtime(files, threads=usable_cores(), provider=arguments.provider, choice=arguments.engine, store=store)
    budget = max(_SMALLEST_BUDGET, available_memory() // _MEMORY_SHARE)
    inbox: Inbox = queue.SimpleQueue()
    worker = Worker(runtime, inbox, sink, memory_budget=budget)
    threading.Thread(target=_read_frames, args=(sys.stdin.fileno(), inbox), daemon=True).start()
    return worker


def _conversations(arguments: argparse.Namespace, files: ModelFiles) -> Path | None:
    """The folder for the conversations of this model, None when they are not kept."""
    if not arguments.conversations or arguments.provider != CPU:
        return None
    folder: Path = arguments.conversations / store_key(files.directory, files.chat_template)
    try:
        claim_folder(arguments.conversations)
        claim_folder(folder)
    except OSError as error:
        logger.warning("conversations are not kept on disk: %s", error.strerror)
        return None
    return folder


if __name__ == "__main__":
    main()

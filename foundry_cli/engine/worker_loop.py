"""What a worker does all day: requests become ready, wait, run in steps, and end; the frames of each step go out together.

One thread owns the model. Between two steps it takes what has arrived (new requests, cancellations), so nothing waits
longer than one step.
"""

from __future__ import annotations

import logging
import os
import queue
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from foundry_cli.engine.frames import Frame, encode_frame
from foundry_cli.engine.messages import GAVE_UP, error_fields, event_frame
from foundry_cli.engine.preparation import PATIENCE_SECONDS, Preparation, Tell
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, Timing, Usage
from foundry_cli.engine.runtime import LogitRows, Runtime
from foundry_cli.engine.sampling import Choice, choose_batch
from foundry_cli.engine.scheduler import Scheduler, Step
from foundry_cli.engine.sequence import Sequence
from foundry_cli.engine.waiting_line import WaitingLine
from foundry_cli.errors import FoundryError, InvalidRequestError

logger = logging.getLogger("foundry.engine")

Inbox = queue.SimpleQueue[Frame | None]

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
        end_process: Callable[[int], object] = os._exit,
        new_preparation: Callable[[Runtime, Tell, Tell], Preparation] = Preparation,
    ) -> None:
        self._runtime = runtime
        self._inbox = inbox
        self._clock = clock
        self._end_process = end_process
        self._preparation = new_preparation(
            runtime,
            lambda identity: inbox.put({"op": "prepared", "id": identity}),
            lambda identity: inbox.put({"op": "overdue", "id": identity}),
        )
        self._sink = sink
        self._sent = clock()
        self._scheduler = Scheduler(is_exact=runtime.append_draft is not None)
        self._arrived: dict[int, tuple[Frame, float]] = {}  # not yet looked at, oldest first
        self._prefills: dict[int, Frame] = {}  # chats to read when there is nothing else to do
        self._cache = runtime.new_cache(memory_budget)
        self._waiting = WaitingLine(self._cache)
        self._running: dict[int, Sequence] = {}

    def facts(self) -> Frame:
        """What the service wants to know of the loaded model."""
        runtime = self._runtime
        return {
            "context_length": runtime.files.context_length,
            "engine": runtime.name,
            "kernels": runtime.kernels,
            "most_running": runtime.most_running,
        }

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
            if frame["op"] in ("tokenize", "detokenize"):
                self._convert(frame)
            elif frame["op"] == "prepared":
                self._take_prepared(int(frame["id"]))
            elif frame["op"] == "overdue":
                self._end_overdue(int(frame["id"]))
            elif frame["op"] == "generate" and frame["request"]["max_tokens"] == 0:
                self._prefills[int(frame["id"])] = frame
            elif frame["op"] == "generate":
                self._end_prefills()
                self._arrived[int(frame["id"])] = frame, time.monotonic()
            elif frame["op"] == "embed":
                self._send_error(int(frame["id"]), InvalidRequestError("The model makes no embeddings.", param="model"))
            elif frame["op"] == "cancel":
                self._cancel(int(frame["id"]))
        return True

    def _convert(self, frame: Frame) -> None:
        """Tokens of a prompt, or the text of tokens: at once, whoever is being answered."""
        identity = int(frame["id"])
        try:
            if frame["op"] == "tokenize":
                tokens = self._preparation.prompts.build(GenerationRequest.from_frame(frame["request"])).tokens
                self._send({"op": "tokens", "id": identity, "tokens": tokens})
            else:
                self._preparation.prompts.check_tokens(frame["tokens"], "tokens")
                self._send({"op": "decoded", "id": identity, "text": self._runtime.decode(frame["tokens"])})
        except Exception as error:  # noqa: BLE001 - as in `_prepare`
            self._send_error(identity, error)

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
            self._prepare_request(identity, GenerationRequest.from_frame(frame["request"]), arrived)
        except Exception as error:  # noqa: BLE001 - a fault in one request must not end the others
            self._send_error(identity, error)

    def _prepare_request(self, identity: int, request: GenerationRequest, arrived: float) -> None:
        if request.max_tokens == 0 and not self._preparation.prompts.build_prefix(request).tokens:
            self._send(event_frame(identity, Finish("length", Usage(), Timing())))  # the template begins with the question
        elif sequence := self._preparation.begin(identity, request, arrived):
            self._waiting.append(sequence)

    def _take_prepared(self, identity: int) -> None:
        try:
            if sequence := self._preparation.take(identity):
                self._waiting.append(sequence)
        except Exception as error:  # noqa: BLE001 - as in `_prepare`
            self._send_error(identity, error)

    def _end_overdue(self, identity: int) -> None:
        """Refuse a request whose grammar compiles without end, and end the process.

        Of the others, those of which nothing was sent yet are begun again in a new one.
        """
        if not self._preparation.is_overdue(identity):
            return
        logger.error("a grammar has not been compiled in %g s: the worker ends", PATIENCE_SECONDS)
        message = "The grammar, the schema or the tools of the request take too long to compile."
        self._send_error(identity, InvalidRequestError(message, hint="Use a simpler one."))
        self._sink.flush()
        self._end_process(GAVE_UP)

    def _is_background(self, identity: int) -> bool:
        return bool(self._arrived[identity][0]["request"]["priority"] == "background")

    def _cancel(self, identity: int) -> None:
        if self._arrived.pop(identity, None) or self._prefills.pop(identity, None) or self._preparation.give_up(identity):
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
        self._tell_places()

    def _tell_places(self) -> None:
        """To those who want to know, when it has changed."""
        for place, sequence in enumerate(self._waiting):
            if sequence.tells_progress and sequence.place != place:
                sequence.place = place
                self._send(event_frame(sequence.identity, sequence.progress(place + 1)))

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
        elif len(sequences) == 1:
            self._write_alone(sequences[0])
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
        if sequence.tells_progress and sequence.first_token is None:
            self._send(event_frame(sequence.identity, sequence.progress(0)))
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

    def _write_alone(self, sequence: Sequence) -> None:
        """The next token of the only answer that is being written, and those behind it that were drafted right."""
        began, length = self._clock(), len(sequence.tokens)
        draft = sequence.draft() if self._runtime.append_draft else []
        if draft:
            self._verify(sequence, draft)
        else:
            self._write([sequence])
        sequence.lookup.charge(len(draft), len(sequence.tokens) - length, self._clock() - began)

    def _verify(self, sequence: Sequence, draft: list[int]) -> None:
        """Compute the draft together with the token before it; go on as far as the tokens that are chosen are those of it."""
        assert sequence.context is not None
        assert self._runtime.append_draft is not None
        tokens = sequence.context.tokens
        length = len(tokens)
        try:
            logits = self._runtime.append_draft(sequence.context, [sequence.tokens[-1], *draft])
        except Exception:  # noqa: BLE001 - one token alone may do: if not, that tells
            sequence.context.rewind(length)
            self._write([sequence])
            return
        sequence.draft_tokens += len(draft)
        for row, drafted in zip(logits, [*draft, None], strict=True):
            (choice,) = choose_batch([sequence.sampler], row[None])
            is_right = isinstance(choice, Choice) and choice.token == drafted
            sequence.accepted_tokens += is_right
            self._take(sequence, choice)
            if not is_right or sequence.identity not in self._running:
                return
            tokens.append(sequence.tokens[-1])

    def _choose(self, sequences: list[Sequence], logits: LogitRows) -> None:
        for sequence, choice in zip(sequences, choose_batch([s.sampler for s in sequences], logits), strict=True):
            self._take(sequence, choice)

    def _take(self, sequence: Sequence, choice: Choice | FoundryError) -> None:
        try:
            if isinstance(choice, FoundryError):
                raise choice
            if sequence.max_tokens == 0:
                self._end(sequence, sequence.finish("length"))
                return
            events = sequence.accept(choice)
        except Exception as error:  # noqa: BLE001 - as above
            self._drop(sequence, error)
            return
        self._tell(sequence, events)

    def _tell(self, sequence: Sequence, events: list[EngineEvent]) -> None:
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

"""A fake bottom for the engine: a runtime of bytes whose replies are scripted, and a worker that runs step by step."""

from __future__ import annotations

import io
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foundry_cli.engine.frames import Frame, FrameReader
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.prompt_cache import PromptCache
from foundry_cli.engine.request import GenerationRequest, SamplingParameters
from foundry_cli.engine.runtime import AppendDraft, LogitRows, TokenContext
from foundry_cli.engine.sampling import Logits, SamplingDefaults
from foundry_cli.engine.worker_loop import Worker
from foundry_cli.errors import EngineError, ModelInvalidError

END = 256
"""The token that ends an answer; 0 to 255 are bytes."""


def decode_like_the_runtime(tokens: Sequence[int]) -> str:
    """Bytes to text; as in GenAI, whatever follows bytes that are no character is dropped."""
    data = bytes(token for token in tokens if token < END)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return data[: error.start].decode() + "\N{REPLACEMENT CHARACTER}"


@dataclass(eq=False)
class FakeContext:
    """Remembers what was appended; the logits follow from a function of the tokens."""

    max_length: int
    answer: Callable[[list[int]], Logits] = lambda tokens: np.zeros(END + 1, dtype=np.float32)
    on_append: Callable[[FakeContext, int], None] = lambda context, count: None
    is_broken: bool = False
    tokens: list[int] = field(default_factory=list)
    least_piece: int = 1

    def append(self, tokens: Sequence[int]) -> None:
        if len(self.tokens) + len(tokens) > self.max_length:
            raise EngineError("exceeds max length")
        self.tokens.extend(tokens)
        self.on_append(self, len(tokens))

    def rewind(self, length: int) -> None:
        if self.is_broken:
            raise EngineError("cannot go back")
        del self.tokens[length:]

    def logits(self) -> Logits:
        return self.answer(self.tokens)


def certain(token: int) -> Logits:
    """Logits that leave no choice."""
    logits = np.zeros(END + 1, dtype=np.float32)
    logits[token] = 50
    return logits


def reply(text: bytes) -> Callable[[list[int]], Logits]:
    """Answers whatever ends with `>` by `text`: the prompt's last `>` opens the answer."""

    def answer(tokens: list[int]) -> Logits:
        position = len(tokens) - 1 - max(index for index, token in enumerate(tokens) if token == ord(">"))
        return certain(text[position] if position < len(text) else END)

    return answer


@dataclass
class FakeRuntime:
    """A model of bytes. Time passes on its own clock: one second for every token of a step."""

    answer: Callable[[list[int]], Logits]
    context_length: int = 4096
    template: str | None = "{% for m in messages %}{{ m.content }}{% endfor %}>"
    defaults: SamplingDefaults = field(default_factory=SamplingDefaults)
    on_step: Callable[[int], None] = lambda number: None
    control_tokens: dict[str, int] = field(default_factory=dict)
    encoded: list[str] = field(default_factory=list)
    contexts: list[FakeContext] = field(default_factory=list)
    steps: list[tuple[str, int]] = field(default_factory=list)  # first letter of the prompt, tokens
    now: float = 0.0
    append_draft: AppendDraft | None = None
    name: str = "fake"
    most_running: int = 8
    kernels: str = "none"

    @property
    def files(self) -> ModelFiles:
        return ModelFiles(
            directory=Path("fake"),
            context_length=self.context_length,
            eos_token_ids=frozenset({END}),
            bos_token_id=None,
            kv_bytes_per_token=1,
            sampling=self.defaults,
            chat_template=self.template,
            control_tokens=self.control_tokens,
            added_tokens=self.control_tokens,
            longest_token=1,
        )

    def encode(self, text: str) -> list[int]:
        self.encoded.append(text)
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return decode_like_the_runtime(tokens)

    def apply_own_template(self, messages: Sequence[dict[str, Any]]) -> str:
        raise ModelInvalidError("The model has no chat template")

    def new_cache(self, budget: int) -> PromptCache:
        return PromptCache(self._new_context, bytes_per_token=1, budget=budget, context_length=self.context_length)

    def append_each(self, contexts: Sequence[TokenContext], tokens: Sequence[int]) -> LogitRows:
        for context, token in zip(contexts, tokens, strict=True):
            context.append([token])
        return np.stack([context.logits() for context in contexts])

    def _new_context(self, max_length: int) -> FakeContext:
        context = FakeContext(max_length, self.answer, self._note)
        self.contexts.append(context)
        return context

    def _note(self, context: FakeContext, count: int) -> None:
        self.now += count
        self.steps.append((chr(context.tokens[0]), count))
        self.on_step(len(self.steps))


def request(text: str = "hello", **options: Any) -> GenerationRequest:
    """A request of one message; options of sampling and of the request are told apart by name."""
    names = SamplingParameters.__dataclass_fields__
    sampling = {name: options.pop(name) for name in list(options) if name in names}
    messages = options.pop("messages", ({"role": "user", "content": text},))
    return GenerationRequest(messages, sampling=SamplingParameters(**sampling), **options)


class Bench:
    """A worker in this thread. Requests are put into its inbox; it runs until all of them have ended."""

    def __init__(self, runtime: Any, *, memory_budget: int = 1 << 20, clock: Callable[[], float] | None = None) -> None:
        """`runtime`: a `FakeRuntime`, or another one and a `clock`."""
        self.runtime = runtime
        self.frames: list[Frame] = []
        self._inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._open: set[int] = set()
        sink = _Sink(self._receive)
        self._worker = Worker(runtime, self._inbox, sink, memory_budget=memory_budget, clock=clock or (lambda: runtime.now))

    def ask(self, identity: int, asked: GenerationRequest) -> None:
        """Send a request, before `run` or from within a step."""
        self._open.add(identity)
        self._inbox.put({"op": "generate", "id": identity, "request": asked.to_frame()})

    def cancel(self, *identities: int) -> None:
        """Send cancellations."""
        for identity in identities:
            self._inbox.put({"op": "cancel", "id": identity})

    def run(self) -> None:
        """Let the worker work until every request has ended."""
        self._worker.run()

    def answer(self, asked: GenerationRequest) -> tuple[str, Frame]:
        """The text and the last frame of one request that is alone."""
        identity = len(self.frames) + 1
        self.ask(identity, asked)
        self.run()
        return self.text(identity), self.end(identity)

    def text(self, identity: int) -> str:
        """What was answered."""
        return "".join(frame["text"] for frame in self.frames if frame["op"] == "text" and frame["id"] == identity)

    def end(self, identity: int) -> Frame:
        """The frame that ended the request; exactly one must have."""
        (end,) = [frame for frame in self.frames if frame["op"] in ("finish", "error") and frame["id"] == identity]
        return end

    def _receive(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame["op"] in ("finish", "error"):
            self._open.discard(frame["id"])
            if not self._open:
                self._inbox.put(None)


class _Sink(io.BytesIO):
    def __init__(self, receive: Callable[[Frame], None]) -> None:
        super().__init__()
        self._reader = FrameReader()
        self._receive = receive

    def write(self, data: Any) -> int:
        for frame in self._reader.feed(bytes(data)):
            self._receive(frame)
        return len(data)

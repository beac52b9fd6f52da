"""One answer on its way: prompt tokens go in piece by piece, then tokens come out one by one.

There is one kind of step. It computes tokens that are known and not yet in the context; when none are left, it
chooses the next one. A prompt, the one token of a running answer, and an answer that has outgrown its context and
moves to a larger one are the same case.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from foundry_cli.engine.detokenizer import Detokenizer
from foundry_cli.engine.prompt_cache import PromptCache
from foundry_cli.engine.request import Finish, FinishReason, GenerationRequest, TextChunk, Timing, Usage
from foundry_cli.engine.runtime import Runtime, TokenContext
from foundry_cli.engine.sampling import Sampler
from foundry_cli.engine.scheduler import Step, Task
from foundry_cli.engine.stop_sequence import StopSequences
from foundry_cli.errors import ContextLengthError

ROOM_TOKENS = 512
"""Space reserved for an answer at first, unless it is known to be shorter; a longer one moves to a larger context."""


def check_length(prompt_tokens: int, max_tokens: int | None, context_length: int) -> None:
    """Raise `ContextLengthError` with the counts when prompt and answer cannot fit."""
    wanted = max_tokens or 1
    if prompt_tokens + wanted > context_length:
        raise ContextLengthError(
            f"This model's maximum context length is {context_length} tokens. The request needs "
            f"{prompt_tokens + wanted} ({prompt_tokens} in the messages, {wanted} for the answer).",
            hint="Shorten the messages." if max_tokens is None else "Shorten the messages or lower max_tokens.",
            param="messages" if prompt_tokens >= context_length else "max_tokens",
        )


@dataclass(eq=False)
class Sequence(Task):
    """The state of one answer. `start` gives it a context before the first step."""

    identity: int = 0
    tokens: list[int] = field(default_factory=list)  # prompt and answer
    prompt_length: int = 0
    context_length: int = 0
    max_tokens: int | None = None
    sampler: Sampler = field(kw_only=True)
    detokenizer: Detokenizer = field(kw_only=True)
    stop_sequences: StopSequences = field(kw_only=True)
    eos_token_ids: frozenset[int] = frozenset()
    context: TokenContext | None = None
    cached_tokens: int = 0
    told_tokens: int = 0  # of the answer, in the chunks so far
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None

    @classmethod
    def create(cls, identity: int, request: GenerationRequest, prompt: list[int], runtime: Runtime, arrived: float) -> Sequence:
        """The sequence for `request`, whose messages are `prompt` in tokens. Raises `ContextLengthError`."""
        files = runtime.files
        check_length(len(prompt), request.max_tokens, files.context_length)
        return cls(
            identity=identity,
            tokens=list(prompt),
            prompt_length=len(prompt),
            context_length=files.context_length,
            max_tokens=request.max_tokens,
            sampler=Sampler(request.sampling, files.sampling, prompt),
            detokenizer=Detokenizer(runtime.decode),
            stop_sequences=StopSequences(request.stop),
            eos_token_ids=files.eos_token_ids,
            arrived=arrived,
        )

    def start(self, cache: PromptCache) -> bool:
        """Get a context from `cache`; False when there is no memory for it yet."""
        room = ROOM_TOKENS if self.max_tokens is None else min(ROOM_TOKENS, self.max_tokens - self._answered())
        lease = cache.acquire(self.tokens, room + 1)
        if lease is None:
            return False
        self.context = lease.context
        if self.started is None:
            self.started = time.monotonic()
            self.cached_tokens = lease.cached_tokens
        self.is_prefilling = self._pending() > 1
        return True

    def has_outgrown(self) -> bool:
        """Whether the context is full although the answer may go on."""
        return self.context is not None and len(self.tokens) > self.context.max_length

    def run(self, step: Step) -> list[TextChunk | Finish]:
        """Compute a piece of the known tokens and, when none are left, choose the next one."""
        assert self.context is not None
        known = len(self.context.tokens)
        self.context.append(self.tokens[known : known + step.piece(self._pending())])
        self.is_prefilling = self._pending() > 1
        if self._pending():
            return []
        token = self.sampler.choose(self.context.logits()).token
        if self.first_token is None:
            self.first_token = time.monotonic()
        return self._accept(token)

    def finish(self, reason: FinishReason) -> Finish:
        """The end of the answer with its counts and times."""
        now = time.monotonic()
        started = self.started or now
        first = self.first_token or now
        return Finish(
            reason,
            Usage(self.prompt_length, self._answered(), self.cached_tokens),
            Timing(queue=started - self.arrived, prefill=first - started, decode=now - first),
        )

    def _answered(self) -> int:
        return len(self.tokens) - self.prompt_length

    def _pending(self) -> int:
        assert self.context is not None
        return len(self.tokens) - len(self.context.tokens)

    def _accept(self, token: int) -> list[TextChunk | Finish]:
        self.tokens.append(token)
        if token in self.eos_token_ids:
            return [*self._chunk(self._rest()), self.finish("stop")]
        text = self.stop_sequences.add(self.detokenizer.add(token))
        if self.stop_sequences.is_stopped:
            return [*self._chunk(text), self.finish("stop")]
        if self._answered() == self.max_tokens or len(self.tokens) >= self.context_length:
            text += self._rest()
            return [*self._chunk(text), self.finish("stop" if self.stop_sequences.is_stopped else "length")]
        self.is_prefilling = False
        return self._chunk(text)

    def _rest(self) -> str:
        text = self.stop_sequences.add(self.detokenizer.flush())
        return text if self.stop_sequences.is_stopped else text + self.stop_sequences.flush()

    def _chunk(self, text: str) -> list[TextChunk | Finish]:
        if not text:
            return []
        tokens, self.told_tokens = self._answered() - self.told_tokens, self._answered()
        return [TextChunk(text, tokens)]

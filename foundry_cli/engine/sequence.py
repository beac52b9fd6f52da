"""One answer on its way: prompt tokens go in piece by piece, then tokens come out one by one.

A prompt is read in pieces that are computed for this answer alone; the one token of an answer that is being written is
computed for all of them at once. Both end with logits, from which the next token is chosen.
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from foundry_cli.engine.grammar import GrammarState
from foundry_cli.engine.prompt_lookup import PromptLookup
from foundry_cli.engine.reply_format import CallArguments, CallStart, Reasoning, ReplyPiece, Text
from foundry_cli.engine.reply_reader import ReplyReader
from foundry_cli.engine.request import (
    EngineEvent,
    Finish,
    FinishReason,
    GenerationRequest,
    Progress,
    ReasoningChunk,
    TextChunk,
    Timing,
    TokenText,
    ToolCallChunk,
    Usage,
)
from foundry_cli.engine.runtime import ContextCache, Runtime, TokenContext
from foundry_cli.engine.sampling import Choice, Logits, Sampler
from foundry_cli.engine.scheduler import Task
from foundry_cli.engine.token_bytes import token_bytes
from foundry_cli.engine.told_tokens import split_told
from foundry_cli.errors import ContextLengthError

ROOM_TOKENS = 512
"""Space reserved for an answer at first, unless it is known to be shorter; a longer one moves to a larger context."""

_ALPHANUMERIC = string.ascii_letters + string.digits


def check_length(prompt_tokens: int, request: GenerationRequest, context_length: int) -> None:
    """Raise `ContextLengthError` with the counts when the prompt and the answer to `request` cannot fit."""
    source, max_tokens = request.source, None if request.caps_answer else request.max_tokens
    wanted = max_tokens or 1
    if prompt_tokens + wanted > context_length:
        raise ContextLengthError(
            f"This model's maximum context length is {context_length} tokens. The request needs "
            f"{prompt_tokens + wanted} ({prompt_tokens} in the {source}, {wanted} for the answer).",
            hint=f"Shorten the {source}." if max_tokens is None else f"Shorten the {source}, or ask for a shorter answer.",
            param=source if prompt_tokens >= context_length else "max_tokens",
        )


def _call_identity() -> str:
    """Nine letters and digits: the only form that the templates of all models accept."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))


@dataclass(eq=False)
class Sequence(Task):
    """The state of one answer. `start` gives it a context before the first step."""

    identity: int = 0
    tokens: list[int] = field(default_factory=list)  # prompt and answer
    prompt_length: int = 0
    context_length: int = 0
    max_tokens: int | None = None
    sampler: Sampler = field(kw_only=True)
    reader: ReplyReader = field(kw_only=True)
    lookup: PromptLookup = field(kw_only=True)
    decode: Callable[[list[int]], str] = field(kw_only=True)
    bytes_of: Callable[[int], bytes | None] = field(kw_only=True)  # of a token that is no whole characters
    eos_token_ids: frozenset[int] = frozenset()
    context: TokenContext | None = None
    cached_tokens: int = 0
    draft_tokens: int = 0  # computed ahead
    accepted_tokens: int = 0  # of them, because they were chosen
    told_tokens: int = 0  # of the answer, in the chunks so far
    logprobs: list[TokenText] = field(default_factory=list)  # of tokens that are not told yet
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None
    tells_progress: bool = False
    place: int | None = None  # in the waiting line, as it was told last

    @classmethod
    def create(
        cls,
        identity: int,
        request: GenerationRequest,
        prompt: list[int],
        runtime: Runtime,
        arrived: float,
        grammar: GrammarState | None = None,
        reader: ReplyReader | None = None,
    ) -> Sequence:
        """The sequence for `request`, whose messages are `prompt` in tokens; without a `reader` all of the reply is text.

        Raises `ContextLengthError`.
        """
        files = runtime.files
        check_length(len(prompt), request, files.context_length)
        return cls(
            is_background=request.priority == "background",
            identity=identity,
            tokens=list(prompt),
            prompt_length=len(prompt),
            context_length=files.context_length,
            max_tokens=request.max_tokens,
            sampler=Sampler(request.sampling, files.sampling, prompt, grammar, request.logprobs),
            reader=reader or ReplyReader(runtime.decode, request.stop),
            lookup=PromptLookup(prompt),
            decode=runtime.decode,
            bytes_of=partial(token_bytes, files.directory),
            eos_token_ids=files.eos_token_ids,
            arrived=arrived,
            tells_progress=request.tells_progress,
        )

    def start(self, cache: ContextCache) -> bool:
        """Get a context from `cache`; False when there is no memory for it yet."""
        room = ROOM_TOKENS if not self.max_tokens else min(ROOM_TOKENS, self.max_tokens - self._answered())
        lease = cache.acquire(self.tokens, room + 1, is_background=self.is_background)
        if lease is None:
            return False
        self.context = lease.context
        if self.started is None:
            self.started = time.monotonic()
            self.cached_tokens = lease.cached_tokens
        self._count_pending()
        return True

    def has_room(self, cache: ContextCache) -> bool:
        """Whether the next token has a place in the context, which may grow for it."""
        assert self.context is not None
        if len(self.tokens) <= self.context.max_length:
            return True
        return cache.extend(self.context, len(self.tokens) + ROOM_TOKENS)

    def read(self, piece: int) -> Logits | None:
        """Compute so many of the known tokens; the logits behind the last of them, None while there are more."""
        assert self.context is not None
        known = len(self.context.tokens)
        self.context.append(self.tokens[known : known + piece])
        self._count_pending()
        return None if self.pending else self.context.logits()

    def draft(self) -> list[int]:
        """What may follow the token that was chosen last, no more than there is room for."""
        assert self.context is not None
        room = self.context.max_length - len(self.tokens)
        if self.max_tokens is not None:
            room = min(room, self.max_tokens - self._answered() - 1)
        return self.lookup.draft(self.tokens, room)

    def accept(self, choice: Choice) -> list[EngineEvent]:
        """Go on with the token that was chosen from the logits."""
        if self.first_token is None:
            self.first_token = time.monotonic()
        if choice.logprob and not self.reader.is_reasoning:
            top = tuple(self._token_text(token, value) for token, value in choice.logprob.top)
            self.logprobs.append(replace(self._token_text(choice.token, choice.logprob.logprob), top=top))
        events = self._accept(choice.token)
        self._count_pending()
        return events

    def progress(self, waiting: int) -> Progress:
        """How far it is to the first token; `waiting`: places in the line."""
        read = len(self.context.tokens) if self.context else 0
        return Progress(waiting, min(read, self.prompt_length), self.prompt_length)

    def finish(self, reason: FinishReason) -> Finish:
        """The end of the answer with its counts and times."""
        now = time.monotonic()
        started = self.started or now
        first = self.first_token or now
        drafts = self.draft_tokens, self.accepted_tokens
        return Finish(
            "tool_calls" if reason == "stop" and self.reader.has_calls else reason,
            Usage(self.prompt_length, self._answered(), self.cached_tokens, self.reader.reasoning_tokens, *drafts),
            Timing(queue=started - self.arrived, prefill=first - started, decode=now - first),
            self.reader.stop_sequence,
        )

    def _answered(self) -> int:
        return len(self.tokens) - self.prompt_length

    def _count_pending(self) -> None:
        assert self.context is not None
        self.pending = len(self.tokens) - len(self.context.tokens)
        self.least_piece = self.context.least_piece

    def _accept(self, token: int) -> list[EngineEvent]:
        self.tokens.append(token)
        if token in self.eos_token_ids:
            return [*self._events(self.reader.end()), self.finish("stop")]
        pieces = self.reader.add(token)
        if self.reader.stop_sequence is not None:
            return [*self._events(pieces), self.finish("stop")]
        if self._answered() == self.max_tokens or len(self.tokens) >= self.context_length:
            pieces += self.reader.end()
            reason: FinishReason = "length" if self.reader.stop_sequence is None else "stop"
            return [*self._events(pieces), self.finish(reason)]
        return self._events(pieces)

    def _events(self, pieces: list[ReplyPiece]) -> list[EngineEvent]:
        """The pieces as events; the first of them stands for all tokens since the last one."""
        events: list[EngineEvent] = []
        for piece in pieces:
            tokens, self.told_tokens = self._answered() - self.told_tokens, self._answered()
            events.append(self._event(piece, tokens))
        return events

    def _event(self, piece: ReplyPiece, tokens: int) -> EngineEvent:
        match piece:
            case Text():
                told, self.logprobs = split_told(piece.text, self.logprobs) if self.logprobs else ([], [])
                return TextChunk(piece.text, tokens, tuple(told))
            case Reasoning():
                self.logprobs = []  # they are told of the answer only
                return ReasoningChunk(piece.text, tokens)
            case CallStart():
                self.logprobs = []
                return ToolCallChunk(piece.index, _call_identity(), piece.name, tokens=tokens)
            case CallArguments():
                self.logprobs = []
                return ToolCallChunk(piece.index, arguments=piece.text, tokens=tokens)

    def _token_text(self, token: int, logprob: float) -> TokenText:
        text = self.decode([token])
        if text and "\N{REPLACEMENT CHARACTER}" not in text:
            return TokenText(text, text.encode(), logprob)
        data = self.bytes_of(token)
        return TokenText(text if data is None else data.decode("utf-8", "replace"), data, logprob)

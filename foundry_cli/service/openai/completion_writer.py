"""Answers of the older completions interface, whole or in chunks; one request may have several prompts and answers."""

from __future__ import annotations

import time
from codecs import getincrementaldecoder
from collections.abc import Sequence
from typing import Any

from foundry_cli.api.sse import DONE, encode_event
from foundry_cli.engine.request import EngineEvent, Finish, Progress, TextChunk, TokenText, ToolCallChunk, Usage
from foundry_cli.errors import FoundryError
from foundry_cli.service.answer import Answer
from foundry_cli.service.errors import body_of
from foundry_cli.service.fingerprint import system_fingerprint
from foundry_cli.service.openai.writer import FINISH_REASONS, timing_fields, usage_fields
from foundry_cli.types import ModelInfo

new_decoder = getincrementaldecoder("utf-8")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TokenTable:
    """`logprobs` of one answer: parallel lists, with the place of each token in the text of the answer."""

    def __init__(self) -> None:
        self._decoder = new_decoder("replace")
        self._offset = 0  # whole characters of the tokens so far
        self._end = 0  # of the text so far

    def fields(self, chunks: Sequence[TextChunk]) -> dict[str, Any]:
        """The lists for the tokens of the next `chunks` of the answer."""
        told = [token for chunk in chunks for token in chunk.logprobs]
        return {
            "tokens": [_name(token) for token in told],
            "token_logprobs": [token.logprob for token in told],
            "top_logprobs": [_top(token) for token in told],
            "text_offset": [offset for chunk in chunks for offset in self._offsets(chunk)],
        }

    def _offsets(self, chunk: TextChunk) -> list[int]:
        """Where the characters begin that the tokens of `chunk` are of."""
        begin, self._end = self._end, self._end + len(chunk.text)
        if _REPLACEMENT not in chunk.text:
            return [self._advance(token) for token in chunk.logprobs]
        # How many characters stand for bytes that are none, only the text says: what is behind them is counted from its end.
        self._decoder.reset()
        self._offset = self._end
        rest = [b"".join(token.data or b"" for token in chunk.logprobs[place:]) for place in range(len(chunk.logprobs))]
        return [max(begin, self._end - len(new_decoder("replace").decode(data))) for data in rest]

    def _advance(self, token: TokenText) -> int:
        offset = self._offset
        self._offset += len(self._decoder.decode(token.data or b""))
        return offset


def _name(token: TokenText) -> str:
    """The text of a token; the bytes of one that is not whole characters, lest different tokens have the same name."""
    if token.data is None or _REPLACEMENT not in token.text:
        return token.text
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.data)


def _top(token: TokenText) -> dict[str, float]:
    """The most probable tokens, the one that was chosen always among them."""
    told: dict[str, float] = {}
    for other in (*token.top, token):
        told.setdefault(_name(other), other.logprob)
    return told


class CompletionWriter:
    """The answers to one request: `count` for each prompt, which begin with the text of `echoes` if there is any."""

    def __init__(
        self, identity: str, model: ModelInfo, echoes: Sequence[str], count: int = 1, *, has_logprobs: bool = False
    ) -> None:
        self._identity = f"cmpl-{identity}"
        self._model = model.id
        self._fingerprint = system_fingerprint(model)
        self._created = int(time.time())
        self._count = count
        self._has_logprobs = has_logprobs
        self.echoes = [echo for echo in echoes for _ in range(count)]
        self._tables = [TokenTable() for _ in self.echoes]

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """All of the answers, which have ended."""
        finishes = [answer.finish for answer in answers if answer.finish is not None]
        choices = [
            self.choice(
                index,
                echo + answer.reasoning + answer.text,
                FINISH_REASONS[finish.reason],
                self.logprobs(index, answer.chunks),
            )
            for index, (echo, answer, finish) in enumerate(zip(self.echoes, answers, finishes, strict=True))
        ]
        return {**self.envelope(choices), **self.counts(finishes)}

    def envelope(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """An answer or a chunk with `choices`."""
        return {
            "id": self._identity,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._fingerprint,
            "choices": choices,
        }

    def choice(
        self, index: int, text: str, finish_reason: str | None = None, logprobs: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One of the answers, or a part of it."""
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}

    def logprobs(self, index: int, chunks: Sequence[TextChunk]) -> dict[str, Any] | None:
        """`logprobs` for the next chunks of answer `index`, if they are wanted."""
        return self._tables[index].fields(chunks) if self._has_logprobs else None

    def counts(self, finishes: Sequence[Finish]) -> dict[str, Any]:
        """`usage` and what is beside it. Each prompt counts once."""
        usages = [finish.usage for finish in finishes]
        prompts = usages[:: self._count]
        total = Usage(
            sum(usage.prompt_tokens for usage in prompts),
            sum(usage.completion_tokens for usage in usages),
            sum(usage.cached_tokens for usage in prompts),
            sum(usage.reasoning_tokens for usage in usages),
            sum(usage.draft_tokens for usage in usages),
            sum(usage.accepted_tokens for usage in usages),
        )
        timings = timing_fields([finish.timing for finish in finishes])
        return {"usage": usage_fields([total]), "timings": timings, "engine": finishes[0].engine}


class CompletionStream:
    """The events of all answers, as they come, as server-sent events."""

    def __init__(self, writer: CompletionWriter, *, include_usage: bool) -> None:
        self._writer = writer
        self._include_usage = include_usage
        self._has_begun = [False] * len(writer.echoes)
        self._finishes: list[Finish | None] = [None] * len(writer.echoes)

    def add(self, index: int, event: EngineEvent) -> bytes:
        """The next event of answer `index`; its prompt comes with the first one."""
        echo = "" if self._has_begun[index] else self._writer.echoes[index]
        self._has_begun[index] = True
        data = self._event(self._writer.choice(index, echo)) if echo else b""
        if isinstance(event, Finish):
            self._finishes[index] = event
            return data + self._event(self._writer.choice(index, "", FINISH_REASONS[event.reason])) + self._end()
        assert not isinstance(event, (ToolCallChunk, Progress)), "the request asks for neither"
        logprobs = self._writer.logprobs(index, [event] if isinstance(event, TextChunk) else [])
        return data + self._event(self._writer.choice(index, event.text, None, logprobs))

    def fail(self, error: FoundryError) -> bytes:
        """The end of a stream that broke off."""
        return encode_event(body_of(error))

    def _event(self, choice: dict[str, Any]) -> bytes:
        return encode_event(self._writer.envelope([choice]))

    def _end(self) -> bytes:
        finishes = [finish for finish in self._finishes if finish is not None]
        if len(finishes) < len(self._finishes):
            return b""
        usage = {**self._writer.envelope([]), **self._writer.counts(finishes)}
        return (encode_event(usage) if self._include_usage else b"") + DONE

"""How fast a model is through the service: prefill and decode at several depths, several clients, the second turn.

Every figure is what a client sees, HTTP and queue included. Prompts are random words, so that nothing of an earlier run is
in a cache; the service says how many tokens they are, and how many it had already.
"""

from __future__ import annotations

import random
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection

from foundry_cli.client.client import AnswerEnd, ServiceClient, TextDelta
from foundry_cli.errors import ContextLengthError, FoundryError

_REQUEST = "\n\nCount from 1 to 1000, one number on each line. Begin at once, and do not stop early."
_TEXT = (
    "river stone garden window yellow quiet morning paper bridge market winter silver kitchen letter forest island orange "
    "simple picture travel doctor animal machine color number summer valley corner engine basket candle circle ladder "
    "mirror needle pocket rabbit saddle temple violin wallet anchor button cotton dragon feather guitar hammer jacket"
)
_WORDS = _TEXT.split()
_FEW, _MANY = 20, 60  # words of the two questions that tell how many tokens a word has
_SPARE = 64  # tokens that an estimate may be wrong by
_MOST_ANSWERS = 4  # to the same question, until enough was written

Say = Callable[[str], None]
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Plan:
    """What is measured; sizes in tokens."""

    depths: tuple[int, ...]
    prompt: int  # prefilled at every depth
    answer: int  # decoded at every depth, and for every client
    clients: tuple[int, ...]
    chat: int  # the first turn
    requests: int = 2  # of each client

    def needed(self, depth: int) -> int:
        """The context for a depth."""
        return depth + self.prompt + self.answer + _SPARE


FULL = Plan(depths=(0, 512, 2048), prompt=256, answer=64, clients=(1, 2, 4, 8), chat=1000)
QUICK = Plan(depths=(0, 512), prompt=128, answer=16, clients=(1, 4), chat=500)


@dataclass(frozen=True)
class Speed:
    """Tokens per second with `depth` tokens there already; None: the answers were too short to tell."""

    depth: int
    prompt_tokens: int
    cached_tokens: int
    prefill: float
    decode: float | None


@dataclass(frozen=True)
class Load:
    """What several clients got together, and the median time to the first token of an answer."""

    clients: int
    rate: float
    first_ms: float


@dataclass(frozen=True)
class SecondTurn:
    """Time to the first token of two turns of a chat; the counts are of the second."""

    prompt_tokens: int
    cached_tokens: int
    first_turn_ms: float
    second_turn_ms: float


@dataclass
class Report:
    """The figures. `skipped` says what could not be measured, and why."""

    speeds: list[Speed] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    second_turn: SecondTurn | None = None
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Answer:
    first: float  # seconds
    total: float
    text: str
    end: AnswerEnd


class _AbortableClient(ServiceClient):
    """A client whose answers can be broken off from another thread."""

    def __init__(self, client: ServiceClient) -> None:
        super().__init__(client.record)
        self._connections: set[HTTPConnection] = set()
        self._aborted = False

    def _connect(self, connection: HTTPConnection) -> None:
        super()._connect(connection)
        self._connections.add(connection)
        if self._aborted:  # after the line above: `abort` either finds this connection or is seen here
            raise ConnectionAbortedError("The other clients have ended")

    def abort(self) -> None:
        """End every answer, now and later; their readers see a broken connection."""
        self._aborted = True
        for connection in tuple(self._connections):
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)


class Benchmark:
    """Measures one model, which must be loaded. `context`: the tokens that fit, when they are known."""

    def __init__(self, client: ServiceClient, model_id: str, plan: Plan, context: int | None) -> None:
        self._client = client
        self._model_id = model_id
        self._plan = plan
        self._context = context
        self._random = random.Random()
        self._tokens_per_word = 1.0
        self._fixed_tokens = 0.0

    def run(self, say: Say) -> Report:
        """Do everything; `say` is called with the name of each step. Raises what the service reports."""
        say("Warming up")
        self._learn_sizes()
        report = Report()
        for depth in self._plan.depths:
            self._measure_speed(depth, report, say)
        for clients in self._plan.clients:
            say("1 client" if clients == 1 else f"{clients} clients")
            report.loads.append(self._load(clients))
        say("Second turn of a chat")
        report.second_turn = self._second_turn()
        return report

    def _measure_speed(self, depth: int, report: Report, say: Say) -> None:
        """A depth that does not fit into the context is left out."""
        needed = self._plan.needed(depth)
        try:
            if self._context is not None and needed > self._context:
                raise ContextLengthError(f"{needed} tokens are needed, and the model takes {self._context}.")
            say(f"Prefill and decode at depth {depth}")
            report.speeds.append(self._speed(depth))
        except ContextLengthError as error:
            report.skipped.append(f"depth {depth}: {error.message}")

    def _learn_sizes(self) -> None:
        few, many = [self._ask([_question(self._text(words))], 1).end.prompt_tokens for words in (_FEW, _MANY)]
        self._tokens_per_word = max(many - few, 1) / (_MANY - _FEW)
        self._fixed_tokens = max(few - _FEW * self._tokens_per_word, 0)

    def _text(self, words: int) -> str:
        return " ".join(self._random.choice(_WORDS) for _ in range(max(words, 1)))

    def _filler(self, tokens: int) -> str:
        return self._text(round(tokens / self._tokens_per_word))

    def _ask(self, messages: Messages, tokens: int, client: ServiceClient | None = None) -> _Answer:
        began = time.monotonic()
        first: float | None = None
        pieces: list[str] = []
        for event in (client or self._client).chat(self._model_id, messages, max_tokens=tokens, temperature=0):
            if isinstance(event, AnswerEnd):
                total = time.monotonic() - began
                return _Answer(first or total, total, "".join(pieces), event)
            first = first or time.monotonic() - began  # of the thoughts, too: their tokens count as others do
            if isinstance(event, TextDelta):
                pieces.append(event.text)
        raise AssertionError("an answer without an end")

    def _speed(self, depth: int) -> Speed:
        """Decode is at the depth itself; then more is added to the same text, and only that is prefilled."""
        begin = self._filler(depth - round(self._fixed_tokens)) + " " if depth else ""
        decode = self._decode_rate(begin)
        answer = self._ask([_question(begin + self._filler(self._plan.prompt))], 1)
        counts = answer.end.prompt_tokens, answer.end.cached_tokens
        return Speed(depth, *counts, (counts[0] - counts[1]) / answer.first, decode)

    def _decode_rate(self, text: str) -> float | None:
        """Models stop when they like, so a question is asked until enough is written."""
        tokens, seconds = 0, 0.0
        for _ in range(_MOST_ANSWERS):
            answer = self._ask([_question(text + self._text(3))], self._plan.answer)
            tokens += max(answer.end.completion_tokens - 1, 0)
            seconds += answer.total - answer.first
            if tokens >= self._plan.answer - 1:
                break
        return tokens / seconds if tokens and seconds > 0 else None

    def _load(self, clients: int) -> Load:
        client = _AbortableClient(self._client)
        answers: list[_Answer] = []
        errors: list[FoundryError] = []

        def work() -> None:
            try:
                for _ in range(self._plan.requests):
                    answers.append(self._ask([_question(self._text(_FEW))], self._plan.answer, client))
            except FoundryError as error:
                errors.append(error)
                client.abort()

        threads = [threading.Thread(target=work, name=f"client-{number}", daemon=True) for number in range(clients)]
        began = time.monotonic()
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:  # Ctrl-C
            client.abort()
        seconds = time.monotonic() - began
        if errors:
            raise errors[0]
        written = sum(answer.end.completion_tokens for answer in answers)
        return Load(clients, written / seconds, 1000 * statistics.median(answer.first for answer in answers))

    def _second_turn(self) -> SecondTurn:
        size = self._plan.chat
        if self._context is not None:  # two answers and a question are to come
            size = min(size, self._context - 2 * self._plan.answer - 2 * _SPARE)
        messages = [_question(self._filler(size - round(self._fixed_tokens)))]
        one = self._ask(messages, self._plan.answer)
        messages += [{"role": "assistant", "content": one.text}, {"role": "user", "content": self._text(8)}]
        two = self._ask(messages, self._plan.answer)
        return SecondTurn(two.end.prompt_tokens, two.end.cached_tokens, 1000 * one.first, 1000 * two.first)


def _question(text: str) -> dict[str, str]:
    return {"role": "user", "content": text + _REQUEST}

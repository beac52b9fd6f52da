"""What goes into the engine and what comes out, in its own terms; wire formats are translated at the door."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "cancelled", "error"]
GrammarKind = Literal["json_object", "json_schema", "regex", "lark"]
Priority = Literal["interactive", "background"]


@dataclass(frozen=True)
class SamplingParameters:
    """How the next token is chosen. None means: what the model's own configuration says."""

    temperature: float | None = None  # 0: always the most probable token
    top_p: float | None = None  # 0 to 1
    top_k: int | None = None  # 0: no limit
    seed: int | None = None  # None: different every time
    presence_penalty: float = 0.0  # -2 to 2
    frequency_penalty: float = 0.0  # -2 to 2
    repetition_penalty: float | None = None  # above 0; 1: none
    min_p: float = 0.0  # 0 to 1: share of the largest probability that a token needs
    logit_bias: tuple[tuple[int, float], ...] = ()  # token and what is added to its logit, -100 to 100


@dataclass(frozen=True)
class Grammar:
    """What the text of an answer must be like: a JSON schema, a regular expression or a grammar as llguidance reads it."""

    kind: GrammarKind
    text: str = ""  # nothing for `json_object`


@dataclass(frozen=True)
class GenerationRequest:
    """One chat completion: messages of `role` and `content`, and how to answer them.

    With `max_tokens` 0 nothing is answered: what any next question behind the messages begins with is read into memory,
    when there is nothing else to do, and given up when there is. The end is then `length`, or `cancelled`.
    """

    messages: tuple[dict[str, Any], ...]
    max_tokens: int | None = None  # None: until the model stops or its context is full
    stop: tuple[str, ...] = ()
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    logprobs: int | None = None  # how many alternatives are told with every token, 0 to 20; None: no log-probabilities
    grammar: Grammar | None = None
    priority: Priority = "interactive"  # background: only when nobody waits for an answer

    def to_frame(self) -> dict[str, Any]:
        """As plain JSON values, for the pipe to the worker."""
        return asdict(self)

    @classmethod
    def from_frame(cls, frame: dict[str, Any]) -> GenerationRequest:
        """The inverse of `to_frame`."""
        return cls(
            messages=tuple(frame["messages"]),
            max_tokens=frame["max_tokens"],
            stop=tuple(frame["stop"]),
            sampling=_sampling(frame["sampling"]),
            logprobs=frame["logprobs"],
            grammar=None if frame["grammar"] is None else Grammar(**frame["grammar"]),
            priority=frame["priority"],
        )


def _sampling(fields: dict[str, Any]) -> SamplingParameters:
    bias = tuple((int(token), float(bias)) for token, bias in fields["logit_bias"])  # JSON has lists only
    return SamplingParameters(**{**fields, "logit_bias": bias})


@dataclass(frozen=True)
class Usage:
    """Token counts. `cached_tokens` of the prompt were still in memory and not computed again."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True)
class Timing:
    """Seconds on the worker's clock: waiting for a turn, reading the prompt, writing the answer."""

    queue: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True)
class TokenText:
    """A token as text with the natural logarithm of its probability, and those that were most probable in its place."""

    text: str  # U+FFFD where its bytes are no whole characters
    data: bytes | None  # None: it stands for no text, as the end of an answer does
    logprob: float
    top: tuple[TokenText, ...] = ()  # best first, without their own `top`


@dataclass(frozen=True)
class TextChunk:
    """Text that was generated since the last chunk; whole characters only."""

    text: str
    tokens: int = 1  # how many tokens it stands for
    logprobs: tuple[TokenText, ...] = ()  # of these tokens, if they are wanted


@dataclass(frozen=True)
class Finish:
    """The end of an answer; exactly one per request that did not fail."""

    reason: FinishReason
    usage: Usage
    timing: Timing
    engine: str = ""  # that wrote it, `Runtime.name`; the service knows it, not the worker's message


EngineEvent = TextChunk | Finish

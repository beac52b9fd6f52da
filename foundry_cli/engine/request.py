"""What goes into the engine and what comes out, in its own terms; wire formats are translated at the door."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "cancelled", "error"]


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


@dataclass(frozen=True)
class GenerationRequest:
    """One chat completion: messages of `role` and `content`, and how to answer them."""

    messages: tuple[dict[str, Any], ...]
    max_tokens: int | None = None  # None: until the model stops or its context is full
    stop: tuple[str, ...] = ()
    sampling: SamplingParameters = field(default_factory=SamplingParameters)

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
            sampling=SamplingParameters(**frame["sampling"]),
        )


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
class TextChunk:
    """Text that was generated since the last chunk; whole characters only."""

    text: str
    tokens: int = 1  # how many tokens it stands for


@dataclass(frozen=True)
class Finish:
    """The end of an answer; exactly one per request that did not fail."""

    reason: FinishReason
    usage: Usage
    timing: Timing


EngineEvent = TextChunk | Finish

"""What goes into the engine and what comes out, in its own terms; wire formats are translated at the door."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
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
    strict: bool = False  # a schema that cannot be enforced whole is refused, not loosened


@dataclass(frozen=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None  # JSON schema of the arguments; None: any object
    strict: bool = False  # a schema that cannot be enforced whole is refused, not loosened


@dataclass(frozen=True)
class ToolUse:
    """The functions of a request, at least one, and whether one of them must be called."""

    tools: tuple[Tool, ...]
    is_required: bool = False  # at least one call and nothing else
    named: str | None = None  # the one that must be called
    is_parallel: bool = True  # more than one call in an answer


@dataclass(frozen=True)
class GenerationRequest:
    """One answer: what it is an answer to, and how it is to be written.

    `messages` have `role` (system, user, assistant or tool) and a text as `content`; what the model said may have
    `tool_calls`, a list of {"id", "type": "function", "function": {"name", "arguments": an object}}, and `reasoning_content`,
    the result of a call `tool_call_id` and, if it is known, `name`. With `prompt` there are no messages: the text, or the
    tokens, are continued as they are, without a template.

    With `max_tokens` 0 nothing is answered: what any next question behind the messages begins with is read into memory,
    when there is nothing else to do, and given up when there is. The end is then `length`, or `cancelled`.
    """

    messages: tuple[dict[str, Any], ...] = ()
    max_tokens: int | None = None  # None: until the model stops or its context is full
    stop: tuple[str, ...] = ()
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    logprobs: int | None = None  # how many alternatives are told with every token, 0 to 20; None: no log-probabilities
    grammar: Grammar | None = None  # of the answer; what the model thinks before it, and calls of tools, are not meant
    tools: ToolUse | None = None  # None: there are none, and nothing in the answer is a call
    prompt: str | tuple[int, ...] | None = None
    caps_answer: bool = False  # a `max_tokens` that is more than the context has left is no error: the answer ends there
    reasoning_effort: str | None = None  # none, minimal, low, medium, high or xhigh; None: as the model is used to
    usual_effort: str = "medium"  # what asks for nothing, and is never refused: the interface's own default
    template_names: dict[str, Any] = field(default_factory=dict)  # further names for the chat template; JSON values
    priority: Priority = "interactive"  # background: only when nobody waits for an answer
    tells_progress: bool = False  # whether `Progress` comes before the answer

    @property
    def source(self) -> str:
        """Name of the field that holds what is answered."""
        return "messages" if self.prompt is None else "prompt"

    def to_frame(self) -> dict[str, Any]:
        """As plain JSON values, for the pipe to the worker."""
        return asdict(self)

    @classmethod
    def from_frame(cls, frame: dict[str, Any]) -> GenerationRequest:
        """The inverse of `to_frame`."""
        prompt = frame["prompt"]
        return cls(
            messages=tuple(frame["messages"]),
            prompt=tuple(prompt) if isinstance(prompt, list) else prompt,
            max_tokens=frame["max_tokens"],
            stop=tuple(frame["stop"]),
            sampling=_sampling(frame["sampling"]),
            logprobs=frame["logprobs"],
            grammar=None if frame["grammar"] is None else Grammar(**frame["grammar"]),
            tools=None if frame["tools"] is None else _tool_use(frame["tools"]),
            caps_answer=frame["caps_answer"],
            reasoning_effort=frame["reasoning_effort"],
            usual_effort=frame["usual_effort"],
            template_names=frame["template_names"],
            priority=frame["priority"],
            tells_progress=frame["tells_progress"],
        )


def _sampling(fields: dict[str, Any]) -> SamplingParameters:
    bias = tuple((int(token), float(bias)) for token, bias in fields["logit_bias"])  # JSON has lists only
    return SamplingParameters(**{**fields, "logit_bias": bias})


def _tool_use(fields: dict[str, Any]) -> ToolUse:
    return ToolUse(**{**fields, "tools": tuple(Tool(**tool) for tool in fields["tools"])})


@dataclass(frozen=True)
class Usage:
    """Token counts. `cached_tokens` of the prompt were still in memory; `reasoning_tokens` of the answer were thoughts.

    `draft_tokens` were computed ahead on the chance that they would be chosen, as `accepted_tokens` of them were.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0


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
    data: bytes | None  # None: it stands for no text, as the end of an answer does, or its bytes are not known
    logprob: float
    top: tuple[TokenText, ...] = ()  # best first, without their own `top`


@dataclass(frozen=True)
class TextChunk:
    """Text that was generated since the last chunk; whole characters only."""

    text: str
    tokens: int = 1  # how many tokens it stands for
    logprobs: tuple[TokenText, ...] = ()  # of these tokens, if they are wanted


@dataclass(frozen=True)
class ReasoningChunk:
    """What the model thinks before it answers, since the last chunk; whole characters only, without its markers."""

    text: str
    tokens: int = 1


@dataclass(frozen=True)
class ToolCallChunk:
    """A part of a call: its beginning, with `id` and `name`, or more of its arguments.

    The `arguments` of all chunks with the same `index`, one after the other, are the text of a JSON object, unless the
    answer ended by `length` before it was complete.
    """

    index: int  # of the call in this answer, from 0
    identity: str = ""  # only in the first chunk of a call, as `name`
    name: str = ""
    arguments: str = ""
    tokens: int = 1


@dataclass(frozen=True)
class Progress:
    """How far it is to the first token: requests of the same model that come before, then tokens of the prompt."""

    waiting: int
    read_tokens: int
    prompt_tokens: int


@dataclass(frozen=True)
class Finish:
    """The end of an answer; exactly one per request that did not fail."""

    reason: FinishReason
    usage: Usage
    timing: Timing
    stop_sequence: str | None = None  # the one that ended it, for the reason `stop`
    engine: str = ""  # that wrote it, `Runtime.name`; the service knows it, not the worker's message


EngineEvent = Progress | TextChunk | ReasoningChunk | ToolCallChunk | Finish

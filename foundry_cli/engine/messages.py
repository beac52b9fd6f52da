"""Events and errors as frames and back: what both ends of the pipe must agree on. The list is in `frames.py`."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from foundry_cli.engine.frames import Frame
from foundry_cli.engine.request import (
    EngineEvent,
    Finish,
    Progress,
    ReasoningChunk,
    TextChunk,
    Timing,
    TokenText,
    ToolCallChunk,
    Usage,
)
from foundry_cli.errors import EngineError, FoundryError, error_for_code


@dataclass(frozen=True)
class Converted:
    """The reply to `tokenize`, the tokens, or to `detokenize`, the text."""

    value: list[int] | str


GAVE_UP = 75
"""Exit code of a worker that ends on purpose, in the middle of work that nothing else can stop (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True)
class EmbeddingVectors:
    """A part of the reply to `embed`: vectors of equal size, float32 in little-endian, of the entries at `places`."""

    places: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Embedded:
    """Its end: the tokens of all entries."""

    tokens: int


Item = EngineEvent | Converted | EmbeddingVectors | Embedded | FoundryError


def event_frame(identity: int, event: EngineEvent) -> Frame:
    """An event of the answer `identity`."""
    if isinstance(event, TextChunk):
        frame = {"op": "text", "id": identity, "text": event.text, "tokens": event.tokens}
        return {**frame, "logprobs": [_token_fields(token) for token in event.logprobs]} if event.logprobs else frame
    if isinstance(event, Progress):
        return {"op": "progress", "id": identity, "progress": vars(event)}
    if isinstance(event, ReasoningChunk):
        return {"op": "reasoning", "id": identity, **vars(event)}
    if isinstance(event, ToolCallChunk):
        return {"op": "call", "id": identity, "call": vars(event)}
    usage, timing = vars(event.usage), vars(event.timing)
    frame = {"op": "finish", "id": identity, "reason": event.reason, "usage": usage, "timing": timing}
    return frame if event.stop_sequence is None else {**frame, "stop_sequence": event.stop_sequence}


def error_fields(error: Exception) -> Frame:
    """The fields of an error; one that is not ours is a defect, and only its kind is told."""
    if not isinstance(error, FoundryError):
        error = EngineError(f"The engine failed: {type(error).__name__}.")
    return {"code": error.code, "message": error.message, "hint": error.hint, "param": error.param}


def read_item(frame: Frame) -> Item:
    """The inverse of both, for one answer."""
    if frame["op"] == "tokens":
        return Converted([int(token) for token in frame["tokens"]])
    if frame["op"] == "decoded":
        return Converted(str(frame["text"]))
    if frame["op"] == "embeddings":
        return EmbeddingVectors(tuple(frame["places"]), base64.b64decode(frame["vectors"], validate=True))
    if frame["op"] == "embedded":
        return Embedded(int(frame["tokens"]))
    if frame["op"] == "text":
        return TextChunk(frame["text"], frame["tokens"], tuple(_token_text(fields) for fields in frame.get("logprobs", ())))
    if frame["op"] == "progress":
        return Progress(**frame["progress"])
    if frame["op"] == "reasoning":
        return ReasoningChunk(frame["text"], frame["tokens"])
    if frame["op"] == "call":
        return ToolCallChunk(**frame["call"])
    if frame["op"] == "finish":
        return Finish(frame["reason"], Usage(**frame["usage"]), Timing(**frame["timing"]), frame.get("stop_sequence"))
    return read_error(frame)


def read_error(frame: Frame) -> FoundryError:
    """The exception a frame of the kinds `error` and `failed` stands for."""
    return error_for_code(frame.get("code"))(str(frame["message"]), hint=frame.get("hint"), param=frame.get("param"))


def _token_fields(token: TokenText) -> list[Any]:
    data = None if token.data is None else list(token.data)
    return [token.text, data, token.logprob, [_token_fields(other) for other in token.top]]


def _token_text(fields: list[Any]) -> TokenText:
    text, data, logprob, top = fields
    return TokenText(text, None if data is None else bytes(data), logprob, tuple(_token_text(other) for other in top))

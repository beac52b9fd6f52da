"""Requests and events with all they can hold, as frames and back."""

from __future__ import annotations

import pytest

from foundry_cli.engine.frames import FrameReader, encode_frame
from foundry_cli.engine.messages import event_frame, read_item
from foundry_cli.engine.request import (
    EngineEvent,
    GenerationRequest,
    Grammar,
    SamplingParameters,
    TextChunk,
    TokenText,
)

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "request_",
    [
        GenerationRequest((USER,)),
        GenerationRequest(
            (USER, {"role": "assistant", "content": "\ud800"}),
            max_tokens=5,
            stop=("a", "b"),
            sampling=SamplingParameters(1.0, 0.9, 3, -7, 0.5, -0.5, 1.1, 0.05, ((5, -100.0), (50_256, 0.5))),
            logprobs=20,
            grammar=Grammar("json_schema", '{"type": "object"}'),
            priority="background",
        ),
        GenerationRequest((USER,), logprobs=0, grammar=Grammar("json_object")),
    ],
)
def test_a_request(request_: GenerationRequest) -> None:
    (frame,) = FrameReader().feed(encode_frame({"op": "generate", "request": request_.to_frame()}))
    assert GenerationRequest.from_frame(frame["request"]) == request_


OTHER = TokenText("other", b"other", -2.25)


@pytest.mark.parametrize(
    "event",
    [
        TextChunk("text"),
        TextChunk("text", 3),
        TextChunk(
            "\N{GRINNING FACE}",
            2,
            (
                TokenText("\N{REPLACEMENT CHARACTER}", b"\xf0\x9f", -0.5, (OTHER, TokenText("<|end|>", None, -9999.0))),
                TokenText("\N{REPLACEMENT CHARACTER}", b"\x98\x80", 0.0),
            ),
        ),
    ],
)
def test_an_event(event: EngineEvent) -> None:
    (frame,) = FrameReader().feed(encode_frame(event_frame(7, event)))
    assert frame["id"] == 7
    assert read_item(frame) == event

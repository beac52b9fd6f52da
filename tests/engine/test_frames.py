"""Frames cut anywhere, frames that are none, and messages there and back."""

from __future__ import annotations

import json
import struct

import pytest

from foundry_cli.engine.frames import LARGEST_FRAME, Frame, FrameError, FrameReader, encode_frame
from foundry_cli.engine.messages import error_fields, event_frame, read_error, read_item
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, SamplingParameters, TextChunk, Timing, Usage
from foundry_cli.errors import ContextLengthError, EngineDiedError, EngineError, FoundryError

FRAMES: list[Frame] = [
    {"op": "text", "id": 1, "text": "é😀\0\n"},
    {"op": "x"},
    {"op": "text", "text": "half of a pair: \ud83d"},
    {"op": "long", "text": "a" * 1000},
]
STREAM = b"".join(map(encode_frame, FRAMES))


def test_cut_into_two_anywhere() -> None:
    for cut in range(len(STREAM) + 1):
        reader = FrameReader()
        assert [*reader.feed(STREAM[:cut]), *reader.feed(STREAM[cut:])] == FRAMES


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_cut_into_many(size: int) -> None:
    reader = FrameReader()
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == FRAMES


@pytest.mark.parametrize(
    "payload",
    [b"", b"x", b"{", b"[]", b"1", b"null", b'{"a": 1}', b'{"op": 1}', b"\xff\xfe", b"[" * 100_000, b"9" * 5000],
)  # fmt: skip
def test_what_is_no_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader().feed(struct.pack(">I", len(payload)) + payload))


def test_a_frame_that_would_be_too_large_is_refused_before_it_arrives() -> None:
    with pytest.raises(FrameError, match="larger"):
        list(FrameReader().feed(struct.pack(">I", LARGEST_FRAME + 1)))


def test_text_on_the_pipe_is_no_frame() -> None:
    with pytest.raises(FrameError):
        list(FrameReader().feed(b"Warning: something was printed\n"))


@pytest.mark.parametrize(
    "event",
    [TextChunk("é\ud83d", 3), Finish("length", Usage(5, 4, 3), Timing(0.5, 1.5, 2.5)), Finish("cancelled", Usage(), Timing())],
)
def test_events_there_and_back(event: EngineEvent) -> None:
    frame = json.loads(json.dumps(event_frame(7, event)))
    assert frame["id"] == 7
    assert read_item(frame) == event


@pytest.mark.parametrize(
    "error",
    [ContextLengthError("too long", hint="shorter", param="messages"), EngineDiedError("gone"), FoundryError("other")],
)
def test_errors_there_and_back(error: FoundryError) -> None:
    back = read_error(error_fields(error))
    assert type(back) is type(error)
    assert (back.message, back.hint, back.param) == (error.message, error.hint, error.param)


def test_a_defect_does_not_quote_the_conversation() -> None:
    back = read_error(error_fields(KeyError("what the user wrote")))
    assert type(back) is EngineError
    assert back.message == "The engine failed: KeyError."


def test_requests_there_and_back() -> None:
    request = GenerationRequest(
        ({"role": "user", "content": "é"},), 5, ("a", "b"), SamplingParameters(0.5, 0.9, 3, 2**64 - 1, 1.0, -1.0, 1.1)
    )
    assert GenerationRequest.from_frame(json.loads(json.dumps(request.to_frame()))) == request

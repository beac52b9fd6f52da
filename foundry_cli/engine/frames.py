"""Messages between service and worker: a four-byte length (big-endian) and a JSON object in UTF-8.

Service to worker: `{"op": "generate", "id": n, "request": {…}}`, `{"op": "cancel", "id": n}`, `{"op": "tokenize", "id": n,
"request": {…}}`, which is answered by `{"op": "tokens", "id", "tokens"}`, and `{"op": "detokenize", "id": n, "tokens": […]}`,
answered by `{"op": "decoded", "id", "text"}`. A worker for embeddings takes `{"op": "embed", "id": n, "input": […],
"dimensions": n or null}`, the entries being texts or lists of tokens; the answer is any number of `{"op": "embeddings", "id",
"places": […], "vectors"}`, vectors of float32 (little-endian, in base64) one after the other for the entries at these places,
and then `{"op": "embedded", "id", "tokens": n}`, or an error.
Worker to service: `{"op": "ready", …}` or `{"op": "failed", "code", "message", "hint"}` once; then for each request
`{"op": "text", "id", "text", "tokens"}`, `{"op": "reasoning", "id", "text", "tokens"}` and `{"op": "call", "id", "call":
{"index", "identity", "name", "arguments", "tokens"}}` any number of times (before them, for who wants it, `{"op":
"progress", "id", "progress": {"waiting", "read_tokens", "prompt_tokens"}}`) and one of `{"op": "finish", "id", "reason",
"usage", "timing"}` and `{"op": "error", "id", "code", "message", "hint", "param"}`. `{"op": "busy"}` says nothing but that the
worker is at work. `{"op": "log", "level", "text"}` is a warning for the log of the service, `{"op": "kept"}` says that a
conversation was written to disk.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

_HEADER = struct.Struct(">I")
LARGEST_FRAME = 64 * 1024 * 1024  # bytes; a request body is limited to a quarter of it

Frame = dict[str, Any]


class FrameError(ValueError):
    """The bytes are not frames; the other side is not to be trusted any more."""


def encode_frame(frame: Frame) -> bytes:
    """One message as bytes."""
    # ASCII output: lone surrogates, which JSON allows in strings, pass through unharmed.
    payload = json.dumps(frame, separators=(",", ":")).encode("ascii")
    return _HEADER.pack(len(payload)) + payload


class FrameReader:
    """Cuts a stream of bytes into frames, however the bytes arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes and yield the frames that are complete now. Raises `FrameError`."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer, start)
            if length > LARGEST_FRAME:
                raise FrameError(f"a frame of {length} bytes is larger than {LARGEST_FRAME}")
            end = start + _HEADER.size + length
            if len(self._buffer) < end:
                break
            yield _decode(bytes(self._buffer[start + _HEADER.size : end]))
            start = end
        del self._buffer[:start]


def _decode(payload: bytes) -> Frame:
    try:
        frame = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame is not JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("op"), str):
        raise FrameError("a frame is not an object with an 'op'")
    return frame

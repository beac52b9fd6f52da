"""Server-sent events, as much of them as chat completions use.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

DONE = b"data: [DONE]\n\n"
"""The last event of an OpenAI stream."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_LINE_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def encode_value(value: Any) -> bytes:
    """`value` as JSON on one line, also for clients that know more line breaks than the format does."""
    text = _ENCODER.encode(value)
    if text.isascii():
        return text.encode()
    return text.translate(_LINE_BREAKS).encode("utf-8", "replace")


def encode_event(data: dict[str, Any]) -> bytes:
    """One event with `data` as JSON on one line."""
    return b"data: " + encode_value(data) + b"\n\n"


def decode_events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON events of a stream of lines, up to `[DONE]`. Raises `ValueError` for data that is not a JSON object."""
    for line in lines:
        if not line.startswith(b"data:"):  # comments, names and the empty lines between events
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        event = json.loads(data)
        if not isinstance(event, dict):
            raise ValueError("an event is not a JSON object")
        yield event

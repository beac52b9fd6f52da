"""Server-sent events, as much of them as chat completions use.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

DONE = b"data: [DONE]\n\n"
"""The last event of an OpenAI stream."""


def encode_event(data: dict[str, Any]) -> bytes:
    """One event with `data` as JSON on one line."""
    return b"data: " + json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


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

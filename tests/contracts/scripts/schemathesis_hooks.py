"""Loaded by schemathesis: three requests of four get what the description cannot demand, else all end at the door.

That is the name of a model that is there, a message with a text, and no identifiers that nobody has given out.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import schemathesis

_MODEL = "echo"
_QUESTION = {"role": "user", "content": "Hi"}


@schemathesis.hook
def before_call(_context: Any, case: schemathesis.Case, **_: Any) -> None:
    """Change the body of a request; the same way each time."""
    if isinstance(case.body, dict) and zlib.crc32(json.dumps(case.body, sort_keys=True, default=str).encode()) % 4:
        _complete(case.body)


def _complete(body: dict[str, Any]) -> None:
    if isinstance(body.get("model"), str):
        body["model"] = _MODEL
    if isinstance(body.get("messages"), list):
        body["messages"] = [_QUESTION, *body["messages"]]
    if isinstance(body.get("input"), str):
        body["input"] += " Hi"
    if isinstance(body.get("input"), list):
        body["input"] = [_QUESTION, *body["input"]]
    if isinstance(body.get("previous_response_id"), str):
        del body["previous_response_id"]
    if isinstance(body.get("stream_options"), dict) and body.get("stream") is None:
        body["stream"] = True

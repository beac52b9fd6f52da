"""The error body of OpenAI's interface, both ways."""

from __future__ import annotations

from typing import Any

from foundry_cli.errors import FoundryError, error_for_code

NOT_FOUND = "No OpenAIService provider found for modelName"
"""Clients look for this text to say that a model has not been downloaded."""


def error_body(error: FoundryError, kind: str) -> dict[str, Any]:
    """`error` as JSON; `kind` is OpenAI's `type`. The hint is part of the message, for clients that show only that."""
    hint = _encodable(error.hint) if error.hint else None
    fields = {"message": full_message(error), "type": kind, "param": error.param, "code": error.code}
    return {"error": {**fields, "hint": hint}}


def full_message(error: FoundryError) -> str:
    """What happened, and what to do about it."""
    return _encodable(f"{error.message} {error.hint}" if error.hint else error.message)


def _encodable(text: str) -> str:
    """`text` as UTF-8 can carry it: names of files need not be Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def error_from_body(body: Any, fallback: str) -> FoundryError:
    """The exception for an error body; `fallback` is the message when `body` is something else."""
    fields = body.get("error") if isinstance(body, dict) else None
    if not isinstance(fields, dict) or not isinstance(fields.get("message"), str):
        return FoundryError(fallback)
    hint, param = (value if isinstance(value, str) else None for value in (fields.get("hint"), fields.get("param")))
    message = fields["message"].removesuffix(f" {hint}") if hint else fields["message"]
    return error_for_code(fields.get("code"))(message, hint=hint, param=param)

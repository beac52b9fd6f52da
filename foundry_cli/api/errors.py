"""The error body of OpenAI's interface, both ways."""

from __future__ import annotations

from typing import Any

from foundry_cli.errors import FoundryError, InvalidRequestError, error_for_code


def error_body(error: FoundryError, kind: str) -> dict[str, Any]:
    """`error` as JSON; `kind` is OpenAI's `type`. The hint is part of the message, for clients that show only that."""
    message = f"{error.message} {error.hint}" if error.hint else error.message
    fields = {"message": message, "type": kind, "param": error.param, "code": error.code}
    return {"error": {**fields, "hint": error.hint}}


def error_from_body(body: Any, fallback: str) -> FoundryError:
    """The exception for an error body; `fallback` is the message when `body` is something else."""
    fields = body.get("error") if isinstance(body, dict) else None
    if not isinstance(fields, dict) or not isinstance(fields.get("message"), str):
        return FoundryError(fallback)
    hint = fields.get("hint")
    hint = hint if isinstance(hint, str) else None
    message = fields["message"].removesuffix(f" {hint}") if hint else fields["message"]
    kind = error_for_code(fields.get("code"))
    if fields.get("param") and not issubclass(kind, InvalidRequestError):
        return kind(message, hint=hint, param=str(fields["param"]))
    return kind(message, hint=hint, param=fields.get("param"))

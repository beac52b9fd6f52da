"""Values out of the query of a request."""

from __future__ import annotations

from foundry_cli.errors import InvalidRequestError


def whole_number(name: str, text: str | None) -> int | None:
    """A number; None for nothing. Raises `InvalidRequestError`."""
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidRequestError(f"{name}: {text[:40]!r} is not a whole number.", param=name)
    return int(text)


def truth(name: str, text: str | None, *, default: bool = False) -> bool:
    """`true` or `false` in any case, or 1 or 0; `default` for nothing. Raises `InvalidRequestError`."""
    if text is None or text == "":
        return default
    if text.lower() not in ("true", "false", "1", "0"):
        raise InvalidRequestError(f"{name}: {text[:40]!r} is neither true nor false.", param=name)
    return text.lower() in ("true", "1")

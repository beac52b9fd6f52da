"""How large a schema or a grammar of a request may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foundry_cli.api.limits import LARGEST_SCHEMA
from foundry_cli.api.sse import encode_value
from foundry_cli.errors import InvalidRequestError


def checked_schema(schema: Mapping[str, Any], param: str) -> str:
    """`schema` as JSON. Raises `InvalidRequestError`, which names `param`, when it is too large."""
    text = encode_value(schema)
    check_grammar_size(text, param)
    return text.decode()


def check_grammar_size(text: bytes, param: str) -> None:
    """Raise `InvalidRequestError`, which names `param`, for a schema or a grammar that is too large."""
    if len(text) > LARGEST_SCHEMA:
        raise InvalidRequestError(f"{param}: it is larger than {LARGEST_SCHEMA >> 10} KiB.", param=param)

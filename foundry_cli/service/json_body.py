"""Reading a JSON request body that may be hostile."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from fastapi import Request

from foundry_cli.errors import InvalidRequestError

DEEPEST = 64  # nested arrays and objects
_LONGEST_INTEGER = 100  # digits
_INLINE_BYTES = 32 * 1024  # read on the event loop: below 5 ms

T = TypeVar("T")


async def read_json(request: Request, convert: Callable[[dict[str, Any]], T]) -> T:
    """The body as an object, converted. Raises `InvalidRequestError` for anything that is not strictly JSON."""
    body = await request.body()
    if len(body) <= _INLINE_BYTES:
        return convert(parse_object(body))
    return await asyncio.to_thread(lambda: convert(parse_object(body)))


def parse_object(body: bytes) -> dict[str, Any]:
    """An object in strict JSON and UTF-8: finite numbers, whole characters, no NUL, keys once, `DEEPEST` levels."""
    if not body:
        raise InvalidRequestError("The request body is empty.")
    try:
        document = json.loads(
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise InvalidRequestError(f"The request body is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidRequestError("The request body is not a JSON object.")
    _check_values(document)
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"a number of {len(text)} digits is out of range")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):  # which of the two counts, readers disagree about
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:40]!a} is there twice")
    return document


def _too_deep() -> InvalidRequestError:
    return InvalidRequestError(f"The request body is nested deeper than {DEEPEST} levels.")


def _check_values(document: Any) -> None:
    level: list[Any] = [document]
    for _ in range(DEEPEST + 1):
        if not level:
            return
        following: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                following += value.keys()
                following += value.values()
            elif isinstance(value, list):
                following += value
            elif isinstance(value, str):
                _check_text(value)
        level = following
    raise _too_deep()


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidRequestError("A text in the request body contains the character NUL.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"A text in the request body is not valid Unicode: {error.reason}.") from error

"""Lists that are given in pages, as OpenAI's interfaces have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foundry_cli.errors import InvalidRequestError

_DEFAULT_LIMIT = 20
_LARGEST_LIMIT = 100


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted: up to `limit` things behind the one with the id `after`."""

    limit: int = _DEFAULT_LIMIT
    is_ascending: bool = False
    after: str | None = None


def read_page(limit: str | None, order: str | None, after: str | None) -> Page:
    """What a query asks for. Raises `InvalidRequestError`."""
    if limit and not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= _LARGEST_LIMIT):
        raise InvalidRequestError(f"limit: {limit[:40]!r} is not a number from 1 to {_LARGEST_LIMIT}.", param="limit")
    if order and order not in ("asc", "desc"):
        raise InvalidRequestError(f"order: {order[:40]!r} is neither asc nor desc.", param="order")
    return Page(int(limit) if limit else _DEFAULT_LIMIT, order == "asc", after or None)


def page_of(things: Sequence[dict[str, Any]], page: Page) -> dict[str, Any]:
    """The part of `things`, which are in ascending order, as a list object. Raises `InvalidRequestError` for `after`."""
    ordered = list(things if page.is_ascending else reversed(things))
    start = 0
    if page.after is not None:
        start = 1 + next((index for index, thing in enumerate(ordered) if thing["id"] == page.after), -1)
        if not start:
            raise InvalidRequestError(f"after: {page.after[:40]!r} is not in this list.", param="after")
    data = ordered[start : start + page.limit]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": start + page.limit < len(ordered)}

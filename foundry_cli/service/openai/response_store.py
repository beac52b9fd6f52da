"""Responses that clients may come back to: in memory only, a bounded number of them, and never in a log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from foundry_cli.api.sse import encode_value
from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.errors import ResponseNotFoundError

MOST_RESPONSES = 500
LARGEST_STORE = 64 * 1024 * 1024  # bytes
_ITEM_BYTES = 1024  # what Python needs for an item beside its text

Item = dict[str, Any]
Response = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Items in the order in which they were said, and about how much memory they take."""

    items: tuple[Item, ...] = ()
    size: int = 0  # bytes

    def and_then(self, items: Sequence[Item]) -> Conversation:
        """The conversation with `items` behind it."""
        return Conversation((*self.items, *items), self.size + sum(_ITEM_BYTES + len(encode_value(item)) for item in items))


@dataclass(frozen=True)
class StoredResponse:
    """A response that has ended, as it was sent, and all that it is an answer to."""

    response: Response
    conversation: Conversation

    @property
    def conversation_after(self) -> Conversation:
        """The conversation with what was answered."""
        return self.conversation.and_then(self.response["output"])


@dataclass(frozen=True)
class _Running:
    is_cancelled: asyncio.Event
    cancel: Callable[[], Response]
    show: Callable[[], Response]


class ResponseStore:
    """The last responses, by id; the oldest go when there are too many or they take too much memory.

    Each has its whole conversation with it and is counted so, though they share the items: that an early one is gone, or
    was deleted, leaves the later ones whole. `find` and `find_item` may be called in any thread, the others in one only.
    """

    def __init__(self, most: int = MOST_RESPONSES, largest: int = LARGEST_STORE) -> None:
        self._most = most
        self._largest = largest
        self._size = 0
        self._stored: dict[str, tuple[StoredResponse, int]] = {}  # oldest first, with its size
        self._items: dict[str, dict[int, Item]] = {}  # by id and, as clients may give one to several, by object
        self._uses: Counter[int] = Counter()  # of each object, by responses
        self._running: dict[str, _Running] = {}

    def find(self, identity: str, param: str = "id") -> StoredResponse:
        """The response with that id. Raises `ResponseNotFoundError` that names the field `param`."""
        stored = self._stored.get(identity)
        if stored is None:
            raise _not_found("response", identity, param)
        return stored[0]

    def show(self, identity: str) -> Response:
        """The response with that id, which may still be generated. Raises `ResponseNotFoundError`."""
        running = self._running.get(identity)
        return running.show() if running is not None and identity not in self._stored else self.find(identity).response

    def find_item(self, identity: str, param: str) -> Item:
        """An item of the input or the output of any response: the first that had the id. Raises `ResponseNotFoundError`."""
        items = self._items.get(identity)
        if not items:
            raise _not_found("item", identity, param)
        return next(iter(items.values()))

    def oldest_first(self) -> list[Response]:
        """All of them."""
        return [stored.response for stored, _ in self._stored.values()]

    def keep(self, response: Response, conversation: Conversation) -> None:
        """Store a response that has ended. One that takes more than all may take is not kept."""
        self._forget(response["id"])
        size = _ITEM_BYTES + conversation.size + len(encode_value(response))
        self._stored[response["id"]] = StoredResponse(response, conversation), size
        self._note_items(*conversation.items, *response["output"])
        self._size += size
        while len(self._stored) > self._most or self._size > self._largest:
            self._forget(next(iter(self._stored)))

    def delete(self, identity: str) -> None:
        """Forget a response. Raises `ResponseNotFoundError`."""
        self.find(identity)
        self._forget(identity)

    @contextmanager
    def running(self, identity: str, cancel: Callable[[], Response], show: Callable[[], Response]) -> Iterator[asyncio.Event]:
        """Let a response be looked at and cancelled while it is generated.

        The event says that it was cancelled; `cancel` keeps and gives what there is, `show` gives it as it is now.
        """
        running = _Running(asyncio.Event(), cancel, show)
        self._running[identity] = running
        try:
            yield running.is_cancelled
        finally:
            del self._running[identity]

    def cancel(self, identity: str) -> Response:
        """End a response that is generated. One that was cancelled before is given as it is.

        Raises `ResponseNotFoundError`, and `InvalidRequestError` for one that has ended otherwise.
        """
        running = self._running.get(identity)
        if running is not None and identity not in self._stored:
            running.is_cancelled.set()
            return running.cancel()
        response = self.find(identity).response
        if response["status"] != "cancelled":
            raise InvalidRequestError(f"id: the response has ended, it is {response['status']}.", param="id")
        return response

    def _forget(self, identity: str) -> None:
        stored, size = self._stored.pop(identity, (None, 0))
        if stored is None:
            return
        self._size -= size
        for item in (*stored.conversation.items, *stored.response["output"]):
            self._uses[id(item)] -= 1
            if not self._uses[id(item)]:
                del self._uses[id(item)], self._items[item["id"]][id(item)]
            if not self._items[item["id"]]:
                del self._items[item["id"]]

    def _note_items(self, *items: Item) -> None:
        for item in items:
            self._items.setdefault(item["id"], {})[id(item)] = item
            self._uses[id(item)] += 1


def _not_found(what: str, identity: str, param: str) -> ResponseNotFoundError:
    return ResponseNotFoundError(
        f"The {what} {identity[:128]!r} does not exist.",
        hint="The service keeps the last ones in memory, unless store is false. Send the whole conversation in input instead.",
        param=param,
    )

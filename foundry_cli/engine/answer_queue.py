"""What has come of one answer and was not taken yet; bounded, whoever forgets to take it."""

from __future__ import annotations

import asyncio
from collections import deque

from foundry_cli.engine.frames import Frame
from foundry_cli.engine.messages import Item, read_item
from foundry_cli.errors import ClientTooSlowError, FoundryError

MOST_WAITING = 4 * 1024 * 1024
"""Bytes, about, as they would be sent: minutes of an answer, also of one that is told with log-probabilities."""

_EVENT_BYTES, _TOKEN_BYTES = 200, 100  # of an event on the wire, and of each token text in it


class AnswerQueue:
    """The items of one answer, in order."""

    def __init__(self) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self.is_ended = False  # what comes now is not wanted any more

    def put(self, frame: Frame) -> bool:
        """Add what `frame` says; False when that is too much: an error takes its place, and the answer should be cancelled."""
        if self.is_ended:
            return True
        told = sum(map(_texts, frame.get("logprobs", ())))
        size = _EVENT_BYTES + len(frame.get("text", "")) + _TOKEN_BYTES * told
        if not self._items or self._waiting_bytes + size <= MOST_WAITING:
            self._add(read_item(frame), size)
            return True
        self.end(ClientTooSlowError("The answer was ended, because the client does not read it."))
        return False

    def end(self, error: FoundryError) -> None:
        """Let the answer end with `error`, behind what has come."""
        if not self.is_ended:
            self.is_ended = True
            self._add(error, 0)

    async def get(self) -> Item:
        """The next item, as soon as there is one."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        item, size = self._items.popleft()
        self._waiting_bytes -= size
        return item

    def _add(self, item: Item, size: int) -> None:
        self._items.append((item, size))
        self._waiting_bytes += size
        self._arrived.set()


def _texts(token: list[object]) -> int:
    """How many tokens are told with one: itself and those that were probable in its place."""
    return 1 + sum(len(part) for part in token if isinstance(part, list))

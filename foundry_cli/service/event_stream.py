"""Responses that go on for a while, and clients that do not wait for their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

CLIENT_GONE = Response(status_code=499)
"""For handlers whose client has left: nobody reads it."""


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None when the client went away first; `work` is cancelled then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.wait((task, gone))


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events, or another stream, from a generator of bytes, which is closed when the client goes away.

    `last_words` gives the end of a stream that the stopping service breaks off; it is called then only.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        *,
        last_words: Callable[[], bytes],
        media_type: str = "text/event-stream",
    ) -> None:
        self.media_type = media_type
        self._events = events
        self._last_words = last_words
        self.status_code = 200
        self.background = None
        self.init_headers({**headers, "cache-control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await until_disconnect(receive, self._send_all(send))
        except asyncio.CancelledError:  # by the server, which has waited long enough
            await send({"type": "http.response.body", "body": self._last_words(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})

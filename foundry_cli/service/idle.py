"""When the service is used, and its end after a time without a request, for those who set one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("foundry.service")


@dataclass
class Activity:
    """Requests that are being answered, and when the last one ended (or the service began)."""

    clock: Callable[[], float] = time.monotonic
    running: int = 0
    last: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.last = self.clock()

    @property
    def idle_seconds(self) -> float:
        """For how long there has been no request; 0 while there is one."""
        return 0.0 if self.running else self.clock() - self.last

    def begin(self) -> None:
        """A request has come."""
        self.running += 1

    def end(self) -> None:
        """A request has ended."""
        self.running -= 1
        self.last = self.clock()


class NoteActivity:
    """ASGI middleware: tells `activity` of every request but those that only ask whether the service lives."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app = app
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        self._activity.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.end()


async def stop_when_idle(activity: Activity, seconds: float, is_busy: Callable[[], bool], stop: Callable[[], None]) -> None:
    """Call `stop` once there was no request for `seconds` and nothing `is_busy`; returns then."""
    while (left := seconds - activity.idle_seconds) > 0 or is_busy():
        await asyncio.sleep(left if left > 0 else min(seconds, _BUSY_SECONDS))
    logger.info("no request for %.0f s: the service stops", activity.idle_seconds)
    stop()


_BUSY_SECONDS = 5.0  # until it is looked again whether work without a request has ended

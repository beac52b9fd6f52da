"""One log line per request: method, path, status, time and its name; never what was said."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundry_cli.service.request_id import request_id

logger = logging.getLogger("foundry.access")


class AccessLog:
    """ASGI middleware, around all others but the one that names requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            milliseconds = 1000 * (time.perf_counter() - began)
            where = scope["method"], scope["path"][:200]
            logger.info("%s %s %d %.0f ms %s", *where, status, milliseconds, request_id(scope))

"""Limits on what a client may send, applied before anything is done with it."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundry_cli.service.errors import BodyTooLargeError, RequestTimeoutError, response_to

LARGEST_BODY = 16 * 1024 * 1024  # bytes
LARGEST_HEADERS = 16 * 1024  # bytes of request line and headers
MOST_CONNECTIONS = 256
BODY_IDLE_SECONDS = 30.0  # between two pieces of a body
HEADER_SECONDS = 10.0  # from connecting, or from the first byte, to the end of the headers


class LimitBody:
    """ASGI middleware: refuses a body that is too large, by its declared length or while it arrives, or too slow."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > LARGEST_BODY:
            await _too_large(scope, receive, send)
            return
        is_complete = False
        received = 0

        async def limited() -> Message:
            nonlocal is_complete, received
            if is_complete:
                return await receive()  # waits for the disconnect, as long as it takes
            try:
                message = await asyncio.wait_for(receive(), BODY_IDLE_SECONDS)
            except asyncio.TimeoutError as error:
                raise RequestTimeoutError("The request body did not arrive in time.") from error
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise BodyTooLargeError(f"The request body is larger than {LARGEST_BODY} bytes.")
            is_complete = not message.get("more_body", False)
            return message

        await self._app(scope, limited, send)


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    error = BodyTooLargeError(f"The request body is larger than {LARGEST_BODY} bytes.")
    response = response_to(error)
    response.headers["connection"] = "close"
    await response(scope, receive, send)

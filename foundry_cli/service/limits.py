"""Limits on what a client may send, applied before anything is done with it."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.errors import BodyTooLargeError, HeadersTooLargeError, RequestTimeoutError, response_to

LARGEST_BODY = 16 * 1024 * 1024  # bytes
LARGEST_HEADERS = 16 * 1024  # bytes of request line and headers
MOST_HEADERS = 100
MOST_CONNECTIONS = 256  # over TCP; the Unix socket stays reachable
BODY_IDLE_SECONDS = 30.0  # between two pieces of a body
HEADER_SECONDS = 10.0  # from connecting, or from the first byte, to the end of the headers
READER_SECONDS = 60.0  # for a client to read what has been sent
LARGEST_DISCARD = 64 * 1024 * 1024  # bytes of a refused body that are read, so that the client sees the answer


class Limits:
    """ASGI middleware: refuses headers and bodies that are too large, ambiguous or too slow."""

    def __init__(self, app: ASGIApp, body_idle_seconds: float = BODY_IDLE_SECONDS) -> None:
        self._app = app
        self._body_idle_seconds = body_idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            _check_headers(scope)
        except (InvalidRequestError, HeadersTooLargeError) as error:
            response = response_to(error, scope)
            if not isinstance(error, BodyTooLargeError):
                response.headers["connection"] = "close"  # where the next request begins is not certain
            await response(scope, receive, send)
            return
        await self._app(scope, _limited(receive, self._body_idle_seconds), send)


def _check_headers(scope: Scope) -> None:
    headers = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > MOST_HEADERS or size > LARGEST_HEADERS:
        raise HeadersTooLargeError(f"The headers are more than {LARGEST_HEADERS} bytes or {MOST_HEADERS} lines.")
    if scope["http_version"] not in ("1.0", "1.1"):
        raise InvalidRequestError(f"HTTP/{scope['http_version']} is not spoken here.")
    framing = dict(headers)
    declared = framing.get(b"content-length")
    if declared is not None and b"transfer-encoding" in framing:
        raise InvalidRequestError("Content-Length and Transfer-Encoding must not be sent together.")
    if declared is not None and int(declared) > LARGEST_BODY:
        raise _too_large()


def _limited(receive: Receive, idle_seconds: float) -> Receive:
    """`receive` that raises when the body becomes too large or does not go on."""
    is_complete = False
    received = 0

    async def limited() -> Message:
        nonlocal is_complete, received
        if is_complete:
            return await receive()  # waits for the disconnect, as long as it takes
        try:
            message = await asyncio.wait_for(receive(), idle_seconds)
        except asyncio.TimeoutError as error:
            raise RequestTimeoutError("The request body did not arrive in time.") from error
        received += len(message.get("body", b""))
        if received > LARGEST_BODY:
            raise _too_large()
        is_complete = not message.get("more_body", False)
        return message

    return limited


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(f"The request body is larger than {LARGEST_BODY} bytes.")

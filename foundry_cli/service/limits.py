"""Limits on what a client may send, applied before anything is done with it."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundry_cli.api.limits import LARGEST_BODY
from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.errors import BodyTooLargeError, HeadersTooLargeError, RequestTimeoutError, response_to

LARGEST_HEADERS = 16 * 1024  # bytes of request line and headers
MOST_HEADERS = 100
MOST_CONNECTIONS = 256  # over TCP; the Unix socket stays reachable
BODY_IDLE_SECONDS = 30.0  # between two pieces of a body
HEADER_SECONDS = 10.0  # from connecting, or from the first byte, to the end of the headers
IDLE_SECONDS = 75  # that a connection stays open after an answer: longer than the pools of clients keep it
READER_SECONDS = 60.0  # for a client to read what has been sent
LARGEST_DISCARD = 64 * 1024 * 1024  # bytes of a refused body that are read, so that the client sees the answer


class HeaderLimits:
    """ASGI middleware: refuses headers that are too large or ambiguous. What comes behind it may rely on them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        scope = _in_origin_form(scope)
        try:
            _check_headers(scope)
        except (InvalidRequestError, HeadersTooLargeError) as error:
            response = response_to(error, scope)
            response.headers["connection"] = "close"  # where the next request begins is not certain
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


class BodyLimits:
    """ASGI middleware: refuses bodies that are too large or too slow, to callers that are admitted."""

    def __init__(self, app: ASGIApp, idle_seconds: float = BODY_IDLE_SECONDS) -> None:
        self._app = app
        self._idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if int(dict(scope["headers"]).get(b"content-length", 0)) > LARGEST_BODY:
            await response_to(_too_large(), scope)(scope, receive, send)
        else:
            await self._app(scope, _limited(receive, self._idle_seconds), send)


def _in_origin_form(scope: Scope) -> Scope:
    """A request whose target is a whole address (RFC 9112, 3.2.2) as the usual one that means the same."""
    if not scope["raw_path"].lower().startswith(b"http://"):
        return scope
    authority, slash, rest = scope["raw_path"][len(b"http://") :].partition(b"/")
    path = slash + rest or b"/"
    headers = [(b"host", authority), *(header for header in scope["headers"] if header[0] != b"host")]
    return {**scope, "raw_path": path, "path": unquote(path.decode("ascii", "replace")), "headers": headers}


def _check_headers(scope: Scope) -> None:
    headers = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) + 4 for name, value in headers)
    if len(headers) > MOST_HEADERS or size > LARGEST_HEADERS:
        raise HeadersTooLargeError(f"The headers are more than {LARGEST_HEADERS} bytes or {MOST_HEADERS} lines.")
    if scope["http_version"] not in ("1.0", "1.1"):
        raise InvalidRequestError(f"HTTP/{scope['http_version']} is not spoken here.")
    names = {name for name, _ in headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        raise InvalidRequestError("Content-Length and Transfer-Encoding must not be sent together.")


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

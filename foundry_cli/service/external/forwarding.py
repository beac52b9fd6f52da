"""The layer that sends requests for external models on, and passes on what comes back, byte by byte.

A request is changed in two places only: the name of the model, and the key. Everything else is decided by the server
that answers; only the key is taken out of its errors. Requests for other models go through untouched.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundry_cli import __version__
from foundry_cli.api.sse import encode_event
from foundry_cli.errors import FoundryError, InvalidRequestError, OfflineError, ProviderUnreachableError
from foundry_cli.external_models import ExternalModel
from foundry_cli.http import is_loopback
from foundry_cli.service.errors import body_of, response_to, stopping
from foundry_cli.service.event_stream import CLIENT_GONE, EventStream, until_disconnect
from foundry_cli.service.external.answer_headers import answer_headers
from foundry_cli.service.external.connection import Connection, Headers, post
from foundry_cli.service.external.redaction import Redaction
from foundry_cli.service.external.registry import ExternalModels
from foundry_cli.service.json_body import parse_object

logger = logging.getLogger("foundry.external")

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
LARGEST_ANSWER = 64 * 1024 * 1024  # bytes of an answer in one piece
_LONGEST_LINE = 1024 * 1024  # bytes of a stream that are held back for the end of their line
_INLINE_BYTES = 32 * 1024  # read on the event loop: below 5 ms
_HOPS = b"x-foundry-hops"
_MOST_HOPS = 4

_PASSED_ON = frozenset({b"accept", b"idempotency-key", b"openai-beta", b"openai-organization", b"openai-project"})


@dataclass(frozen=True)
class Forward:
    """A request for an external model, `body` being what its server shall get."""

    model: ExternalModel
    body: bytes


class Forwarding:
    """ASGI middleware, the innermost one: guards and limits have let the request through."""

    def __init__(self, app: ASGIApp, models: ExternalModels) -> None:
        self._app = app
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in PATHS or not self._models.all():
            await self._app(scope, receive, send)
            return
        try:
            body = await _whole_body(receive)
            if body is None:
                return
            forward = await self._read(body)
            if forward is None:
                await self._app(scope, _with_body(body, receive), send)
            else:
                await self._send_on(forward, scope, receive, send)
        except FoundryError as error:
            await response_to(error, scope)(scope, receive, send)

    async def _read(self, body: bytes) -> Forward | None:
        if len(body) <= _INLINE_BYTES:
            return _read_forward(body, self._models)
        return await asyncio.to_thread(_read_forward, body, self._models)

    async def _send_on(self, forward: Forward, scope: Scope, receive: Receive, send: Send) -> None:
        model = forward.model
        url = model.url + scope["path"].removeprefix("/v1") + _query(scope)
        if self._models.is_offline and not is_loopback(url):
            hint = "Unset FOUNDRY_OFFLINE, or 'offline' in the settings."
            raise OfflineError(f"{model.host} is not asked, because the network is switched off.", hint=hint)
        key = await asyncio.to_thread(model.read_key)
        connection = await until_disconnect(receive, post(url, _request_headers(scope, key), forward.body))
        if connection is None:
            await CLIENT_GONE(scope, receive, send)
            return
        try:
            logger.info("%s answers for %s with status %d", model.host, model.name, connection.status)
            await (await _response(connection, model, Redaction(key), receive))(scope, receive, send)
        finally:
            connection.close()


def _read_forward(body: bytes, models: ExternalModels) -> Forward | None:
    """The request if it is for an external model; a body that is wrong is for the usual route to complain about."""
    try:
        document = parse_object(body)
    except InvalidRequestError:
        return None
    name = document.get("model")
    model = models.find(name) if isinstance(name, str) else None
    if model is None:
        return None
    return Forward(model, json.dumps({**document, "model": model.model}, ensure_ascii=False).encode())


async def _response(connection: Connection, model: ExternalModel, redaction: Redaction, receive: Receive) -> Response:
    _check_answer(connection, model)
    headers = answer_headers(connection.headers, redaction.secret)
    kind = connection.headers.get(b"content-type", b"").lower()
    is_stream = kind.startswith(b"text/event-stream") and b"content-encoding" not in connection.headers
    if connection.status == 200 and is_stream:
        lines = _lines(connection, redaction)
        return EventStream(lines, headers, last_words=lambda: b"\n" + encode_event(body_of(stopping())))
    content = await until_disconnect(receive, connection.read(LARGEST_ANSWER))
    if content is None:
        return CLIENT_GONE
    return Response(content if connection.status < 300 else redaction.cleaned(content), connection.status, headers)


def _check_answer(connection: Connection, model: ExternalModel) -> None:
    """Raise `ProviderUnreachableError` for an answer that cannot be passed on."""
    if 300 <= connection.status < 400:
        raise ProviderUnreachableError(
            f"{model.host} sends the request on to another address.", hint="Correct the base address of the provider."
        )
    if not 200 <= connection.status < 600:
        raise ProviderUnreachableError(f"{model.host} answers with the status {connection.status}, which means nothing.")
    if connection.status >= 400 and b"content-encoding" in connection.headers:  # nobody could look for the key in it
        raise ProviderUnreachableError(f"{model.host} answers with the status {connection.status} and a compressed text.")


async def _lines(connection: Connection, redaction: Redaction) -> AsyncGenerator[bytes, None]:
    """A stream in whole lines, without delay; when it breaks off, an error follows that a client can read."""
    rest = b""
    try:
        async for piece in connection.pieces():
            whole, newline, rest = (rest + piece).rpartition(b"\n")
            if newline:
                yield redaction.cleaned_lines(whole + newline)
            if len(rest) > _LONGEST_LINE:
                yield redaction.cleaned_lines(rest)
                rest = b""
        if rest:
            yield redaction.cleaned_lines(rest)
    except ProviderUnreachableError as error:
        yield b"\n" + encode_event(body_of(error))


def _request_headers(scope: Scope, key: str | None) -> Headers:
    """Headers for the server. Raises `InvalidRequestError` for a request that was sent in a circle."""
    given = dict(scope["headers"])
    text = given.get(_HOPS, b"0")
    hops = int(text) if text.isdigit() and len(text) < 3 else _MOST_HOPS
    if hops >= _MOST_HOPS:
        raise InvalidRequestError("The request is sent in a circle: an external model is one of this service.", param="model")
    headers = [(name, value) for name, value in scope["headers"] if name in _PASSED_ON]
    headers += [(b"user-agent", f"foundry-cli/{__version__}".encode()), (_HOPS, str(hops + 1).encode())]
    return [*headers, (b"authorization", f"Bearer {key}".encode())] if key else headers


def _query(scope: Scope) -> str:
    query = scope["query_string"].decode("ascii", "ignore")
    return f"?{query}" if query else ""


async def _whole_body(receive: Receive) -> bytes | None:
    """The body of the request; None when the client went away."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _with_body(body: bytes, receive: Receive) -> Receive:
    """`receive` as it was before `body` was read."""
    is_read = False

    async def again() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

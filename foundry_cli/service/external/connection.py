"""One request to the server of an external model, and what comes back, piece by piece as it comes.

Each has a connection of its own: closing that is how a server learns at once that nobody wants the answer any more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import h11

from foundry_cli.errors import ProviderUnreachableError
from foundry_cli.http import CONNECT_SECONDS, host_of
from foundry_cli.service.errors import STATUS
from foundry_cli.service.external.route import Route, find_route

Headers = list[tuple[bytes, bytes]]

_PIECE = 64 * 1024
_LARGEST_HEADERS = 64 * 1024


class _ProviderTimeoutError(ProviderUnreachableError):
    """The server could not be connected to in time."""


STATUS[_ProviderTimeoutError] = 504


class Connection:
    """A connection whose answer has begun. There is no limit on how long a server may think: the client decides that."""

    def __init__(self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._url = url
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEADERS)
        self.status = 0
        self.headers: dict[bytes, bytes] = {}  # names in lower case

    async def send(self, method: str, target: bytes, headers: Headers, body: bytes) -> None:
        """Send a request and wait for the beginning of the answer. Raises `ProviderUnreachableError`."""
        events = h11.Request(method=method, target=target, headers=headers), h11.Data(body), h11.EndOfMessage()
        # The server may answer before it has read everything, so nobody waits until all is sent.
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise self._broken_off()
        self.status, self.headers = event.status_code, dict(event.headers)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises `ProviderUnreachableError` when it breaks off."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise self._broken_off()

    async def read(self, largest: int) -> bytes:
        """The whole body. Raises `ProviderUnreachableError` when it breaks off, or is larger than `largest` bytes."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) > largest:
                raise ProviderUnreachableError(f"The answer of {host_of(self._url)} is larger than {largest} bytes.")
        return bytes(body)

    def close(self) -> None:
        """End the connection now, whatever it was doing."""
        self._writer.transport.abort()

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_PIECE))
        except (OSError, h11.RemoteProtocolError) as error:
            raise self._broken_off() from error
        return event

    def _broken_off(self) -> ProviderUnreachableError:
        return ProviderUnreachableError(f"The connection to {host_of(self._url)} broke off.", hint="Send the request again.")


async def post(url: str, headers: Headers, body: bytes, *, connect_seconds: float = CONNECT_SECONDS) -> Connection:
    """Send `body` to `url`; returns when the answer begins. Whoever calls closes the connection.

    Raises `ProviderUnreachableError` and its kinds.
    """
    try:
        route = await asyncio.to_thread(find_route, url)
        reader, writer = await asyncio.wait_for(route.connect(), connect_seconds)
    except asyncio.TimeoutError as error:
        raise _ProviderTimeoutError(f"{host_of(url)} does not answer within {connect_seconds:.0f} s.", hint=_HINT) from error
    except OSError as error:
        kind = _ProviderTimeoutError if isinstance(error, TimeoutError) else ProviderUnreachableError
        raise kind(f"{host_of(url)} cannot be reached: {_cause(error)}.", hint=_HINT) from error
    connection = Connection(url, reader, writer)
    try:
        await connection.send("POST", _target(url, route), [*_framing(url, route, body), *headers], body)
    except BaseException:
        connection.close()
        raise
    return connection


def _cause(error: OSError) -> str:
    """The reason in a few words, without addresses."""
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS fails"
    return (
        os.strerror(error.errno).lower() if error.errno else "no connection comes about"
    )  # several addresses, several reasons


_HINT = "Look at 'foundry provider list', at the network, and at HTTPS_PROXY and NO_PROXY if there is a proxy."


def _target(url: str, route: Route) -> bytes:
    """What stands in the first line: for a proxy that sees the request, the whole address."""
    if route.proxy and not route.tls:
        return url.encode()
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}".encode() if parts.query else parts.path.encode()


def _framing(url: str, route: Route, body: bytes) -> Headers:
    headers = [
        (b"host", urlsplit(url).netloc.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"accept-encoding", b"identity"),
        (b"connection", b"close"),
    ]
    if route.proxy and route.proxy.authorization and not route.tls:
        headers.append((b"proxy-authorization", route.proxy.authorization))
    return headers

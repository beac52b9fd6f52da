"""HTTP/1.1 as uvicorn and h11 speak it, with limits on time and number: nobody may hold connections for nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from foundry_cli.api.sse import encode_value
from foundry_cli.errors import InvalidRequestError, QueueFullError
from foundry_cli.service.errors import body_of, response_to
from foundry_cli.service.limits import HEADER_SECONDS, LARGEST_DISCARD, MOST_CONNECTIONS, READER_SECONDS
from foundry_cli.service.request_id import HEADERS, RequestIds, new_request_id

logger = logging.getLogger("foundry.access")


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI application for connections beyond the limit."""
    response = response_to(QueueFullError("Too many connections are open.", hint="Try again soon."), scope)
    response.headers["connection"] = "close"
    await response(scope, receive, send)


def _close_idle(connections: Iterable[LimitedProtocol]) -> bool:
    """Close the one that has been idle for longest; False when none is."""
    idle = [(until, connection) for connection in connections if (until := connection.idle_until()) is not None]
    if idle:
        _, longest = min(idle, key=lambda item: item[0])
        longest.transport.close()
    return bool(idle)


class LimitedProtocol(H11Protocol):
    """One connection. It is closed when a request begins and does not end, or when its client does not read."""

    header_seconds = HEADER_SECONDS
    reader_seconds = READER_SECONDS
    most_connections = MOST_CONNECTIONS

    is_unix = False
    _header_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _discarded = 0  # bytes of a body that nobody wants

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop for a new connection."""
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {"connection": {}}  # in the scope of every request of this connection
        self.is_unix = self.server is not None and self.server[1] is None
        others = [other for other in self.connections if isinstance(other, LimitedProtocol) and other.counts()]
        if not self.is_unix and len(others) > self.most_connections and not _close_idle(others):
            if len(others) > 2 * self.most_connections:
                transport.abort()
            else:
                self.app = RequestIds(refuse)
        self._header_timer = self.loop.call_later(self.header_seconds, transport.close)

    def counts(self) -> bool:
        """Whether the connection is one of those whose number is limited."""
        return not self.is_unix and not self.transport.is_closing()

    def idle_until(self) -> float | None:
        """When the connection will be closed unless another request comes; None while it is not idle."""
        return self.timeout_keep_alive_task.when() if self.timeout_keep_alive_task else None

    def data_received(self, data: bytes) -> None:
        """Called by the event loop for every piece of data."""
        is_answered = self.cycle is None or self.cycle.response_complete
        if is_answered and self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_seconds, self.transport.close)
        if is_answered and self.cycle is not None and self.conn.their_state is h11.SEND_BODY:
            self._discarded += len(data)
            if self._discarded > LARGEST_DISCARD:
                self.transport.abort()
                return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timers()

    def send_400_response(self, msg: str) -> None:
        """Called for what is not HTTP: an answer in the form of all others, and the end of the connection."""
        name = new_request_id()
        logger.info("malformed request 400 %s", name)
        body = encode_value(body_of(InvalidRequestError(msg)))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *((header, name.encode()) for header in HEADERS),
        ]
        events = h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def pause_writing(self) -> None:
        """Called by the event loop when the client does not read as fast as we write."""
        super().pause_writing()
        self._reader_timer = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Called by the event loop when the client has read."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop at the end of a connection."""
        self._stop_timers()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called by the server when it stops: an idle connection ends now, a busy one after its answer."""
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # in the middle of a malformed request
            self.transport.abort()

    def _stop_timers(self) -> None:
        self._discarded = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

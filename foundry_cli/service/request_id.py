"""A name for each request: in its response, as OpenAI's and as Anthropic's clients look for it, and in the log."""

from __future__ import annotations

import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = (b"x-request-id", b"request-id")


class RequestIds:
    """ASGI middleware, the outermost one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = new_request_id()

        async def with_id(message: Message) -> None:
            await send(_named(message, scope["request_id"]) if message["type"] == "http.response.start" else message)

        await self._app(scope, receive, with_id)


def new_request_id() -> str:
    """A name for a request. What a client calls it is not taken over: two requests could have the same name."""
    return f"req_{uuid.uuid4().hex}"


def request_id(scope: Scope) -> str:
    """The name of the request of `scope`; nothing for one that did not come through `RequestIds`."""
    return str(scope.get("request_id", ""))


def _named(message: Message, name: str) -> Message:
    headers = list(message["headers"])
    present = {key for key, _ in headers}
    return {**message, "headers": [*headers, *((key, name.encode()) for key in HEADERS if key not in present)]}

"""Who may call. On the Unix socket: the owner. Over TCP: no foreign web page, no other user, no route that manages.

A web page in the user's browser can reach loopback ports, so the rules of browsers are enforced here and fail closed:
an exact list of `Host` values on every route, no foreign `Origin`, no cross-site fetch.
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from foundry_cli.config import LOOPBACK_HOSTS, check_origin
from foundry_cli.errors import ForbiddenError, FoundryError, UnauthorizedError
from foundry_cli.service.errors import WrongMediaTypeError, response_to
from foundry_cli.service.peer import peer_is_same_user

TOKEN_HEADER = b"x-foundry-token"
MANAGEMENT_PREFIX = "/foundry/manage"
"""Routes that delete, stop or configure: on the Unix socket, or with the token of the instance record."""


@dataclass(frozen=True)
class Access:
    """What the guard compares with."""

    host: str
    port: int
    token: str
    api_key: str | None = None
    allowed_origins: tuple[str, ...] = ()
    allow_other_users: bool = False
    is_same_user: Callable[[tuple[str, int], int], bool] = field(default=peer_is_same_user)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK_HOSTS

    def host_values(self) -> frozenset[str]:
        """Every `Host` header that is served."""
        names = {"127.0.0.1", "localhost", "[::1]"}
        if not self.is_loopback:
            names.add(f"[{self.host}]" if ":" in self.host else self.host)
        return frozenset(names | {f"{name}:{self.port}" for name in names})


class Guard:
    """ASGI middleware around the whole application; decides on the raw path, before routing."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._hosts = access.host_values()
        self._origins = {check_origin(origin) for origin in access.allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        try:
            self._check(scope, headers)
        except FoundryError as error:
            await response_to(error)(scope, receive, send)
            return
        origin = headers.get(b"origin", [b""])[0]
        if origin and scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_cors(origin, preflight=True))(scope, receive, send)
        elif origin:
            await self._app(scope, receive, _with_headers(send, _cors(origin)))
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> None:
        _check_media_type(scope, headers)
        if is_unix_socket(scope):
            return
        has_token = hmac.compare_digest(_digest(headers.get(TOKEN_HEADER, [b""])[0]), _digest(self._access.token.encode()))
        self._check_browser(headers)
        if not has_token:
            self._check_peer(scope)
            self._check_key(headers)
            if scope["path"].startswith(MANAGEMENT_PREFIX):
                raise ForbiddenError("This route is served on the local socket only.")

    def _check_browser(self, headers: dict[bytes, list[bytes]]) -> None:
        hosts = headers.get(b"host", [])
        # Upper and lower case are the same host, and nothing else is.
        if self._access.host in ("0.0.0.0", "::") and len(hosts) == 1 and self._access.api_key:
            pass  # reachable under names unknown here; the API key decides
        elif len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._hosts:
            raise ForbiddenError(
                "This Host header is not served here.", hint="Use the address that 'foundry service status' prints."
            )
        origin = headers.get(b"origin")
        if origin is None:
            if headers.get(b"sec-fetch-site", [b"none"])[0] not in (b"none", b"same-origin"):
                raise ForbiddenError("Requests from other web sites are refused.")
        elif len(origin) != 1 or not self._is_allowed(origin[0].decode("latin-1")):
            raise ForbiddenError(
                "Requests from web pages of this origin are refused.",
                hint="Add the origin to allowedOrigins in foundry.config.json to allow it.",
            )

    def _is_allowed(self, origin: str) -> bool:
        return origin in self._access.allowed_origins

    def _check_peer(self, scope: Scope) -> None:
        client = scope.get("client")
        if self._access.is_loopback and not self._access.allow_other_users and sys.platform == "linux":
            if client is None or not self._access.is_same_user((client[0], client[1]), self._access.port):
                raise ForbiddenError(
                    "The service belongs to another user of this machine.",
                    hint="Set allowOtherUsers in foundry.config.json to true to allow other users.",
                )

    def _check_key(self, headers: dict[bytes, list[bytes]]) -> None:
        if self._access.is_loopback:
            return  # any key is accepted on loopback
        scheme, _, key = headers.get(b"authorization", [b""])[0].partition(b" ")
        expected = (self._access.api_key or "").encode()
        is_right = hmac.compare_digest(_digest(key.strip()), _digest(expected))
        if scheme.lower() != b"bearer" or not expected or not is_right:
            raise UnauthorizedError("The API key is missing or wrong.", hint="Send it as 'Authorization: Bearer <key>'.")


def is_unix_socket(scope: Scope) -> bool:
    """Whether the request came over the Unix socket: its server address has no port."""
    server = scope.get("server")
    return server is not None and server[1] is None


def _check_media_type(scope: Scope, headers: dict[bytes, list[bytes]]) -> None:
    """A body must be declared as JSON: a browser cannot send that to another site without asking first."""
    if scope["method"] in ("POST", "PUT", "PATCH"):
        media_type = headers.get(b"content-type", [b""])[0].split(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise WrongMediaTypeError("The request needs the header 'Content-Type: application/json'.")


def _digest(value: bytes) -> bytes:
    return sha256(value).digest()


def _cors(origin: bytes, *, preflight: bool = False) -> dict[str, str]:
    headers = {"access-control-allow-origin": origin.decode("latin-1"), "vary": "origin"}
    if preflight:
        headers |= {"access-control-allow-methods": "GET, POST", "access-control-allow-headers": "content-type, authorization"}
    return headers


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def wrapped(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            message = {**message, "headers": [*message["headers"], *extra]}  # type: ignore[misc]
        await send(message)

    return wrapped  # type: ignore[return-value]

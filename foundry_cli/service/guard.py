"""Who may call. On the Unix socket: the owner. Over TCP: no foreign web page, no other user, no route that manages.

A web page in the user's browser can reach loopback ports, so the rules of browsers are enforced here and fail closed:
an exact list of `Host` values on every route, no foreign `Origin`, no cross-site fetch.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundry_cli.config import LOOPBACK_HOSTS, check_origin
from foundry_cli.errors import ForbiddenError, FoundryError, UnauthorizedError
from foundry_cli.service.errors import WrongMediaTypeError, response_to
from foundry_cli.service.peer import Address, peer_is_same_user

TOKEN_HEADER = b"x-foundry-token"
KEY_HEADER = b"x-api-key"
MANAGEMENT_PREFIX = "/foundry/manage"
"""Routes that delete, stop or configure: on the Unix socket, or with the token of the instance record."""

_FORM_ROUTES = ("/v1/audio/", "/v1/images/", "/v1/files", "/v1/uploads")  # of OpenAI's interface, for files
_CANCEL = re.compile(r"/v1/responses/[^/]+/cancel")
_DEFAULT_PORTS = {"http": 80, "https": 443}

Headers = dict[bytes, list[bytes]]


@dataclass(frozen=True)
class Access:
    """What the guard compares with."""

    host: str
    port: int
    token: str
    api_key: str | None = None
    allowed_origins: tuple[str, ...] = ()
    allow_other_users: bool = False
    is_same_user: Callable[[Address, Address], bool] = field(default=peer_is_same_user)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK_HOSTS

    def host_values(self) -> frozenset[str]:
        """Every `Host` header that is served, in lower case."""
        names = {"127.0.0.1", "localhost", "[::1]"}
        if not self.is_loopback:
            names.add(f"[{self.host}]" if ":" in self.host else self.host.lower())
        return frozenset(names | {f"{name}:{self.port}" for name in names})

    def origin_values(self) -> frozenset[str]:
        """Every `Origin` header that is served: the configured ones as browsers write them."""
        return frozenset(_as_browsers_write(origin) for origin in self.allowed_origins)


class Guard:
    """ASGI middleware around the whole application; decides on the raw path, before routing."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._hosts = access.host_values()
        self._origins = access.origin_values()
        self._token = _digest(access.token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers: Headers = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        try:
            if not is_unix_socket(scope):
                self._check_browser(headers)
                if b"origin" in headers:
                    send = _with_headers(send, _cors(headers))
                if b"origin" in headers and scope["method"] == "OPTIONS":  # a preflight never carries a key
                    await Response(status_code=204)(scope, receive, send)
                    return
                await self._check_caller(scope, headers)
            _check_media_type(scope, headers)
        except FoundryError as error:
            await response_to(error, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_browser(self, headers: Headers) -> None:
        hosts = headers.get(b"host", [])
        if self._access.host in ("0.0.0.0", "::") and len(hosts) == 1 and self._access.api_key:
            pass  # reachable under names unknown here; the API key decides
        # Upper and lower case are the same host, and nothing else is.
        elif len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._hosts:
            raise ForbiddenError(
                "This Host header is not served here.", hint="Use the address that 'foundry service status' prints."
            )
        origin = headers.get(b"origin")
        if origin is None:
            if not set(headers.get(b"sec-fetch-site", [])) <= {b"none", b"same-origin"}:
                raise ForbiddenError("Requests from other web sites are refused.")
        elif len(origin) != 1 or origin[0].decode("latin-1") not in self._origins:
            raise ForbiddenError(
                "Requests from web pages of this origin are refused.",
                hint="Add the origin to allowedOrigins in foundry.config.json to allow it.",
            )

    async def _check_caller(self, scope: Scope, headers: Headers) -> None:
        if hmac.compare_digest(_digest(headers.get(TOKEN_HEADER, [b""])[0]), self._token):
            scope["state"]["has_token"] = True
            return
        await self._check_peer(scope)
        self._check_key(headers)
        if scope["path"].startswith(MANAGEMENT_PREFIX):
            raise ForbiddenError("This route is served on the local socket only.")

    async def _check_peer(self, scope: Scope) -> None:
        if not self._access.is_loopback or self._access.allow_other_users or sys.platform != "linux":
            return
        connection = scope["state"]["connection"]  # see `protocol.py`; the owner of a connection is asked for once
        if "is_same_user" not in connection:
            ends = scope["client"], scope["server"]
            connection["is_same_user"] = None not in ends and await asyncio.to_thread(self._access.is_same_user, *ends)
        if not connection["is_same_user"]:
            raise ForbiddenError(
                "The service belongs to another user of this machine.",
                hint="Set allowOtherUsers in foundry.config.json to true to allow other users.",
            )

    def _check_key(self, headers: Headers) -> None:
        if self._access.is_loopback:
            return  # any key is accepted on loopback
        expected = (self._access.api_key or "").encode()
        if not expected or not hmac.compare_digest(_digest(_sent_key(headers)), _digest(expected)):
            raise UnauthorizedError("The API key is missing or wrong.", hint="Send it as 'Authorization: Bearer <key>'.")


def _sent_key(headers: Headers) -> bytes:
    """The API key as OpenAI's clients send it, else as Anthropic's do; nothing when there is none."""
    scheme, _, key = headers.get(b"authorization", [b""])[0].partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else headers.get(KEY_HEADER, [b""])[0].strip()


def is_unix_socket(scope: Scope) -> bool:
    """Whether the request came over the Unix socket: its server address has no port."""
    server = scope.get("server")
    return server is not None and server[1] is None


def is_manager(scope: Scope) -> bool:
    """Whether the caller may manage: it came over the Unix socket, or with the token of the instance record."""
    return is_unix_socket(scope) or "has_token" in scope["state"]


def is_same_user(scope: Scope) -> bool:
    """Whether a TCP peer was asked for its user, and is ours."""
    return scope["state"]["connection"].get("is_same_user") is True


def _check_media_type(scope: Scope, headers: Headers) -> None:
    """A body must be declared as JSON: a browser cannot send that to another site without asking first."""
    if scope["method"] not in ("POST", "PUT", "PATCH") or _is_bare_cancel(scope, headers):
        return
    media_types = {value.split(b";")[0].strip().lower() for value in headers.get(b"content-type", [])}
    if media_types == {b"multipart/form-data"} and scope["path"].startswith(_FORM_ROUTES):
        return  # there is nothing at these addresses, and the answer says so
    if media_types != {b"application/json"}:
        raise WrongMediaTypeError("The request needs the header 'Content-Type: application/json'.")
    for encoding in headers.get(b"content-encoding", []):
        if encoding.strip().lower() != b"identity":
            name = encoding.decode("latin-1")[:40]
            raise WrongMediaTypeError(f"A body with Content-Encoding {name!r} is not taken.", hint="Send it as it is.")


def _is_bare_cancel(scope: Scope, headers: Headers) -> bool:
    """Whether a response is cancelled without a body. Web pages send `Origin`, and cannot know the id in the path."""
    has_body = b"transfer-encoding" in headers or headers.get(b"content-length", [b"0"]) != [b"0"]
    return _CANCEL.fullmatch(scope["path"]) is not None and not has_body and b"content-type" not in headers


def _as_browsers_write(origin: str) -> str:
    """`origin` of the configuration, checked: host in lower case, without the default port."""
    scheme, host, port = check_origin(origin)
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{name}:{port}"


def _digest(value: bytes) -> bytes:
    return sha256(value).digest()


def _cors(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers for an origin that is allowed. Never with credentials, so that `*` covers what libraries send."""
    return [
        (b"access-control-allow-origin", headers[b"origin"][0]),
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (b"access-control-allow-headers", b"authorization, content-type, *"),
        (b"access-control-expose-headers", b"x-foundry-ignored-fields, retry-after, x-request-id, request-id"),
        (b"vary", b"origin"),
    ]


def _with_headers(send: Send, extra: list[tuple[bytes, bytes]]) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return wrapped

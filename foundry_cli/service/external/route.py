"""How a server is reached: directly, or through the proxy that the environment names, as downloads are."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from foundry_cli.errors import ProviderUnreachableError
from foundry_cli.http import host_of, is_loopback

_LONGEST_REPLY = 16 * 1024  # bytes of what a proxy says
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}  # a server that vanished is missed after two minutes


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the value of the header by which it knows us."""

    host: str
    port: int
    authorization: bytes | None


@dataclass(frozen=True)
class Route:
    """The way to the server of an address. `tls` is None for plain http."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: Proxy | None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server, or for plain http to the proxy. Raises `OSError`, `ProviderUnreachableError`."""
        if self.proxy and self.tls:
            streams = await asyncio.open_connection(
                sock=await _tunnel(self.proxy, self.host, self.port), ssl=self.tls, server_hostname=self.host
            )
        else:
            near = self.proxy or self
            streams = await asyncio.open_connection(near.host, near.port, ssl=self.tls)
        connected: socket.socket = streams[1].get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if option := getattr(socket, name, None):
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
        return streams


def find_route(url: str) -> Route:
    """The way to `url`; for a thread, since certificates are read. Raises `ProviderUnreachableError`."""
    parts = urlsplit(url)
    is_encrypted = parts.scheme == "https"
    port = parts.port or (443 if is_encrypted else 80)
    return Route(parts.hostname or "", port, _tls_context(_authorities()) if is_encrypted else None, _proxy(url))


def _proxy(url: str) -> Proxy | None:
    from requests.utils import get_auth_from_url, get_environ_proxies, select_proxy

    address = None if is_loopback(url) else select_proxy(url, get_environ_proxies(url))
    if not address:
        return None
    address = address if "://" in address else f"http://{address}"
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname:
        raise ProviderUnreachableError(f"The proxy {host_of(address)} is of a kind that is not supported; use an http:// one.")
    user, password = get_auth_from_url(address)
    credentials = b64encode(f"{unquote(user)}:{unquote(password)}".encode()) if user else None
    return Proxy(parts.hostname, parts.port or 80, b"Basic " + credentials if credentials else None)


def _authorities() -> str:
    """The file of certificates that downloads use, too."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH


@functools.lru_cache(maxsize=4)
def _tls_context(authorities: str) -> ssl.SSLContext:
    file, directory = (None, authorities) if os.path.isdir(authorities) else (authorities, None)
    try:
        return ssl.create_default_context(cafile=file, capath=directory)
    except OSError as error:
        raise ProviderUnreachableError(f"The certificates in {authorities} cannot be read: {error.strerror}.") from error


async def _tunnel(proxy: Proxy, host: str, port: int) -> socket.socket:
    """A connection through `proxy` to `host`. Raises `OSError`, `ProviderUnreachableError`."""
    loop = asyncio.get_running_loop()
    family, kind, protocol, _, address = (await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM))[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, address)
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1".encode(), f"Host: {target}".encode()]
        if proxy.authorization:
            lines.append(b"Proxy-Authorization: " + proxy.authorization)
        await loop.sock_sendall(connection, b"\r\n".join(lines) + b"\r\n\r\n")
        reply = b""
        while b"\r\n\r\n" not in reply and len(reply) < _LONGEST_REPLY:  # the server speaks after us, so no byte is its own
            piece = await loop.sock_recv(connection, 4096)
            if not piece:
                break
            reply += piece
        if reply[:5] != b"HTTP/" or reply.split(b" ", 2)[1:2] != [b"200"]:
            raise ProviderUnreachableError(f"The proxy {proxy.host}:{proxy.port} does not let us through to {host}.")
    except BaseException:
        connection.close()
        raise
    return connection

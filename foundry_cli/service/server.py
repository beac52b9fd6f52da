"""The life of the HTTP server: sockets of our own, uvicorn on them, and an end that takes at most ten seconds."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from foundry_cli.errors import ConfigError, ServiceStartError
from foundry_cli.paths import make_private_directory
from foundry_cli.service.limits import IDLE_SECONDS, LARGEST_HEADERS
from foundry_cli.service.protocol import LimitedProtocol

DRAIN_SECONDS = 10  # for running answers, after a request to stop
_LAST_WORDS_SECONDS = 1
_BACKLOG = 128


def bind_tcp(host: str, port: int, sticky_port: int = 0) -> socket.socket:
    """A listening socket. `port` 0: `sticky_port` if it is free, else one of the system's choice.

    Raises `ServiceStartError` when the port is taken, `ConfigError` for an address of another machine.
    """
    if port == 0 and sticky_port:
        try:
            return _bind(host, sticky_port)
        except OSError:  # taken meanwhile: any other will do
            pass
    try:
        return _bind(host, port)
    except (socket.gaierror, UnicodeError) as error:  # the latter for what cannot be a host name
        raise ConfigError(f"The host {host!r} is not an address of this machine.") from error
    except OSError as error:
        hint = f"{_port_owner(port)}Choose another with 'foundry service set --port N' (0: chosen by the system)."
        raise ServiceStartError(f"The service cannot listen on {host}:{port}: {error.strerror}.", hint=hint) from error


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only where the protocol is given
    try:
        if sys.platform != "win32":  # there the option would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _port_owner(port: int) -> str:
    import psutil

    try:
        listening = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return ""
    owner = next((entry.pid for entry in listening if entry.laddr and entry.laddr.port == port and entry.pid), None)
    return f"Process {owner} uses port {port}. " if owner else ""


def bind_unix(path: Path, home: Path) -> socket.socket | None:
    """A listening Unix socket that only the owner can reach, or None where the platform has none.

    Below `home`, its directory must be ours; elsewhere (the fall-back may be in /tmp) also the one above it.
    """
    if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        make_private_directory(path.parent)
        _check_owner(path.parent)
        if home not in path.parents:
            _check_owner(path.parent.parent)
        path.unlink(missing_ok=True)  # of a service that was killed; the lock says that it is gone
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ServiceStartError(f"The service cannot listen on {path}: {error.strerror}.") from error
    return listener


def _check_owner(directory: Path) -> None:
    """Nobody else may put another socket in place of ours. Raises `PermissionError`."""
    status = directory.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, f"others can change {directory}")


class Server(uvicorn.Server):
    """uvicorn's server with a beginning and an end of our own: `on_ready` once it accepts, `on_stop` after the drain."""

    def __init__(
        self,
        app: FastAPI,
        on_ready: Callable[[], None],
        on_stop: Callable[[], Awaitable[None]],
        *,
        drain_seconds: int = DRAIN_SECONDS,
        protocol: type[LimitedProtocol] = LimitedProtocol,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=LARGEST_HEADERS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=drain_seconds,
        )
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn; returns when connections are accepted."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn after a request to stop: drains, lets what is left say so, then ends the workers."""
        await super().shutdown(sockets)
        if self.server_state.tasks:  # cancelled by now
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_SECONDS)
        await self._on_stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: finish what is running. Second signal: end at once."""
        if self.should_exit:
            os._exit(128 + sig)  # workers end with us, see `engine/confinement.py`
        self.should_exit = True

    def run_on(self, sockets: list[socket.socket]) -> None:
        """Serve until stopped."""
        asyncio.run(self.serve(sockets=sockets))

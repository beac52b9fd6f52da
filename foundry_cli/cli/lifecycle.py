"""What commands that start or restart the service have in common."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

from foundry_cli.cli import output
from foundry_cli.cli.output import Say, symbol
from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import find_service, start_service, stop_service
from foundry_cli.config import Config, check_address, check_exposure, load_config
from foundry_cli.errors import FoundryError, ServiceStartError
from foundry_cli.instance import InstanceRecord
from foundry_cli.paths import Paths

_RELOAD_SECONDS, _RELOAD_TICK = 3.0, 0.02


def started_line(record: InstanceRecord) -> str:
    """What is said when the service was started."""
    return f"{symbol('🟢 ')}Service is Started on {record.base_url}/, PID {record.pid}!"


def restart_service(paths: Paths, say: Say = output.line) -> None:
    """Stop the service if it runs, and start it with the same models; nothing is stopped for settings that cannot be used."""
    check_settings(paths, load_config(paths))
    say("Restarting service...")
    output.flush()
    loaded = _loaded_models(paths)
    if stop_service(paths):
        say(f"{symbol('🔴 ')}Service is stopped.")
    client, _ = start_service(paths)
    say(started_line(client.record))
    if loaded:
        with suppress(FoundryError):  # then the first request loads it
            client.restore(loaded)
            say(_reloaded_line(client, [str(model["id"]) for model in loaded]))


def _reloaded_line(client: ServiceClient, ids: list[str]) -> str:
    """Wait for the models, but not long: whoever speaks to them next shall find them there. What is said then."""
    deadline = time.monotonic() + _RELOAD_SECONDS
    missing = ids
    while missing and time.monotonic() < deadline:
        time.sleep(_RELOAD_TICK)
        there = client.loaded_models()
        missing = [model for model in missing if model not in there]
    if missing:
        return f"Loading again in the background: {', '.join(missing)}"
    return f"Loaded again: {', '.join(ids)}"


def _loaded_models(paths: Paths) -> list[dict[str, Any]]:
    """What the running service has loaded or begins to; a time to live that was nobody's choice is left to the next one."""
    try:
        running = find_service(paths)
        status = running.status() if running else {"loadedModels": []}
    except FoundryError:  # it is stopped all the same
        return []
    default = status.get("defaultTtl")
    kept = [(model, ("id", "ep", "ttl") if model["ttl"] != default else ("id", "ep")) for model in status["loadedModels"]]
    loaded = [{name: model[name] for name in names} for model, names in kept]
    loading = status.get("loadingModels", [])  # not there in a service that was started before an update
    return [*loaded, *({name: model[name] for name in ("id", "ep")} for model in loading)]


def check_settings(paths: Paths, config: Config) -> None:
    """Raise `ConfigError` or `ServiceStartError` when a service could not be started with `config`."""
    check_address(config.host)
    check_exposure(config.host, config.api_key)
    running = find_service(paths)
    is_ours = running is not None and (running.record.host, running.record.port) == (config.host, config.port)
    if config.port and not is_ours:
        _check_free(config.host, config.port)


def _check_free(host: str, port: int) -> None:
    import socket

    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ServiceStartError(
                f"The service could not listen on {host}:{port}: {error.strerror}.",
                hint="Choose another port; 0 lets the system choose.",
            ) from error


def restart_if_running(paths: Paths, say: Say = output.line) -> None:
    """Let a running service take up new settings."""
    if find_service(paths):
        restart_service(paths, say)

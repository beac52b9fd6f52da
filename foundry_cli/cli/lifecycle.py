"""What commands that start or restart the service have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from foundry_cli import __version__
from foundry_cli.cli import output
from foundry_cli.cli.output import Say, symbol
from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import find_hanging_service, find_service, start_service, stop_service
from foundry_cli.config import Config, check_address, check_exposure, check_log_level, load_config, with_environment
from foundry_cli.errors import ConfigError, FoundryError, InvalidRequestError, ServiceStartError
from foundry_cli.home import check_owner
from foundry_cli.instance import InstanceRecord
from foundry_cli.paths import Paths, write_atomically
from foundry_cli.program_code import code_digest

_RELOAD_SECONDS, _RELOAD_TICK = 3.0, 0.02
_ROOM_BYTES = 16384  # a record, and the first lines of a log


def started_line(record: InstanceRecord) -> str:
    """What is said when the service was started."""
    return f"{symbol('🟢 ')}Service is Started on {record.base_url}/, PID {record.pid}!"


def running_service(say: Say) -> ServiceClient:
    """The service, started if need be; another version than this command's is remarked upon."""
    client, is_new = start_service(Paths.from_environment())
    if is_new:
        say(started_line(client.record))
    elif difference := _difference(client):
        output.note(f"The running service {difference}; 'foundry service restart' brings them together.")
    return client


def _difference(client: ServiceClient) -> str:
    """How the service differs from this command, which may come from a later installation; empty when it does not."""
    if client.record.version != __version__:
        return f"is version {client.record.version}, this command is {__version__}"
    if client.code_digest not in ("", code_digest()):
        return f"was started from other files of version {__version__} than this command"
    return ""


def this_time(port: int | None, idle_minutes: int | None, log_level: str | None) -> dict[str, str]:
    """Settings for one run of the service, as variables of its environment. Raises `InvalidRequestError`."""
    if log_level is not None:
        log_level = named_log_level(log_level, "--log-level")
    given = {"FOUNDRY_PORT": port, "FOUNDRY_IDLE_TIMEOUT": idle_minutes, "FOUNDRY_LOG_LEVEL": log_level}
    return {name: str(value) for name, value in given.items() if value is not None}


def named_log_level(text: str, option: str) -> str:
    """A level of the log. Raises `InvalidRequestError` naming `option`."""
    try:
        return check_log_level(text, option)
    except ConfigError as error:
        raise InvalidRequestError(error.message) from error


def start_with(paths: Paths, variables: Mapping[str, str]) -> tuple[ServiceClient, bool]:
    """`start_service` with settings for one run. Raises `FoundryError` when a running one has another port than was asked for.

    Whether other settings are in force is not known of a service that runs already: a note says that they are not applied.
    """
    client, is_new = start_service(paths, variables)
    if is_new or not variables:
        return client, is_new
    hint = "'foundry service restart' with the same options applies them."
    port = variables.get("FOUNDRY_PORT")
    if port not in (None, "0", str(client.record.port)):
        raise FoundryError(f"The service is running already, on port {client.record.port} and not {port}.", hint=hint)
    if set(variables) - {"FOUNDRY_PORT"}:
        output.note(f"The service is running already, with the settings it was started with. {hint}")
    return client, is_new


def restart_service(paths: Paths, say: Say = output.line, variables: Mapping[str, str] | None = None) -> ServiceClient:
    """Stop the service if it runs, and start it with the same models, and `variables` in its environment.

    Nothing is stopped for settings that cannot be used, nor where the next one could not write what it needs, nor in the
    home of somebody else.
    """
    check_owner(paths)
    check_settings(paths, with_environment(load_config(paths), variables))
    _check_room(paths)
    say("Restarting service...")
    output.flush()
    loaded = _loaded_models(paths)
    if stop_service(paths):
        say(f"{symbol('🔴 ')}Service is stopped.")
    client, _ = start_service(paths, variables)
    say(started_line(client.record))
    if loaded:
        with suppress(FoundryError):  # then the first request loads it
            client.restore(loaded)
            say(_reloaded_line(client, [str(model["id"]) for model in loaded]))
    return client


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
    check_exposure(config.host, config.api_key)
    check_address(config.host)
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


def _check_room(paths: Paths) -> None:
    """Raise `ServiceStartError` when a service could not write its record or its log, on a full disk perhaps."""
    for directory in (paths.logs, paths.run):
        probe = directory / "probe"
        try:
            write_atomically(probe, bytes(_ROOM_BYTES))
            probe.unlink()
        except OSError as error:
            raise ServiceStartError(
                f"{directory} cannot be written: {error.strerror}.",
                hint="The running service goes on." if find_service(paths) else None,
            ) from error


def restart_if_running(paths: Paths, say: Say = output.line) -> None:
    """Let a running service take up new settings."""
    if find_service(paths):
        restart_service(paths, say)
    elif find_hanging_service(paths) is not None:
        output.note(
            "The running service does not answer, and goes on with the old settings. 'foundry service restart' ends it."
        )

"""`foundry service …`. The first lines of `start` and `status` are parsed by the published clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundry_cli.cli import output
from foundry_cli.cli.options import OutputOption, group
from foundry_cli.cli.output import Format, symbol

if TYPE_CHECKING:
    from foundry_cli.client.client import ServiceClient
    from foundry_cli.paths import Paths

app = group("Manage the local model inference service")


@app.command()
def start(output_format: OutputOption = Format.text) -> None:
    """Start the service in the background; returns when it answers."""
    from foundry_cli.cli.lifecycle import started_line
    from foundry_cli.client.supervisor import start_service
    from foundry_cli.paths import Paths

    client, is_new = start_service(Paths.from_environment())
    if output_format is Format.json:
        output.document(_status_fields(client))
    elif is_new:
        output.line(started_line(client.record))
    else:
        output.line(f"{symbol('🟢 ')}Service is already running on {client.record.base_url}/.")


@app.command()
def stop(output_format: OutputOption = Format.text) -> None:
    """Stop the service; running answers get up to ten seconds."""
    from foundry_cli.client.supervisor import stop_service
    from foundry_cli.paths import Paths

    stop_service(Paths.from_environment())
    if output_format is Format.json:
        output.document({"running": False, "state": "not_running"})
    else:
        output.line(f"{symbol('🔴 ')}Service is stopped.")


@app.command()
def restart() -> None:
    """Stop the service and start it again."""
    from foundry_cli.cli.lifecycle import restart_service
    from foundry_cli.paths import Paths

    restart_service(Paths.from_environment())


@app.command()
def status(output_format: OutputOption = Format.text) -> None:
    """Show whether the service runs and where it listens."""
    from foundry_cli.client.supervisor import find_hanging_service, find_service
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    client = find_service(paths)
    process = None if client else find_hanging_service(paths)
    if output_format is Format.json:
        state = {"running": process is not None, "state": "not_running" if process is None else "not_answering"}
        output.document(_status_fields(client) if client else state)
    elif client is not None:
        _print_status(client)
    elif process is not None:
        output.line(f"{symbol('🔴 ')}Model management service (process {process}) does not answer!")
        output.line("To end it and start another, run the following command: foundry service restart")
    else:
        output.line(f"{symbol('🔴 ')}Model management service is not running!")
        output.line("To start the service, run the following command: foundry service start")


def _print_status(client: ServiceClient) -> None:
    output.line(f"{symbol('🟢 ')}Model management service is running on {client.record.base_url}/openai/status")
    registration = str(client.status()["autoRegistrationStatus"])
    output.line(f"EP autoregistration status: {registration.splitlines()[0]}")
    output.line(registration.splitlines()[-1])


def _status_fields(client: ServiceClient) -> dict[str, Any]:
    from datetime import datetime, timezone

    from foundry_cli.log import LOG_NAME
    from foundry_cli.paths import Paths

    record, state = client.record, client.status()
    started = datetime.fromtimestamp(record.started_at, timezone.utc)
    return {
        "running": True,
        "state": "ready",
        "pid": record.pid,
        "webUrls": [record.base_url],
        "endpoints": [record.base_url],
        "port": record.port,
        "socket": record.socket or None,
        "version": record.version,
        "startedAt": started.isoformat(),
        "uptime": f"{max(0, int((datetime.now(timezone.utc) - started).total_seconds()))}s",
        "logFile": str(Paths.from_environment().logs / LOG_NAME),
        "modelDirPath": state["modelDirPath"],
        "validEps": state["validEps"],
        "loadedModels": [model["id"] for model in state["loadedModels"]],
    }


@app.command("ps")
@app.command("list", hidden=True)
def list_loaded(output_format: OutputOption = Format.text) -> None:
    """List the models that are loaded."""
    from foundry_cli.client.supervisor import require_service
    from foundry_cli.paths import Paths

    models = require_service(Paths.from_environment()).status()["loadedModels"]
    if output_format is Format.json:
        output.document({"models": models})
    elif not models:
        output.line("No models are currently loaded in the service")
    else:
        width = max(len("Model ID"), *(len(model["id"]) for model in models)) + 2
        output.line("Models running in service:")
        output.line(f"    {'Alias':<31}{'Model ID':<{width}}Engine")
        for model in models:
            engine = model.get("engine", "")  # unknown to a service that was started before an update
            output.line(f"{symbol('🟢  ') or '    '}{model['alias']:<31}{model['id']:<{width}}{engine}".rstrip())


@app.command()
def diag(
    logs: Annotated[bool, typer.Option("--logs", help="Show the log of the service.")] = False,
    output_format: OutputOption = Format.text,
) -> None:
    """Show facts about the machine, the program and the service."""
    from foundry_cli import diagnostics
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    if logs:
        for text in diagnostics.log_lines(paths):
            output.line(text)
        return
    facts, models = diagnostics.facts(paths), _loaded_models(paths)
    if output_format is Format.json:
        output.document({**facts, "Models": models})
        return
    for name, value in [*facts.items(), *(("Model", _model_line(model)) for model in models)]:
        output.line(f"{name:<18}{value}")


def _loaded_models(paths: Paths) -> list[dict[str, Any]]:
    """What the service says of its models; nothing when it does not answer."""
    from foundry_cli.client.supervisor import find_service
    from foundry_cli.errors import FoundryError

    try:
        client = find_service(paths)
        return list(client.status()["loadedModels"]) if client else []
    except FoundryError:
        return []


def _model_line(model: dict[str, Any]) -> str:
    names = {"engine": "engine", "mostRunning": "answers at once", "threads": "threads", "ep": "provider", "pid": "PID"}
    facts = ", ".join(f"{name} {model[key]}" for key, name in names.items() if key in model)
    return f"{model['id']}: {facts}"


@app.command("set")
def change_settings(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="TCP port; 0: chosen by the system, then kept.", show_default=False)
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; beyond this machine only with FOUNDRY_API_KEY.", show_default=False),
    ] = None,
    cachedir: Annotated[
        str | None, typer.Option(metavar="PATH", help="Directory where models are kept.", show_default=False)
    ] = None,
    default_log_level: Annotated[
        str | None, typer.Option(help="trace, debug, info, warn, error, critical or none.", show_default=False)
    ] = None,
    ttl: Annotated[
        int | None,
        typer.Option(min=1, max=315_360_000, help="Seconds of idleness before a model is unloaded.", show_default=False),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="auto, batch or genai: what runs models that are loaded from now on.", show_default=False),
    ] = None,
    conversations: Annotated[
        int | None,
        typer.Option(
            metavar="MEGABYTES",
            min=0,
            max=1 << 30,
            help="Space on disk for conversations that go on after a restart; 0: none are kept.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the settings.")] = False,
    output_format: OutputOption = Format.text,
) -> None:
    """Change settings; a running service takes them up, with a restart where one is needed."""
    from foundry_cli.cli.settings import change

    given = {
        "port": port, "host": host, "cachedir": cachedir, "log_level": default_log_level, "ttl": ttl,
        "engine": engine, "conversations": conversations,
    }  # fmt: skip
    change({name: value for name, value in given.items() if value is not None}, show=show, output_format=output_format)

"""`foundry service …`. The first lines of `start` and `status` are parsed by the published clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundry_cli.cli import output
from foundry_cli.cli.group import group
from foundry_cli.cli.options import IdleTimeoutOption, LogLevelOption, OutputOption, PortOption
from foundry_cli.cli.output import Format, symbol

if TYPE_CHECKING:
    from foundry_cli.client.client import ServiceClient
    from foundry_cli.paths import Paths

app = group("Manage the local model inference service")


@app.command()
def start(
    port: PortOption = None,
    idle_timeout: IdleTimeoutOption = None,
    log_level: LogLevelOption = None,
    output_format: OutputOption = Format.text,
) -> None:
    """Start the service in the background; returns when it answers."""
    from foundry_cli.cli.lifecycle import start_with, started_line, this_time
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    client, is_new = start_with(paths, this_time(port, idle_timeout, log_level))
    if output_format is Format.json:
        _record_fields(paths, client)
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
        output.record({"running": False, "state": "not_running"})
    else:
        output.line(f"{symbol('🔴 ')}Service is stopped.")


@app.command()
def restart(
    port: PortOption = None,
    idle_timeout: IdleTimeoutOption = None,
    log_level: LogLevelOption = None,
    output_format: OutputOption = Format.text,
) -> None:
    """Stop the service and start it again."""
    from foundry_cli.cli.lifecycle import restart_service, this_time
    from foundry_cli.paths import Paths

    paths, variables = Paths.from_environment(), this_time(port, idle_timeout, log_level)
    if output_format is Format.json:
        _record_fields(paths, restart_service(paths, output.note, variables))
    else:
        restart_service(paths, variables=variables)


@app.command()
def status(output_format: OutputOption = Format.text) -> None:
    """Show whether the service runs and where it listens."""
    from foundry_cli.cli.service_status import silent_fields
    from foundry_cli.client.supervisor import find_service, record_problem
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    client = find_service(paths)
    fields = {} if client else silent_fields(paths)
    if client is not None and output_format is Format.json:
        _record_fields(paths, client)
    elif client is not None:
        _print_status(client)
    elif output_format is Format.json:
        output.record(fields)
    elif fields["running"]:
        process = f" (process {fields['pid']})" if "pid" in fields else ""
        output.line(f"{symbol('🔴 ')}Model management service{process} does not answer!")
        if problem := record_problem(paths):
            output.note(problem)
        output.line("To end it and start another, run the following command: foundry service restart")
    else:
        output.line(f"{symbol('🔴 ')}Model management service is not running!")
        output.line("To start the service, run the following command: foundry service start")


def _print_status(client: ServiceClient) -> None:
    output.line(f"{symbol('🟢 ')}Model management service is running on {client.record.base_url}/openai/status")
    registration = str(client.status()["autoRegistrationStatus"])
    output.line(f"EP autoregistration status: {registration.splitlines()[0]}")
    output.line(registration.splitlines()[-1])


def _record_fields(paths: Paths, client: ServiceClient) -> None:
    from foundry_cli.cli.service_status import service_fields

    output.record(service_fields(paths, client))


@app.command("ps")
@app.command("list", hidden=True)
def list_loaded(output_format: OutputOption = Format.text) -> None:
    """List the models that are loaded."""
    from foundry_cli.client.supervisor import require_service
    from foundry_cli.paths import Paths

    status = require_service(Paths.from_environment()).status()
    models, loading = status["loadedModels"], status.get("loadingModels", [])  # not there before an update
    if output_format is Format.json:
        output.document({"models": models, "loading": loading})
    elif not models and not loading:
        output.line("No models are currently loaded in the service")
    else:
        width = max(len("Model ID"), *(len(model["id"]) for model in (*models, *loading))) + 2
        output.line("Models running in service:")
        output.line(f"    {'Alias':<31}{'Model ID':<{width}}Engine")
        for model in models:
            engine = model.get("engine", "")  # unknown to a service that was started before an update
            output.line(f"{symbol('🟢  ') or '    '}{model['alias']:<31}{model['id']:<{width}}{engine}".rstrip())
        for model in loading:
            since = f"loading for {model['seconds']} s"
            output.line(f"{symbol('🕓  ') or '    '}{model['alias']:<31}{model['id']:<{width}}{since}")


@app.command()
def diag(
    logs: Annotated[bool, typer.Option("--logs", help="Show the log of the service.")] = False,
    output_format: OutputOption = Format.text,
) -> None:
    """Show facts about the machine, the program and the service."""
    from foundry_cli import diagnostics
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    if logs and output_format is Format.json:
        output.document({"lines": list(diagnostics.log_lines(paths))})
        return
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
    names = {
        "engine": "engine",
        "kernels": "kernels",
        "mostRunning": "answers at once",
        "threads": "threads",
        "ep": "provider",
        "pid": "PID",
    }
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
    idle_timeout: Annotated[
        int | None,
        typer.Option(
            metavar="MINUTES",
            min=0,
            max=525_600,
            help="Minutes without a request after which the service stops; 0: never.",
            show_default=False,
        ),
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
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict/--no-strict",
            help="Refuse requests with fields that would be ignored, or only name these in a header.",
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
        "idle_timeout": idle_timeout, "engine": engine, "conversations": conversations,
        "strict": strict,
    }  # fmt: skip
    change({name: value for name, value in given.items() if value is not None}, show=show, output_format=output_format)

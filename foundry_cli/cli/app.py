"""The command tree."""

from __future__ import annotations

import gc
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from foundry_cli import __version__
from foundry_cli.cli import (
    cache,
    catalog,
    complete,
    config,
    hardware,
    model,
    model_bench,
    output,
    overview,
    own_models,
    provider,
    report,
    server,
    service,
    zip_logs,
)
from foundry_cli.cli.errors import report as report_error
from foundry_cli.cli.options import OutputOption, group
from foundry_cli.cli.output import Format
from foundry_cli.errors import FoundryError

_SECTIONS = {
    "Commands": ("model", "cache", "catalog", "provider", "service", "hardware", "zip-logs"),
    "Names of later versions of Foundry Local": ("run", "chat", "complete", "server", "config", "status", "report"),
}
_MARGINS = 6  # columns around and between the two of the list of commands


class _Root(TyperGroup):
    """Commands in sections, in the order of a day's work: Typer would put single commands before groups.

    A line of the list begins with the name of its command: programs look for `server` and `service` there.
    """

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [name for names in _SECTIONS.values() for name in names if name in self.commands]

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        width = formatter.width - _MARGINS - max(map(len, self.commands))
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                shown = [(name, self.commands[name]) for name in names if name in self.commands]
                formatter.write_dl([(name, command.get_short_help_str(width)) for name, command in shown])


_HELP = """\
Foundry Local CLI: Run AI models on your device.

\b
Getting started:
  1. List the models:        foundry model list
  2. Chat with a model:      foundry model run <model>

\b
EXAMPLES:
  foundry model run foundry-guide
  foundry model download phi-4-mini
  foundry model run foundry-guide --prompt "How do I list the models?"
"""

app = group(_HELP, _Root)
model.app.command("add")(own_models.add)
model.app.command("convert")(own_models.convert)
model.app.command("test")(own_models.test)
model.app.command("bench")(model_bench.bench)
app.add_typer(model.app, name="model")
app.add_typer(cache.app, name="cache")
app.add_typer(catalog.app, name="catalog")
app.add_typer(provider.app, name="provider")
app.add_typer(service.app, name="service")
app.command("hardware")(hardware.show_hardware)
app.command("zip-logs")(zip_logs.zip_logs)
app.command("run")(model.run)
app.command("chat")(model.run)
app.command("complete")(complete.complete)
app.add_typer(server.app, name="server")
app.add_typer(config.app, name="config")
app.command("status")(overview.show_status)
app.command("report")(report.report)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        output.line(__version__)
        raise typer.Exit


def _show_license(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import distribution

        text = distribution("foundry-cli").read_text("licenses/LICENSE")
        output.line((text or "MIT License").strip())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    license_text: Annotated[
        bool, typer.Option("--license", help="Show the licence and exit.", callback=_show_license, is_eager=True)
    ] = False,
    output_format: OutputOption = Format.text,
) -> None:
    """What is said without a command, and the format for all that have one."""


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(100_000)  # looking for garbage while a long list is read would cost a tenth of the time
    output.prepare_streams()
    try:
        app()
    except FoundryError as error:
        sys.exit(report_error(error))
    except OSError as error:  # a full disk behind standard output, say
        sys.exit(report_error(FoundryError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")))

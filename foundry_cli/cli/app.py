"""The command tree."""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from foundry_cli import __version__
from foundry_cli.cli import cache, catalog, hardware, model, model_bench, output, own_models, service, zip_logs
from foundry_cli.cli.errors import report
from foundry_cli.cli.options import group
from foundry_cli.errors import FoundryError

_ORDER = ("model", "cache", "catalog", "service", "hardware", "zip-logs")


class _Root(TyperGroup):
    """Commands in the order of a day's work: Typer would put single commands before groups."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [name for name in _ORDER if name in self.commands]


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
app.add_typer(service.app, name="service")
app.command("hardware")(hardware.show_hardware)
app.command("zip-logs")(zip_logs.zip_logs)


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
) -> None:
    """What is said without a command."""


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(100_000)  # looking for garbage while a long list is read would cost a tenth of the time
    output.prepare_streams()
    try:
        app()
    except FoundryError as error:
        sys.exit(report(error))
    except OSError as error:  # a full disk behind standard output, say
        sys.exit(report(FoundryError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")))

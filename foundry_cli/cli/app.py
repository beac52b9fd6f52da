"""The command tree."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer

from foundry_cli import __version__
from foundry_cli.cli import output
from foundry_cli.cli.errors import report as report_error
from foundry_cli.cli.group import Command, Commands, SteadyGroup, group, make_group, make_single
from foundry_cli.cli.options import OutputOption
from foundry_cli.cli.output import Format
from foundry_cli.errors import FoundryError

_SECTIONS = {
    "Commands": {
        "model": "model:app",
        "cache": "cache:app",
        "catalog": "catalog:app",
        "provider": "provider:app",
        "service": "service:app",
        "hardware": "hardware:show_hardware",
        "zip-logs": "zip_logs:zip_logs",
    },
    "Names of later versions of Foundry Local": {
        "run": "model:run",
        "chat": "model:run",
        "complete": "complete:complete",
        "server": "server:app",
        "config": "config:app",
        "status": "overview:show_status",
        "report": "report:report",
    },
}  # module and name of a group or of a function
_MARGINS = 6  # columns around and between the two of the list of commands


def _load(name: str, place: str) -> Command:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"foundry_cli.cli.{module}"), attribute)
    made = make_group(found) if isinstance(found, typer.Typer) else make_single(name, found)
    made.name = name
    return made


class _Root(SteadyGroup):
    """Commands in sections. A line of the list begins with the name: programs look for `server` and `service` there."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        places = {name: place for names in _SECTIONS.values() for name, place in names.items()}
        self.commands = Commands({name: partial(_load, name, place) for name, place in places.items()})  # type: ignore[assignment]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Called by Click; `help model run` is another way to write `model run --help`."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        width = formatter.width - _MARGINS - max(map(len, self.commands))
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(width)) for name in names])


_HELP = """\
Foundry Local CLI: Run AI models on your device.

\b
Getting started:
  1. List the models:        foundry model list
  2. Chat with a model:      foundry model run <model>
  3. Learn about a command:  foundry help <command>

\b
EXAMPLES:
  foundry model run foundry-guide
  foundry model download phi-4-mini
  foundry model run foundry-guide --prompt "How do I list the models?"
"""

app = group(_HELP, _Root)


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
    output.prepare_streams()
    try:
        app()
    except FoundryError as error:
        sys.exit(report_error(error))
    except OSError as error:  # a full disk behind standard output, say
        if code := getattr(error.__context__, "exit_code", 0):  # or behind standard error, where a wrong use was to be told
            sys.exit(code)
        sys.exit(report_error(FoundryError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")))

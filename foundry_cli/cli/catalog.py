"""`foundry catalog …`: where models can be had from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from foundry_cli.cli import output
from foundry_cli.cli.errors import ExitCode
from foundry_cli.cli.group import group
from foundry_cli.cli.options import OutputOption
from foundry_cli.cli.output import Format

if TYPE_CHECKING:
    from foundry_cli.catalog.sources.base import SourceState

app = group("Manage the catalogs that models come from")

_AZURE = "azure"


@app.command("list")
@app.command("ls", hidden=True)
def list_catalogs(output_format: OutputOption = Format.text) -> None:
    """List the catalogs, how many models each knows, and how old its list is."""
    from foundry_cli.cli.inventory import local_catalog

    states = [source.state() for source in local_catalog().sources]
    if output_format is Format.json:
        output.document({"catalogs": [_fields(state) for state in states]})
        return
    output.line(f"{'Catalog':<16}{'Models':>7}  {'Age':<12}Location")
    for state in states:
        output.line(f"{state.name:<16}{state.models:>7}  {_age(state):<12}{state.location}")
        if state.problem:
            output.line(f"{'':<25}{state.problem}")


def _fields(state: SourceState) -> dict[str, object]:
    return {
        "name": state.name,
        "location": state.location,
        "models": state.models,
        "refreshed": state.refreshed,
        "problem": state.problem or None,
    }


def _age(state: SourceState) -> str:
    from foundry_cli.cli.inventory import age_text

    return "-" if state.refreshed is None else age_text(state.refreshed)


@app.command("add")
def add(
    location: Annotated[
        str,
        typer.Argument(
            help="Address of a mirror on a web server, or its directory; 'azure' for the catalog of Azure AI Foundry.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="What it is called here.", show_default="the host or directory")
    ] = None,
) -> None:
    """Add a catalog: a mirror made by 'foundry cache export', in a directory or on a web server."""
    from foundry_cli.cli import catalog_settings

    if location.lower() == _AZURE:
        catalog_settings.switch_azure(is_enabled=True)
        output.line("Catalog azure is used.")
        return
    state = catalog_settings.add_mirror(location, name)
    output.line(f"Catalog {state.name} was added; it has {state.models} models.")


@app.command("remove")
@app.command("rm", hidden=True)
def remove(name: Annotated[str, typer.Argument(help="Name of the catalog.", show_default=False)]) -> None:
    """Remove a catalog. Models that came from it stay."""
    from foundry_cli.cli import catalog_settings

    if name.lower() == _AZURE:
        catalog_settings.switch_azure(is_enabled=False)
    else:
        catalog_settings.remove_mirror(name)
    output.line(f"Catalog {name} was removed.")


@app.command("refresh")
def refresh(
    name: Annotated[str | None, typer.Argument(help="Name of the catalog.", show_default="all catalogs")] = None,
) -> None:
    """Fetch the lists of the catalogs now."""
    from foundry_cli.cli import catalog_settings

    is_complete = True
    for state, problem in catalog_settings.refresh(name):
        is_complete = is_complete and not problem
        output.line(f"{state.name}: {problem or f'{state.models} models.'}")
    if not is_complete:
        raise typer.Exit(ExitCode.DOWNLOAD_FAILED)

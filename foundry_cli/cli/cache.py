"""`foundry cache …`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from foundry_cli.cli import output
from foundry_cli.cli.errors import ExitCode
from foundry_cli.cli.group import group
from foundry_cli.cli.options import Device, DeviceOption, ModelArgument, OutputOption
from foundry_cli.cli.output import Format, symbol

app = group("Manage the local cache")

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ModelsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[MODEL]...", help="Aliases or model ids.", show_default="all")
]


@app.command("location")
def show_location(output_format: OutputOption = Format.text) -> None:
    """Show the directory where models are kept."""
    from foundry_cli.config import load_config
    from foundry_cli.home import is_own
    from foundry_cli.paths import Paths, make_private_directory

    paths = Paths.from_environment()
    config = load_config(paths)
    if is_own(paths):
        with suppress(OSError):  # so that a model can be copied there at once; a read-only place is still its location
            make_private_directory(paths.home)
            if config.cache_directory is None:  # another may be on a disk that is not mounted now
                paths.default_cache.mkdir(parents=True, exist_ok=True)
    if output_format is Format.json:
        output.document({"path": str(config.cache_path(paths)), "userSet": config.cache_directory is not None})
    else:
        output.line(f"{symbol('💾 ')}Cache directory path: {config.cache_path(paths)}")


@app.command("list")
@app.command("ls", hidden=True)
def list_cached(output_format: OutputOption = Format.text) -> None:
    """List the models on this machine, and downloads that are not complete."""
    from foundry_cli.cli import cache_list

    cache_list.show(output_format)


@app.command("cd")
def change_directory(
    path: Annotated[str, typer.Argument(help="The new cache directory; created when missing.", show_default=False)],
) -> None:
    """Keep models in another directory.

    The models in the old one stay there; those of them that are loaded go on answering until they are unloaded, but
    other commands do not find them any more. 'foundry cache move' takes the models along.
    """
    from foundry_cli.cli.cache_location import checked_directory, switch_cache

    directory = checked_directory(path)
    switch_cache(directory)
    output.line(f"{symbol('💾 ')}Cache directory path: {directory}")


@app.command("remove")
@app.command("rm", hidden=True)
def remove(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Aliases or model ids; '*' means all.", show_default=False),
    ] = None,
    yes: YesOption = False,
    every: Annotated[bool, typer.Option("--all", help="Every model in the cache.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also a model that is loaded; its answers end.")] = False,
    device: DeviceOption = Device.auto,
    output_format: OutputOption = Format.text,
) -> None:
    """Delete models, and downloads that are not complete, from the cache."""
    from foundry_cli.cli import cache_removal

    if bool(models) == every:
        raise typer.BadParameter("Name a model, or use --all.")
    cache_removal.remove(None if every else models, device.chosen, yes=yes, force=force, output_format=output_format)


@app.command("verify")
def verify(models: ModelsArgument = None, output_format: OutputOption = Format.text) -> None:
    """Read the files of models and compare them with what was downloaded."""
    from foundry_cli.cli import cache_verification

    if not cache_verification.verify(models or [], output_format):
        raise typer.Exit(ExitCode.FAILED)


@app.command("repair")
def repair(model: ModelArgument) -> None:
    """Fetch the damaged parts of a model again, and nothing else."""
    from foundry_cli.cli import cache_verification

    cache_verification.repair(model)


@app.command("move")
def move(
    directory: Annotated[str, typer.Argument(help="The new cache directory; created when missing.", show_default=False)],
) -> None:
    """Move all models to another directory. Until they are all there, the old ones stay in use."""
    from foundry_cli.cli import cache_move

    cache_move.move(directory)


@app.command("prune")
def prune(
    partials: Annotated[
        bool, typer.Option("--partials", help="Downloads that were not finished; without another choice they go, too.")
    ] = False,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Models not used for so many days.", show_default=False),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", metavar="SIZE", help="The least recently used models, until SIZE is left (20GB).", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    yes: YesOption = False,
    output_format: OutputOption = Format.text,
) -> None:
    """Delete what is not needed: remains of interrupted work, and models by age or size."""
    from foundry_cli.cli import cache_prune
    from foundry_cli.store.prune import PruneChoice, parse_size

    is_default = older_than is None and max_size is None
    choice = PruneChoice(partials or is_default, older_than, None if max_size is None else parse_size(max_size))
    if not cache_prune.prune(choice, dry_run=dry_run, yes=yes, output_format=output_format):
        raise typer.Exit(ExitCode.FAILED)


@app.command("export")
def export(
    directory: Annotated[str, typer.Argument(help="Where the mirror is written.", show_default=False)],
    models: ModelsArgument = None,
) -> None:
    """Write models as a mirror: a directory that other machines can use with 'foundry catalog add'."""
    from foundry_cli.cli import cache_exchange

    cache_exchange.export(directory, models or [])


@app.command("import")
def import_models(
    directory: Annotated[str, typer.Argument(help="A mirror, another cache, or the folder of one model.", show_default=False)],
) -> None:
    """Copy models from a directory into the cache."""
    from foundry_cli.cli import cache_exchange

    if not cache_exchange.import_models(directory):
        raise typer.Exit(ExitCode.FAILED)

"""`foundry cache …`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundry_cli.cli import output
from foundry_cli.cli.options import ModelArgument, OutputOption, group
from foundry_cli.cli.output import Format, symbol

if TYPE_CHECKING:
    from foundry_cli.types import ModelInfo

app = group("Manage the local cache")


@app.command("location")
def show_location(output_format: OutputOption = Format.text) -> None:
    """Show the directory where models are kept."""
    from foundry_cli.config import load_config
    from foundry_cli.paths import Paths, make_private_directory

    paths = Paths.from_environment()
    config = load_config(paths)
    with suppress(OSError):  # so that a model can be copied there at once; a read-only place is still its location
        make_private_directory(paths.home)
        config.cache_path(paths).mkdir(parents=True, exist_ok=True)
    if output_format is Format.json:
        output.document({"path": str(config.cache_path(paths)), "userSet": config.cache_directory is not None})
    else:
        output.line(f"{symbol('💾 ')}Cache directory path: {config.cache_path(paths)}")


@app.command("list")
@app.command("ls", hidden=True)
def list_cached(output_format: OutputOption = Format.text) -> None:
    """List the models on this machine."""
    from foundry_cli.cli.model import local_inventory

    models = [model for model in local_inventory().models() if model.is_cached]
    if output_format is Format.json:
        output.document({"models": [_fields(model) for model in models]})
    elif not models:
        output.line("No models cached on device")
    else:
        output.line("Models cached on device:")
        output.line(f"   {'Alias':<50}Model ID")
        for model in models:
            output.line(f"{symbol('💾 ') or '   '}{model.alias:<50}{model.id}")


def _fields(model: ModelInfo) -> dict[str, Any]:
    return {
        "alias": model.alias,
        "id": model.id,
        "fileSizeBytes": model.size_bytes,
        "path": str(model.path),
        "bundled": model.is_bundled,
    }


@app.command("cd")
def change_directory(
    path: Annotated[str, typer.Argument(help="The new cache directory; created when missing.", show_default=False)],
) -> None:
    """Keep models in another directory. The models in the old one stay there."""
    from dataclasses import replace

    from foundry_cli.cli.lifecycle import restart_if_running
    from foundry_cli.cli.settings import checked_directory
    from foundry_cli.config import load_config
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    directory = checked_directory(path)
    replace(load_config(paths, environment=False), cache_directory=directory).save(paths)
    restart_if_running(paths)
    output.line(f"{symbol('💾 ')}Cache directory path: {directory}")


@app.command("remove")
@app.command("rm", hidden=True)
def remove(
    model: ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model from the cache."""
    from foundry_cli.cli.model import local_inventory
    from foundry_cli.client.supervisor import find_service
    from foundry_cli.errors import BundledModelError
    from foundry_cli.paths import Paths
    from foundry_cli.store import cache

    known = local_inventory()
    info = known.resolve(model)
    if info.is_bundled:
        raise BundledModelError(
            f"The model {info.id} is part of the program and cannot be removed.", hint="It takes no place in the cache."
        )
    plan = cache.plan_removal(info, known.cache)
    output.line(f"{symbol('⚠️ ')}This will delete model '{info.alias} ({info.id})' from cache.")
    if not yes and not _confirm():
        output.line("Nothing was deleted.")
        raise typer.Exit(1)
    if client := find_service(Paths.from_environment()):
        client.remove(info.id)
    else:
        cache.remove(plan, known.cache)
    output.line(f"Deleted model {info.id} from the cache.")


def _confirm() -> bool:
    output.line(f"{symbol('⚠️ ')}Are you sure you want to delete this model from the local cache? (y/n)")
    output.flush()
    try:
        answer = input()
    except EOFError:
        output.note("Use --yes to delete without being asked.")
        return False
    return answer.strip().lower() in ("y", "yes")

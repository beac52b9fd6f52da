"""The work of `foundry cache export` and `foundry cache import`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from foundry_cli.cli import output
from foundry_cli.cli.cache_verification import reporting
from foundry_cli.cli.directories import given_directory
from foundry_cli.cli.errors import sentence
from foundry_cli.cli.inventory import local_inventory, own_inventory
from foundry_cli.cli.output import gigabytes
from foundry_cli.errors import ModelInvalidError, ModelNotFoundError
from foundry_cli.inventory import COMPLETE, Inventory, way_out
from foundry_cli.store import export as exporting
from foundry_cli.store import importing
from foundry_cli.types import ModelInfo


def export(directory: str, names: Sequence[str]) -> None:
    """Write the models called `names`, or all in the cache, as a mirror in `directory`."""
    destination = given_directory(directory)
    inventory = local_inventory()
    models = _chosen(inventory, names)
    with reporting() as report:
        result = exporting.export(models, destination, inventory.cache, report)
    for model in result.models:
        output.line(f"Exported {model.id}")
    output.line(f"{gigabytes(result.size_bytes)}; the mirror in {destination} has {result.models_in_mirror} models now.")
    output.line(f"Other machines use it with 'foundry catalog add {destination}', or with its address on a web server.")


def import_models(directory: str) -> bool:
    """Copy the models of `directory` into the cache; whether all of them are there now."""
    inventory = own_inventory()
    inventory.require_cache()
    with reporting() as report:
        result = importing.import_models(given_directory(directory), inventory.cache, report, waiting=cache(_tell_waiting))
    for model in result.imported:
        output.line(f"Imported {model.id}")
    for model in result.skipped:
        output.line(f"Model {model.id} was found in the local cache.")
    for model_id, error in result.failed:
        output.note(f"{model_id}: {sentence(error)}")
    return not result.failed


def _tell_waiting(model_id: str) -> None:
    output.note(f"Another process is at work on {model_id}; waiting for it.")


def _chosen(inventory: Inventory, names: Sequence[str]) -> list[ModelInfo]:
    """Complete models, each once. Raises `ModelNotFoundError`, `ModelInvalidError`, `CacheError`."""
    inventory.require_cache()
    entries = [inventory.find_entries(name)[0] for name in names]
    for entry in entries:
        if entry.state != COMPLETE:
            raise ModelInvalidError(f"{entry.model.id} is not complete.", hint=way_out(entry.model, entry.state))
    if not names:
        entries = [e for e in inventory.contents().entries if e.state == COMPLETE and not e.model.is_bundled]
        if not entries:
            raise ModelNotFoundError("There is no model in the cache.", hint="'foundry model download' fetches one.")
    return list({entry.model.id: entry.model for entry in entries}.values())

"""The work of `foundry cache prune`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from foundry_cli.cli import output
from foundry_cli.cli.cache_removal import confirm
from foundry_cli.cli.inventory import own_inventory
from foundry_cli.cli.output import Format, gigabytes
from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import find_service
from foundry_cli.errors import FoundryError, ModelInUseError
from foundry_cli.paths import Paths
from foundry_cli.store.prune import PruneChoice, PruneItem, execute, plan_prune
from foundry_cli.store.usage import read_usage
from foundry_cli.store.verdicts import store_verdict


def prune(choice: PruneChoice, *, dry_run: bool, yes: bool, output_format: Format) -> bool:
    """Delete what `choice` lets go, after showing it; whether all of it is gone."""
    inventory, paths = own_inventory(), Paths.from_environment()
    inventory.require_cache()
    client = find_service(paths)
    kept = client.loaded_models() if client else ()
    items = plan_prune(inventory.cache, choice, read_usage(paths), time.time(), kept)
    say = output.note if output_format is Format.json else output.line
    _show(items, say)
    is_wanted = bool(items) and not dry_run and (yes or confirm("delete this", say))
    failed = _delete(items, inventory.cache, client) if is_wanted else []
    gone = [item for item in items if item not in failed] if is_wanted else []
    if is_wanted:
        say(f"Deleted {gigabytes(sum(item.size_bytes for item in gone))}.")
    if output_format is Format.json:
        output.document({"planned": [_fields(item) for item in items], "deleted": [_fields(item) for item in gone]})
    return not failed and (is_wanted or dry_run or not items)


def _show(items: Sequence[PruneItem], say: output.Say) -> None:
    if not items:
        say("There is nothing to delete.")
        return
    say("This will be deleted:")
    for item in items:
        what = item.model.id if item.model else str(item.path)
        say(f"   {gigabytes(item.size_bytes):<13}{what} ({item.reason})")
    say(f"   {gigabytes(sum(item.size_bytes for item in items)):<13}in all")


def _delete(items: Sequence[PruneItem], cache: Path, client: ServiceClient | None) -> list[PruneItem]:
    """Delete everything that can be deleted; what could not."""
    failed = []
    for item in items:
        try:
            if item.is_complete and item.model and client and item.model.id in client.loaded_models():
                raise ModelInUseError(f"The model {item.model.id} has been loaded meanwhile.")
            execute(item, cache)
            if item.model:
                store_verdict(Paths.from_environment(), item.model.id, None)
        except FoundryError as error:
            output.note(error.message)
            failed.append(item)
    return failed


def _fields(item: PruneItem) -> dict[str, object]:
    model = item.model.id if item.model else None
    return {"id": model, "path": str(item.path), "fileSizeBytes": item.size_bytes, "reason": item.reason}

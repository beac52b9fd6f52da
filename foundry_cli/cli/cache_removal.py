"""The work of `foundry cache remove`: the plan, the question, the deletion."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from foundry_cli.cli import output
from foundry_cli.cli.errors import ExitCode, sentence
from foundry_cli.cli.inventory import own_inventory
from foundry_cli.cli.output import Format, gigabytes, symbol
from foundry_cli.client.supervisor import find_service
from foundry_cli.errors import BundledModelError, FoundryError, InvalidRequestError, ModelInUseError
from foundry_cli.inventory import CacheEntry, Inventory
from foundry_cli.paths import Paths
from foundry_cli.store.removal import RemovalPlan, plan_removal
from foundry_cli.store.removal import remove as remove_files
from foundry_cli.store.verdicts import store_verdict


def remove(names: Sequence[str] | None, device: str | None, *, yes: bool, force: bool, output_format: Format) -> None:
    """Delete the models called `names`, or all of them for None, after showing what goes."""
    inventory = own_inventory()
    entries = _chosen(inventory, names, device)
    plans = [plan_removal(entry.model, inventory.cache) for entry in entries]
    _refuse_loaded(entries, force=force)
    say = output.note if output_format is Format.json else output.line
    for plan in plans:
        _show(plan, say)
    if plans and not yes and not confirm("delete this model" if len(plans) == 1 else "delete these models", say):
        say("Nothing was deleted.")
        raise typer.Exit(ExitCode.FAILED)
    removed = _delete_all(plans, inventory, say, force=force)
    if output_format is Format.json:
        output.document({"removed": [{"id": plan.model.id, "fileSizeBytes": plan.size_bytes} for plan in removed]})
    elif not plans:
        output.line("No models cached on device")
    if len(removed) < len(plans):
        raise typer.Exit(ExitCode.FAILED)


def _delete_all(plans: Sequence[RemovalPlan], inventory: Inventory, say: output.Say, *, force: bool) -> list[RemovalPlan]:
    """What was deleted; of several models one that cannot be is no reason to keep the others, and a note tells of it."""
    removed: list[RemovalPlan] = []
    ids = dict.fromkeys(plan.model.id for plan in plans)
    for model_id in ids:
        copies = [plan for plan in plans if plan.model.id == model_id]
        try:
            _delete(copies, inventory, force=force)
        except FoundryError as error:
            if len(ids) == 1:
                raise
            output.note(f"{model_id}: {sentence(error)}")
        else:
            removed += copies
            say(f"Deleted model {model_id} from the cache.")
    return removed


def _chosen(inventory: Inventory, names: Sequence[str] | None, device: str | None) -> list[CacheEntry]:
    """What the names mean, each once. Raises `ModelNotFoundError`, `BundledModelError`, `CacheError`."""
    if names is None or "*" in names:
        inventory.require_cache()
        return [entry for entry in inventory.contents().entries if not entry.model.is_bundled]
    entries: dict[object, CacheEntry] = {}
    for name in names:
        found = inventory.find_entries(name, device)
        if all(entry.model.is_bundled for entry in found):
            raise BundledModelError(
                f"The model {found[0].model.id} is part of the program and cannot be removed.",
                hint="It takes no place in the cache.",
            )
        entries.update((entry.model.root, entry) for entry in found if not entry.model.is_bundled)
    return list(entries.values())


def _refuse_loaded(entries: Sequence[CacheEntry], *, force: bool) -> None:
    """Raise `ModelInUseError` before anything is asked or deleted; the service looks again when it deletes."""
    client = None if force else find_service(Paths.from_environment())
    loaded = client.loaded_models() if client else []
    for entry in entries:
        if entry.model.id in loaded:
            raise ModelInUseError(
                f"The model {entry.model.id} is loaded.",
                hint="Unload it with 'foundry model unload', or use --force to do both.",
            )


def _show(plan: RemovalPlan, say: output.Say) -> None:
    say(f"{symbol('⚠️ ')}This will delete model '{plan.model.alias} ({plan.model.id})' from cache.")
    say(f"   {gigabytes(plan.size_bytes)} in {plan.directory}")
    if plan.foreign:
        say(f"   {len(plan.foreign)} file(s) there are not part of the model and stay.")


def _delete(plans: Sequence[RemovalPlan], inventory: Inventory, *, force: bool) -> None:
    """Delete all copies of one model; a running service does it, because it knows what is loaded."""
    if client := find_service(Paths.from_environment()):
        client.remove(plans[0].model.id, force=force)
        return
    for plan in plans:
        remove_files(plan, inventory.cache)
    store_verdict(Paths.from_environment(), plans[0].model.id, None)


def confirm(work: str, say: output.Say) -> bool:
    """Whether the user agrees; nobody there means no."""
    if say is output.note:
        raise InvalidRequestError("With --output json nothing is asked.", hint="Add --yes.")
    say(f"{symbol('⚠️ ')}Are you sure you want to {work} from the local cache? (y/n)")
    output.flush()
    try:
        answer = input()
    except EOFError:
        output.note("Use --yes to delete without being asked.")
        return False
    return answer.strip().lower() in ("y", "yes")

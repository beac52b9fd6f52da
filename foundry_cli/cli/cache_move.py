"""The work of `foundry cache move`."""

from __future__ import annotations

from foundry_cli.cli import output
from foundry_cli.cli.cache_location import check_answering, checked_directory, switch_cache
from foundry_cli.cli.cache_verification import reporting
from foundry_cli.cli.inventory import own_inventory
from foundry_cli.cli.output import gigabytes, symbol
from foundry_cli.paths import Paths
from foundry_cli.store.move import copy_models, delete_moved, plan_move


def move(path: str) -> None:
    """Copy the models to `path`, use them there, then delete the old ones."""
    inventory = own_inventory()
    inventory.require_cache()
    check_answering(Paths.from_environment())  # before hours of copying
    plan = plan_move(inventory.cache, checked_directory(path))
    output.line(f"Copying {len(plan.items)} models, {gigabytes(plan.size_bytes)}, to {plan.destination}")
    output.flush()
    with reporting() as report:
        copied = copy_models(plan, report)
    switch_cache(plan.destination)
    try:
        for sentence in (*plan.left, *delete_moved(plan, copied)):
            output.note(sentence)
    except KeyboardInterrupt:
        output.note(
            f"\nStopped. The models are in {plan.destination}; what is left of them in {plan.source} is yours to delete."
        )
        raise
    output.line(f"{symbol('💾 ')}Cache directory path: {plan.destination}")

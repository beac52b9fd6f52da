"""What commands work on: the models that can be named here, with the settings in force."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from foundry_cli.cli import output

if TYPE_CHECKING:
    from foundry_cli.catalog.catalog import Catalog
    from foundry_cli.inventory import Inventory
    from foundry_cli.suitability import Machine
    from foundry_cli.types import ModelInfo

_FRESH_SECONDS = 6 * 3600


def local_catalog() -> Catalog:
    """The catalogs of the settings."""
    from foundry_cli.catalog.assembly import open_catalog
    from foundry_cli.config import load_config
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    return open_catalog(paths, load_config(paths))


def local_inventory(*, is_fresh: bool = False) -> Inventory:
    """The models of catalogs and cache; `is_fresh`: old lists are fetched again, with two seconds of patience."""
    from foundry_cli.catalog.refreshing import refresh_in_background
    from foundry_cli.config import load_config
    from foundry_cli.inventory import open_inventory
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    config = load_config(paths)
    inventory = open_inventory(paths, config)
    if is_fresh:
        refresh_in_background(paths, config, inventory.catalog)
        _say_how_old(inventory.catalog, is_offline=config.is_offline)
    return inventory


def own_inventory() -> Inventory:
    """The same for commands that change what is there. Raises `ForbiddenError` in the home of somebody else."""
    from foundry_cli.home import check_owner
    from foundry_cli.paths import Paths

    check_owner(Paths.from_environment())
    return local_inventory()


def external_models() -> list[ModelInfo]:
    """The models of the settings that other servers run."""
    from foundry_cli.config import load_config
    from foundry_cli.external_models import read_external_models
    from foundry_cli.paths import Paths

    return [model.info() for model in read_external_models(load_config(Paths.from_environment()))]


def local_machine() -> Machine:
    """What there is to run models on."""
    from foundry_cli.paths import Paths
    from foundry_cli.suitability import Machine

    return Machine.of(Paths.from_environment())


def _say_how_old(catalog: Catalog, *, is_offline: bool) -> None:
    """A note for every list that is not fresh; never part of the result."""
    from foundry_cli.http import is_loopback

    for source in catalog.sources:
        state = source.state()
        is_far = "://" in state.location and not is_loopback(state.location)
        problem = "" if is_offline and is_far else state.problem  # the last one may be long ago, and nothing was asked now
        is_old = state.refreshed is not None and time.time() - state.refreshed > _FRESH_SECONDS
        if is_old:
            why = f" It could not be fetched again: {_first_sentence(problem)}" if problem else ""
            output.note(f"The list of the catalog {state.name} is {age_text(state.refreshed or 0)} old.{why}")
        elif problem:
            output.note(f"The catalog {state.name} cannot be asked: {_first_sentence(problem)}")
        elif state.refreshed is None and "://" in state.location and not (is_offline and is_far):
            output.note(f"The catalog {state.name} has not answered yet; its list comes in the background.")


def _first_sentence(text: str) -> str:
    """All of it is shown by `foundry catalog list`."""
    return text.partition(". ")[0].rstrip(".") + "."


def age_text(refreshed: float) -> str:
    """How long ago `refreshed` (Unix time) was, as people say it."""
    seconds = max(0.0, time.time() - refreshed)
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"

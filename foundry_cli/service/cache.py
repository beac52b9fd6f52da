"""Routes that change the cache: remove a model, take over another directory."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from foundry_cli.config import load_config
from foundry_cli.errors import BundledModelError, ModelInUseError
from foundry_cli.inventory import open_inventory
from foundry_cli.paths import Paths, shown
from foundry_cli.service.guard import MANAGEMENT_PREFIX
from foundry_cli.service.query import truth
from foundry_cli.service.state import ServiceState, state_of
from foundry_cli.store.removal import plan_removal, remove
from foundry_cli.store.verdicts import store_verdict
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["Foundry"])


@router.post(f"{MANAGEMENT_PREFIX}/cache")
async def take_over_cache(request: Request) -> dict[str, Any]:
    """Use the cache directory of the settings from now on. Loaded models stay loaded, wherever they came from."""
    state = state_of(request)
    paths = Paths.from_environment()
    inventory = open_inventory(paths, await asyncio.to_thread(load_config, paths))
    await asyncio.to_thread(inventory.require_cache)
    state.inventory = inventory
    return {"path": shown(inventory.cache)}


@router.post(f"{MANAGEMENT_PREFIX}/remove/{{name:path}}")
async def remove_model(name: str, request: Request, force: str | None = None) -> dict[str, Any]:
    """Delete what the cache has of a model, complete or not; one that is loaded only with `force`."""
    state, inventory = state_of(request), state_of(request).inventory
    is_forced = truth("force", force)
    entries = await asyncio.to_thread(inventory.find_entries, name)
    models = [entry.model for entry in entries if not entry.model.is_bundled]
    if not models:
        raise BundledModelError(f"The model {entries[0].model.id} is part of the program and cannot be removed.")
    size = 0
    for model in models:
        plan = await asyncio.to_thread(plan_removal, model, inventory.cache)
        await _end_use(state, model, force=is_forced)
        await asyncio.to_thread(remove, plan, inventory.cache)
        size += plan.size_bytes
    await asyncio.to_thread(store_verdict, Paths.from_environment(), entries[0].model.id, None)
    return {"removed": entries[0].model.id, "bytes": size}


async def _end_use(state: ServiceState, model: ModelInfo, *, force: bool) -> None:
    """Take a model out of memory. Raises `ModelInUseError` unless `force`."""
    if not force and (state.models.is_loading(model) or state.models.is_loaded(model)):
        raise ModelInUseError(
            f"The model {model.id} is loaded.", hint="Unload it with 'foundry model unload', or use --force to do both."
        )
    await state.models.unload(model.id, force=force)

"""Loading and unloading over HTTP, by the routes of both generations of the original.

The older clients need an empty answer, the later ones look at the status only and get the state of the model as JSON.
A model is named by alias, name or id in any case, with `:` as it is or as `%3A`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from foundry_cli.api.errors import NOT_FOUND
from foundry_cli.errors import ModelInUseError, ModelNotFoundError
from foundry_cli.service.query import truth, whole_number
from foundry_cli.service.state import parse_device, state_of

router = APIRouter(tags=["Foundry"])


async def load_model(
    name: str,
    request: Request,
    ttl: str | None = None,
    unload: str | None = None,
    ep: str | None = None,
    device: str | None = None,
) -> bool:
    """Load a model; False when it was loaded already, and where it was wanted.

    `ttl`: seconds of idleness before it is unloaded; `unload=false` without a ttl: never. `ep`: the execution provider
    to load it with; a model that is loaded with another one is loaded again.
    """
    state = state_of(request)
    seconds = whole_number("ttl", ttl)
    keep = not seconds and not truth("unload", unload, default=True)
    if state.external.find(name):
        return False  # its server sees to that
    try:
        model = await state.resolve_cached(name, parse_device(device))
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{NOT_FOUND} {name!r}. {error.message}", hint=error.hint, param="model") from error
    placement = await state.place(model, ep)
    before = [loaded.engine for loaded in state.models.loaded()]
    loaded = await state.models.load(model, placement, ttl=seconds or None, keep=keep)
    return loaded.engine not in before


async def unload_model(name: str, request: Request, force: str | None = None) -> bool:
    """Unload a model, or give its load up; False when it is not loaded. Without `force` a model that is needed stays: 409."""
    state = state_of(request)
    if state.external.find(name):
        return False
    model = await state.resolve(name)
    return await state.models.unload(model.id, force=truth("force", force, default=False))


IsLoadedNow = Annotated[bool, Depends(load_model)]
IsUnloadedNow = Annotated[bool, Depends(unload_model)]


@router.get("/openai/load/{name:path}", response_class=Response)
async def load(is_loaded_now: IsLoadedNow) -> Response:
    """Load a model. `ttl`: seconds of idleness before it is unloaded; `unload=false` without a ttl: never."""
    return Response()


@router.get("/models/load/{name:path}")
async def load_later_form(is_loaded_now: IsLoadedNow) -> dict[str, str]:
    """Load a model, with the query of `/openai/load`. Answers when it is loaded, however long that takes."""
    return {"status": "loaded" if is_loaded_now else "already_loaded"}


@router.get("/openai/unload/{name:path}", response_class=Response)
async def unload(is_unloaded_now: IsUnloadedNow) -> Response:
    """Unload a model, or give its load up; nothing happens when it is not loaded.

    Without `force` a model that is answering, or that requests wait for, stays: 409.
    """
    return Response()


@router.get("/models/unload/{name:path}")
async def unload_later_form(is_unloaded_now: IsUnloadedNow) -> dict[str, str]:
    """Unload a model, with the query of `/openai/unload`."""
    return {"status": "unloaded" if is_unloaded_now else "not_loaded"}


@router.get("/openai/unloadall", response_class=Response)
async def unload_all(request: Request, force: str | None = None) -> Response:
    """Unload every model, and give up all loads; those that are answering, or that requests wait for, stay unless `force`."""
    state = state_of(request)
    is_forced = truth("force", force, default=False)
    busy = []
    loading = [loading.model.id for loading in state.models.loading()]
    for model_id in (*loading, *(loaded.model.id for loaded in state.models.loaded())):
        try:
            await state.models.unload(model_id, force=is_forced)
        except ModelInUseError:
            busy.append(model_id)
    if busy:
        raise ModelInUseError(f"Still needed, and therefore loaded: {', '.join(busy)}.", hint="Wait, or use force=true.")
    return Response()


@router.get("/models/loaded")
@router.get("/openai/loadedmodels")
async def loaded_models(request: Request) -> list[str]:
    """Ids of the models that are loaded."""
    return [loaded.model.id for loaded in state_of(request).models.loaded()]

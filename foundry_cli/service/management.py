"""Foundry's own routes. What the published clients of the original parse is kept to the letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from foundry_cli import __version__
from foundry_cli.api.errors import NOT_FOUND
from foundry_cli.errors import InvalidRequestError, ModelInUseError, ModelNotFoundError
from foundry_cli.execution_providers import CPU
from foundry_cli.service.errors import stopping
from foundry_cli.service.guard import MANAGEMENT_PREFIX
from foundry_cli.service.query import truth, whole_number
from foundry_cli.service.state import ServiceState, parse_device, state_of, valid_providers
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["Foundry"])

_DOCS_PAGE = Path(__file__).parent / "openapi.html"


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Answers as soon as requests are served, and until the service is told to stop."""
    state = state_of(request)
    if state.is_stopping():
        raise stopping()  # who looks for a service must not find one that is about to end
    record = state.record
    return {"status": "ok", "instanceId": record.instance_id, "pid": record.pid, "version": __version__}


@router.get("/openai/status")
async def status(request: Request) -> dict[str, Any]:
    """Where the service listens and where its models are."""
    state = state_of(request)
    return {
        "endpoints": [state.record.base_url],
        "modelDirPath": str(state.inventory.cache),
        "modelCachePath": str(state.inventory.cache),
        "pipeName": None,
        **_provider_fields(state),
        "pid": state.record.pid,
        "version": __version__,
        "startedAt": state.record.started_at,
        "defaultTtl": state.models.default_ttl,
        "loadedModels": [
            {
                "id": loaded.model.id,
                "alias": loaded.model.alias,
                "pid": loaded.engine.pid,
                "ttl": loaded.ttl,
                "ep": loaded.provider,
                "engine": loaded.engine.engine,
                "mostRunning": loaded.engine.most_running,
                "threads": loaded.engine.threads,
            }
            for loaded in state.models.loaded()
        ],
        "loadingModels": [{"id": loading.model.id, "ep": loading.provider} for loading in state.models.loading()],
    }


@router.get("/openai/models")
async def cached_models(request: Request) -> list[str]:
    """Ids of the models on this machine."""
    return [model.id for model in await state_of(request).known_models() if model.is_cached]


@router.get("/openai/loadedmodels")
async def loaded_models(request: Request) -> list[str]:
    """Ids of the models that are loaded."""
    return [loaded.model.id for loaded in state_of(request).models.loaded()]


@router.get("/foundry/list")
async def catalog(request: Request) -> list[dict[str, Any]]:
    """Everything that is known, the best variant of each alias first."""
    await state_of(request).refresh_lists()
    return [catalog_entry(model) for model in await state_of(request).known_models()]


@router.get("/openai/load/{name:path}", response_class=Response)
async def load(
    name: str,
    request: Request,
    ttl: str | None = None,
    unload: str | None = None,
    ep: str | None = None,
    device: str | None = None,
) -> Response:
    """Load a model. `ttl`: seconds of idleness before it is unloaded; `unload=false` without a ttl: never.

    `ep`: the execution provider to load it with; a model that is loaded with another one is loaded again.
    """
    state = state_of(request)
    seconds = whole_number("ttl", ttl)
    keep = not seconds and not truth("unload", unload, default=True)
    try:
        model = await state.resolve_cached(name, parse_device(device))
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{NOT_FOUND} {name!r}. {error.message}", hint=error.hint, param="model") from error
    await state.models.load(model, await state.place(model, ep), ttl=seconds or None, keep=keep)
    return Response()


@router.get("/openai/unload/{name:path}", response_class=Response)
async def unload(name: str, request: Request, force: str | None = None) -> Response:
    """Unload a model; nothing happens when it is not loaded. Without `force` a model that is answering stays: 409."""
    state = state_of(request)
    model = await state.resolve(name)
    await state.models.unload(model.id, force=truth("force", force, default=False))
    return Response()


@router.get("/openai/unloadall", response_class=Response)
async def unload_all(request: Request, force: str | None = None) -> Response:
    """Unload every model; those that are answering stay unless `force`."""
    state = state_of(request)
    is_forced = truth("force", force, default=False)
    busy = []
    for loaded in state.models.loaded():
        try:
            await state.models.unload(loaded.model.id, force=is_forced)
        except ModelInUseError:
            busy.append(loaded.model.id)
    if busy:
        raise ModelInUseError(f"Still answering, and therefore loaded: {', '.join(busy)}.", hint="Wait, or use force=true.")
    return Response()


@router.get("/openai/getgpudevice")
async def gpu_device() -> int:
    """Number of the GPU that models run on: the first one that the service sees."""
    return 0


@router.get("/openai/setgpudevice/{device_id}", response_class=Response)
async def choose_gpu_device(device_id: str) -> Response:
    """Only 0 can be chosen: which GPU is the first is for the environment of the service to say."""
    if whole_number("deviceId", device_id) != 0:
        message = f"deviceId: {device_id[:40]!r} cannot be chosen; models run on the first GPU, which is 0."
        raise InvalidRequestError(message, hint="Start the service with CUDA_VISIBLE_DEVICES set.", param="deviceId")
    return Response()


@router.post(f"{MANAGEMENT_PREFIX}/stop")
async def stop(request: Request) -> dict[str, str]:
    """Begin the shutdown: running answers get ten seconds."""
    state_of(request).stop()
    return {"status": "shutting_down"}


@router.get("/docs", include_in_schema=False, response_class=HTMLResponse)
async def docs() -> HTMLResponse:
    """The description of all routes as a page that needs nothing from the network."""
    return HTMLResponse(_DOCS_PAGE.read_text(encoding="utf-8"))


def catalog_entry(model: ModelInfo) -> dict[str, Any]:
    """One item of `/foundry/list`, with every key that the published clients require."""
    return {
        "name": model.id,
        "displayName": model.display_name or model.name,
        "alias": model.alias,
        "version": str(model.version),
        "publisher": model.publisher,
        "uri": model.uri,
        "parentModelUri": model.parent_uri,
        "license": model.license,
        "licenseDescription": model.license_description,
        "modelType": "ONNX",
        "providerType": model.provider_type,
        "promptTemplate": model.prompt_template or {},
        "task": model.task,
        "runtime": {"deviceType": model.device, "executionProvider": model.execution_provider},
        "fileSizeMb": model.size_bytes // (1024 * 1024),
        "modelSettings": {"parameters": []},
        "supportsToolCalling": model.supports_tool_calling,
        "maxOutputTokens": model.max_output_tokens,
        "contextLength": model.context_length,
        "minFLVersion": None,
        "cached": model.is_cached,
    }


def _provider_fields(state: ServiceState) -> dict[str, Any]:
    """What published clients show about execution providers; until they are known, only the CPU's is."""
    report = state.providers.known()
    names = report.names if report else (CPU,)
    text = f"Successfully downloaded and registered the following EPs: {', '.join(names)}." if report else _IN_PROGRESS
    return {
        "isAutoRegistrationResolved": report is not None,
        "autoRegistrationStatus": f"{text}\r\n{valid_providers(names)}",
        "validEps": list(names),
    }


_IN_PROGRESS = "Attempt 1: Autoregistration of certified execution providers in progress."

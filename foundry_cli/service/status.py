"""What the service says about itself. `/openai/status` and, by its later name, `/status`: the keys of both in one document."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request

from foundry_cli import __version__
from foundry_cli.engine.model_manager import LoadedModel, LoadingModel
from foundry_cli.execution_providers import CPU
from foundry_cli.paths import shown
from foundry_cli.service.errors import stopping
from foundry_cli.service.state import ServiceState, state_of, valid_providers

router = APIRouter(tags=["Foundry"])


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Answers as soon as requests are served, and until the service is told to stop."""
    state = state_of(request)
    if state.is_stopping():
        raise stopping()  # who looks for a service must not find one that is about to end
    identity = {"instanceId": state.record.instance_id, "pid": state.record.pid}
    return {"status": "ok", **identity, "version": __version__, "codeDigest": state.code_digest}


@router.get("/status")
@router.get("/openai/status")
async def status(request: Request) -> dict[str, Any]:
    """Where the service listens, where its models are, and which of them are loaded."""
    state = state_of(request)
    return {
        "endpoints": [state.record.base_url],
        "modelDirPath": shown(state.inventory.cache),
        "modelCachePath": shown(state.inventory.cache),
        "pipeName": None,
        **_provider_fields(state),
        "pid": state.record.pid,
        "version": __version__,
        "startedAt": state.record.started_at,
        "defaultTtl": state.models.default_ttl,
        "loadedModels": [_loaded_fields(loaded) for loaded in state.models.loaded()],
        "loadingModels": [_loading_fields(loading) for loading in state.models.loading()],
    }


def _loaded_fields(loaded: LoadedModel) -> dict[str, Any]:
    return {
        "id": loaded.model.id,
        "alias": loaded.model.alias,
        "pid": loaded.engine.pid,
        "ttl": loaded.ttl,
        "ep": loaded.provider,
        "engine": loaded.engine.engine,
        "kernels": loaded.engine.kernels,
        "mostRunning": loaded.engine.most_running,
        "threads": loaded.engine.threads,
    }


def _loading_fields(loading: LoadingModel) -> dict[str, Any]:
    return {
        "id": loading.model.id,
        "alias": loading.model.alias,
        "ep": loading.provider,
        "seconds": int(time.monotonic() - loading.began),
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

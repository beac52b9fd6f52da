"""The lists of models in the form of the original, with every key that its published clients need."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request

from foundry_cli.execution_providers import CPU, CUDA, WEBGPU, required_provider
from foundry_cli.service.state import state_of
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["Foundry"])

_STRICT_CLIENT = re.compile(r"foundry-local-python-sdk/0\.[34]\.")
_STRICT_PROVIDERS = (CPU, CUDA, WEBGPU, "QNNExecutionProvider")
"""One item with another provider, and those clients cannot read the list at all."""


@router.get("/openai/models")
async def cached_models(request: Request) -> list[str]:
    """Ids of the models on this machine, and of external ones."""
    state = state_of(request)
    cached = [model.id for model in await state.known_models() if model.is_cached]
    return [*cached, *(model.name for model in state.external.all())]


@router.get("/foundry/list")
async def catalog(request: Request) -> list[dict[str, Any]]:
    """What is on this machine or would run on it, the best variant of each alias first; then external models."""
    state = state_of(request)
    await state.refresh_lists()
    names = await state.providers.names()
    listed = [model for model in await state.known_models() if _is_listed(model, names)]
    entries = [catalog_entry(model, names) for model in (*listed, *state.external.infos())]
    if _STRICT_CLIENT.match(request.headers.get("user-agent", "")):
        return [entry for entry in entries if entry["runtime"]["executionProvider"] in _STRICT_PROVIDERS]
    return entries


def _is_listed(model: ModelInfo, names: tuple[str, ...]) -> bool:
    """Clients demand a provider that they see in the list, so it has none that is not on this machine."""
    return model.is_cached or required_provider(model, names) in names


def catalog_entry(model: ModelInfo, names: tuple[str, ...]) -> dict[str, Any]:
    """One item of `/foundry/list`. `names`: the execution providers of this machine."""
    provider = model.execution_provider or required_provider(model, names) or CPU
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
        "runtime": {"deviceType": model.device, "executionProvider": provider},
        "fileSizeMb": model.size_bytes // (1024 * 1024),
        "modelSettings": {"parameters": []},
        "supportsToolCalling": model.supports_tool_calling,
        "maxOutputTokens": model.max_output_tokens,
        "contextLength": model.context_length,
        "minFLVersion": model.min_version,
        "cached": model.is_cached,
    }

"""`GET /v1/models` and `/v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from foundry_cli.errors import ModelNotFoundError
from foundry_cli.service.state import state_of
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models on this machine, and external ones; every `id` can be used as `model`."""
    state = state_of(request)
    models = [model for model in await state.known_models() if model.is_cached]
    return {"object": "list", "data": [_fields(model) for model in (*models, *state.external.infos())]}


@router.get("/v1/models/{name:path}")
async def retrieve_model(name: str, request: Request) -> dict[str, Any]:
    """One model, by id, id without version, or alias."""
    state = state_of(request)
    if external := state.external.find(name):
        return _fields(external.info())
    model = await state.resolve(name)
    if not model.is_cached:
        raise ModelNotFoundError.named(name)
    return _fields(model)


def _fields(model: ModelInfo) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.publisher or "local",
        "parent": model.alias,
        "vision": False,
        "toolCalling": model.supports_tool_calling,
        "context_length": model.context_length,
        "maxInputTokens": model.context_length,
        "maxOutputTokens": model.max_output_tokens or model.context_length,
    }

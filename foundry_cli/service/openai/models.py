"""`GET /v1/models` and `/v1/models/{id}`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from fastapi import APIRouter, Request

from foundry_cli.errors import ModelNotFoundError
from foundry_cli.service.errors import is_by_anthropic
from foundry_cli.service.state import state_of
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["OpenAI"])

_LATEST = 253_402_300_799  # Unix seconds, in the year 9999


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models on this machine, and external ones; every `id` can be used as `model`.

    With the header `anthropic-version` in the form of Anthropic's interface.
    """
    state = state_of(request)
    models = [*(model for model in await state.known_models() if model.is_cached), *state.external.infos()]
    if is_by_anthropic(request.scope):
        data = [_anthropic_fields(model) for model in models]
        return {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return {"object": "list", "data": [_fields(model) for model in models]}


@router.get("/v1/models/{name:path}")
async def retrieve_model(name: str, request: Request) -> dict[str, Any]:
    """One model, by id, id without version, or alias."""
    state = state_of(request)
    fields = _anthropic_fields if is_by_anthropic(request.scope) else _fields
    if external := state.external.find(name):
        return fields(external.info())
    model = await state.resolve(name)
    if not model.is_cached:
        raise ModelNotFoundError.named(name)
    return fields(model)


def _anthropic_fields(model: ModelInfo) -> dict[str, Any]:
    """https://docs.anthropic.com/en/api/models-list"""
    created = datetime.fromtimestamp(min(max(model.created, 0), _LATEST), timezone.utc).isoformat().replace("+00:00", "Z")
    return {"type": "model", "id": model.id, "display_name": model.display_name or model.id, "created_at": created}


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
        **_limits(model),
    }


def _limits(model: ModelInfo) -> dict[str, int | None]:
    """As Foundry Local tells them: what may be read and what may be written, which together are the context."""
    context, most = model.context_length, model.max_output_tokens
    if context is None:
        return {"maxInputTokens": None, "maxOutputTokens": most}
    if most is None or most >= context:
        most = context // 2
    return {"maxInputTokens": context - most, "maxOutputTokens": most}

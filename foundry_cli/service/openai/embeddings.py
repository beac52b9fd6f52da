"""`POST /v1/embeddings`: models of other servers make them, see `external/forwarding.py`; those on this machine do not."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.json_body import read_json
from foundry_cli.service.state import state_of

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings")
async def create_embeddings(request: Request) -> None:
    """Embeddings by a model of another server; one of this machine is refused."""
    document: dict[str, Any] = await read_json(request, dict)
    name = document.get("model")
    if not isinstance(name, str) or not name.strip():
        raise InvalidRequestError("model: the name of a model is needed.", param="model")
    model = await state_of(request).resolve(name)
    raise InvalidRequestError(
        f"The model {model.id} makes no embeddings; here only models of other servers do.",
        hint="'foundry provider add NAME --url URL' adds one.",
        param="model",
    )

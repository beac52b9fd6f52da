"""Routes about external models. A request never carries a key, only the name of the variable or file that holds it.

Over the Unix socket a registration changes the settings. Over TCP, where the original has it, it lasts until the service
ends, and only the service's own user may make it: it decides where prompts go.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from foundry_cli.config import load_config
from foundry_cli.errors import ForbiddenError, InvalidRequestError, ModelNotFoundError
from foundry_cli.external_models import ExternalModel, read_external_models, save_external_model
from foundry_cli.paths import Paths
from foundry_cli.service.external.registry import ExternalModels
from foundry_cli.service.guard import MANAGEMENT_PREFIX, is_manager, is_same_user
from foundry_cli.service.json_body import read_json
from foundry_cli.service.state import ServiceState, state_of

router = APIRouter(tags=["Foundry"])

_FIELDS = {
    "typename": "provider",
    "modelname": "name",
    "baseuri": "url",
    "apikeyenv": "key_variable",
    "apikeyfile": "key_file",
}
_REQUIRED = {"typename": "TypeName", "modelname": "ModelName", "baseuri": "BaseUri"}
_NAMES = {"provider": "TypeName", "name": "ModelName", "model": "ModelName", "url": "BaseUri"}
_KEYS = ("apikey", "api_key", "key", "token", "authorization")
_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": list(_REQUIRED.values()),
                "properties": {
                    name: {"type": "string"} for name in (*_REQUIRED.values(), "apiKeyEnv", "apiKeyFile")
                },
            }
        }
    },
}  # fmt: skip


@router.post("/openai/register", response_class=Response, openapi_extra={"requestBody": _REQUEST_BODY})
async def register(request: Request) -> Response:
    """Know a model that another server with OpenAI's interface runs. `apiKeyEnv` or `apiKeyFile` say where its key is."""
    may_save = is_manager(request.scope)
    if "origin" in request.headers or not (may_save or is_same_user(request.scope)):
        raise ForbiddenError("Models are registered by the user of the service only.", hint="Use 'foundry provider add'.")
    model = await read_json(request, _read_registration)
    state = state_of(request)
    await _check_free(state, model)
    if may_save:
        await asyncio.to_thread(_save, model)
        await _take_over(state.external)
    else:
        state.external.register(model)
    return Response()


@router.get(f"{MANAGEMENT_PREFIX}/providers")
async def providers(request: Request) -> dict[str, Any]:
    """The external models that are known, and whether the service finds their keys."""
    return {"providers": await asyncio.to_thread(state_of(request).external.fields)}


@router.post(f"{MANAGEMENT_PREFIX}/providers")
async def take_over_providers(request: Request) -> dict[str, Any]:
    """Use the external models of the settings from now on; those that were registered stay."""
    await _take_over(state_of(request).external)
    return await providers(request)


@router.post(f"{MANAGEMENT_PREFIX}/providers/remove/{{name:path}}")
async def forget_provider(name: str, request: Request) -> dict[str, str]:
    """End a registration that is not of the settings."""
    if not state_of(request).external.forget(name):
        raise ModelNotFoundError(f"No external model {name[:200]!r} is registered.", param="name")
    return {"removed": name}


def _read_registration(document: dict[str, Any]) -> ExternalModel:
    given = {key.lower(): value for key, value in document.items() if value is not None}
    if found := next((key for key in _KEYS if key in given), None):
        hint = "Put it into a variable or a file of mode 0600, and give apiKeyEnv or apiKeyFile."
        raise InvalidRequestError("Keys are not taken from requests.", hint=hint, param=found)
    for key in _FIELDS:
        if key in given and not isinstance(given[key], str):
            raise InvalidRequestError(f"{key}: this is not a text.", param=_REQUIRED.get(key, key))
    if missing := [name for key, name in _REQUIRED.items() if not given.get(key)]:
        raise InvalidRequestError(f"{missing[0]} is missing.", param=missing[0])
    fields = {name: given[key] for key, name in _FIELDS.items() if given.get(key)}
    try:
        return ExternalModel(**fields, model=fields["name"])
    except InvalidRequestError as error:
        raise InvalidRequestError(error.message, hint=error.hint, param=_NAMES.get(error.param or "", error.param)) from error


async def _check_free(state: ServiceState, model: ExternalModel) -> None:
    """Raise `InvalidRequestError` when another model has that name: nobody's prompts go another way than before."""
    wanted = model.name.lower()
    for other in await state.known_models():
        if wanted in (other.id.lower(), other.name.lower(), other.alias.lower()):
            raise InvalidRequestError(f"{model.name!r} is the name of a model already.", param="ModelName")


def _save(model: ExternalModel) -> None:
    save_external_model(Paths.from_environment(), model)


async def _take_over(models: ExternalModels) -> None:
    config = await asyncio.to_thread(load_config, Paths.from_environment())
    models.take_over(read_external_models(config), is_offline=config.is_offline)

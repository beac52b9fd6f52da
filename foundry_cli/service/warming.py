"""Routes that get something ready before it is asked for: at once answered, done in the background, never missed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundry_cli.engine.model_manager import Placement
from foundry_cli.errors import FoundryError, InvalidRequestError
from foundry_cli.service.guard import MANAGEMENT_PREFIX
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.convert import ChatRequest, read_chat_request
from foundry_cli.service.state import ServiceState, state_of
from foundry_cli.types import ModelInfo

logger = logging.getLogger("foundry.models")

router = APIRouter(tags=["Foundry"])

_MOST_PREFILLS = 8  # of all chats together; what is beyond is read when it is asked for


class LoadedBefore(BaseModel):
    """A model as `/openai/status` told of it. `ttl` None: never unloaded; not given: the service's own."""

    model_config = ConfigDict(strict=True, extra="ignore")
    id: str
    ep: str = ""
    ttl: float | None = Field(default=None, gt=0)


class LoadedBeforeList(BaseModel):
    """All that were loaded, in the order of loading."""

    model_config = ConfigDict(strict=True, extra="ignore")
    models: list[LoadedBefore] = Field(max_length=100)


@router.post(f"{MANAGEMENT_PREFIX}/restore", status_code=202)
async def restore(request: Request) -> dict[str, str]:
    """Load the models that were loaded before a restart, one after the other; one that cannot be loaded is logged."""
    wanted = await read_json(request, _read_models)
    state_of(request).in_background(_load_all(state_of(request), wanted.models))
    return {"status": "accepted"}


@router.post(f"{MANAGEMENT_PREFIX}/prefill", status_code=202)
async def prefill(request: Request) -> dict[str, str]:
    """Let a loaded model read a chat whose next question is being typed. The body is as for a chat completion."""
    chat = await read_json(request, read_chat_request)
    state = state_of(request)
    if len(state.prefills) < _MOST_PREFILLS:
        task = state.in_background(_prefill(state, chat))
        state.prefills.add(task)
        task.add_done_callback(state.prefills.discard)
    return {"status": "accepted"}


def _read_models(document: dict[str, Any]) -> LoadedBeforeList:
    try:
        return LoadedBeforeList.model_validate(document)
    except ValidationError as error:
        raise InvalidRequestError("models: this is not a list of loaded models.", param="models") from error


async def _load_all(state: ServiceState, models: list[LoadedBefore]) -> None:
    """All loads are asked for at once: another restart, while they wait for each other, must know of them."""
    loads = []
    for wanted in models:
        try:
            model = await state.resolve_cached(wanted.id)
            placement = await state.place(model, wanted.ep)
        except FoundryError as error:
            _tell_failure(wanted, error)
            continue
        loads.append(asyncio.create_task(_load(state, wanted, model, placement)))
    await asyncio.gather(*loads)


async def _load(state: ServiceState, wanted: LoadedBefore, model: ModelInfo, placement: Placement) -> None:
    try:
        keep = wanted.ttl is None and "ttl" in wanted.model_fields_set
        await state.models.load(model, placement, ttl=wanted.ttl, keep=keep)
    except FoundryError as error:
        _tell_failure(wanted, error)


def _tell_failure(wanted: LoadedBefore, error: FoundryError) -> None:
    logger.warning("%s is not loaded again: %s", wanted.id, error.message)


async def _prefill(state: ServiceState, chat: ChatRequest) -> None:
    """Not as a user of the model: it may be unloaded meanwhile, and its time to live goes on."""
    request = replace(chat.generation, max_tokens=0, priority="background")
    try:
        model = await state.resolve(chat.wire.model)
        engines = [loaded.engine for loaded in state.models.loaded() if loaded.model.id == model.id]
        for engine in engines:
            async with aclosing(engine.generate(request)) as events:
                async for event in events:
                    logger.debug("%s has read a chat before the next question: %s", model.id, event)
    except FoundryError as error:
        logger.debug("%s has not read a chat before the next question: %s", chat.wire.model, error.message)

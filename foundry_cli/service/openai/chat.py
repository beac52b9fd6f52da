"""`POST /v1/chat/completions`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.openai import ChatCompletionRequest
from foundry_cli.api.sse import encode_event
from foundry_cli.engine.model_manager import Placement
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest
from foundry_cli.errors import EngineDiedError, FoundryError
from foundry_cli.service.errors import body_of, stopping, unexpected
from foundry_cli.service.event_stream import CLIENT_GONE, EventStream, until_disconnect
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.choices import ChoiceEvents, Events, interleaved
from foundry_cli.service.openai.convert import ChatRequest, read_chat_request
from foundry_cli.service.openai.writer import Answer, ChatCompletionStream, ChatCompletionWriter
from foundry_cli.service.state import ServiceState, state_of
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["OpenAI"])

_REQUEST_BODY = {
    "required": True,
    "content": {"application/json": {"schema": ChatCompletionRequest.model_json_schema()}},
}


@router.post("/v1/chat/completions", openapi_extra={"requestBody": _REQUEST_BODY}, response_class=JSONResponse)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, in one piece or, with `stream`, as server-sent events. Loads the model if need be."""
    chat = await read_json(request, read_chat_request)
    state = state_of(request)
    model = await state.resolve_cached(chat.wire.model)
    placement = await state.place(model, chat.wire.ep)
    writer = ChatCompletionWriter(uuid.uuid4().hex, model, has_logprobs=chat.generation.logprobs is not None)
    headers = {"x-foundry-ignored-fields": ", ".join(names)} if (names := _header_safe(chat.ignored_fields)) else {}
    if not chat.wire.stream:
        answer = await until_disconnect(request.receive, _whole(state, model, placement, chat, writer))
        return CLIENT_GONE if answer is None else JSONResponse(answer, headers=headers)
    events = generate_choices(state, model, placement, chat)
    # Errors before the first token still get their HTTP status.
    first = await until_disconnect(request.receive, _first_event(events))
    if first is None:
        return CLIENT_GONE
    include_usage = bool(chat.wire.stream_options and chat.wire.stream_options.include_usage)
    chunks = ChatCompletionStream(writer, chat.wire.n or 1, include_usage=include_usage)
    return EventStream(_stream(first, events, chunks), headers, last_words=encode_event(body_of(stopping())))


async def generate_choices(state: ServiceState, model: ModelInfo, placement: Placement, chat: ChatRequest) -> ChoiceEvents:
    """The events of all answers that `n` asks for, each a request of its own to the engine."""
    requests = [nth_request(chat.generation, index) for index in range(chat.wire.n or 1)]
    if len(requests) > 1 and placement.is_demanded:
        await state.models.load(model, placement)  # none of the answers could move it while the others wait for it
    answers = [generate(state, model, placement, each, chat.wire.ttl) for each in requests]
    async with aclosing(interleaved(answers)) as events:
        async for event in events:
            yield event


def nth_request(request: GenerationRequest, index: int) -> GenerationRequest:
    """The request for answer `index`: a seed that is given would make all of them the same."""
    seed = request.sampling.seed
    if seed is None or index == 0:
        return request
    return replace(request, sampling=replace(request.sampling, seed=seed + index))


async def generate(
    state: ServiceState, model: ModelInfo, placement: Placement, request: GenerationRequest, ttl: int | None
) -> Events:
    """The events of one answer. When the worker dies before the first one, the request is tried once more."""
    for is_last_try in (False, True):
        has_begun = False
        try:
            is_background = request.priority == "background"
            use = state.models.use(model, placement, ttl=ttl or None, is_background=is_background)
            async with use as engine, aclosing(engine.generate(request)) as events:
                async for event in events:
                    has_begun = True
                    yield replace(event, engine=engine.engine) if isinstance(event, Finish) else event
            return
        except EngineDiedError:
            if has_begun or is_last_try or state.models.is_closed:
                raise


async def _first_event(events: ChoiceEvents) -> tuple[int, EngineEvent]:
    return await anext(events)


async def _whole(
    state: ServiceState, model: ModelInfo, placement: Placement, chat: ChatRequest, writer: ChatCompletionWriter
) -> dict[str, Any]:
    """The complete answers. Nothing of them has been sent when the worker dies, so they are begun once more then."""
    try:
        return await _collect(generate_choices(state, model, placement, chat), writer, chat.wire.n or 1)
    except EngineDiedError:
        if state.models.is_closed:
            raise
        return await _collect(generate_choices(state, model, placement, chat), writer, chat.wire.n or 1)


async def _collect(events: ChoiceEvents, writer: ChatCompletionWriter, count: int) -> dict[str, Any]:
    answers = [Answer() for _ in range(count)]
    async with aclosing(events):
        async for index, event in events:
            answers[index].add(event)
    return writer.whole(answers)


async def _stream(
    first: tuple[int, EngineEvent], events: ChoiceEvents, chunks: ChatCompletionStream
) -> AsyncGenerator[bytes, None]:
    """The answers as server-sent events."""
    try:
        async with aclosing(events):
            yield chunks.add(*first)
            async for index, event in events:
                yield chunks.add(index, event)
    except FoundryError as error:
        yield encode_event(body_of(error))
    except Exception as error:  # noqa: BLE001 - the stream has begun: the client must still learn that it failed
        yield encode_event(body_of(unexpected(error)))


def _header_safe(names: list[str]) -> list[str]:
    """Names that fit into a header: printable ASCII, a few of them, not long."""
    safe = [name for name in names if name.isascii() and name.isprintable() and len(name) <= 64]
    return safe[:20]

"""`POST /v1/chat/completions`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.openai import ChatCompletionRequest
from foundry_cli.api.sse import DONE, encode_event
from foundry_cli.engine.model_manager import Placement
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, TextChunk
from foundry_cli.errors import EngineDiedError, FoundryError
from foundry_cli.service.errors import body_of, stopping, unexpected
from foundry_cli.service.event_stream import CLIENT_GONE, EventStream, until_disconnect
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.convert import (
    FINISH_REASONS,
    ChatCompletionWriter,
    ChatRequest,
    read_chat_request,
)
from foundry_cli.service.state import ServiceState, state_of
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["OpenAI"])

_REQUEST_BODY = {
    "required": True,
    "content": {"application/json": {"schema": ChatCompletionRequest.model_json_schema()}},
}
Events = AsyncGenerator[EngineEvent, None]


@router.post("/v1/chat/completions", openapi_extra={"requestBody": _REQUEST_BODY}, response_class=JSONResponse)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, in one piece or, with `stream`, as server-sent events. Loads the model if need be."""
    chat = await read_json(request, read_chat_request)
    state = state_of(request)
    model = await state.resolve_cached(chat.wire.model)
    placement = await state.place(model, chat.wire.ep)
    writer = ChatCompletionWriter(uuid.uuid4().hex, model)
    headers = {"x-foundry-ignored-fields": ", ".join(names)} if (names := _header_safe(chat.ignored_fields)) else {}
    if not chat.wire.stream:
        answer = await until_disconnect(request.receive, _whole(state, model, placement, chat, writer))
        return CLIENT_GONE if answer is None else JSONResponse(answer, headers=headers)
    events = generate(state, model, placement, chat.generation, chat.wire.ttl)
    # Errors before the first token still get their HTTP status.
    first = await until_disconnect(request.receive, _first_event(events))
    if first is None:
        return CLIENT_GONE
    include_usage = bool(chat.wire.stream_options and chat.wire.stream_options.include_usage)
    stream = _stream(first, events, writer, include_usage=include_usage)
    return EventStream(stream, headers, last_words=encode_event(body_of(stopping())))


async def generate(
    state: ServiceState, model: ModelInfo, placement: Placement, request: GenerationRequest, ttl: int | None
) -> Events:
    """The events of one answer. When the worker dies before the first one, the request is tried once more."""
    for is_last_try in (False, True):
        has_begun = False
        try:
            use = state.models.use(model, placement, ttl=ttl or None)
            async with use as engine, aclosing(engine.generate(request)) as events:
                async for event in events:
                    has_begun = True
                    yield event
            return
        except EngineDiedError:
            if has_begun or is_last_try or state.models.is_closed:
                raise


async def _first_event(events: Events) -> EngineEvent:
    return await anext(events)


async def _whole(
    state: ServiceState, model: ModelInfo, placement: Placement, chat: ChatRequest, writer: ChatCompletionWriter
) -> dict[str, Any]:
    """The complete answer. Nothing of it has been sent when the worker dies, so it is begun once more then."""
    try:
        return await _collect(generate(state, model, placement, chat.generation, chat.wire.ttl), writer)
    except EngineDiedError:
        if state.models.is_closed:
            raise
        return await _collect(generate(state, model, placement, chat.generation, chat.wire.ttl), writer)


async def _collect(events: Events, writer: ChatCompletionWriter) -> dict[str, Any]:
    parts: list[str] = []
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finish):
                return writer.whole("".join(parts), event)
            parts.append(event.text)
    raise AssertionError("an answer without an end")


async def _stream(
    first: EngineEvent, events: Events, writer: ChatCompletionWriter, *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The answer as server-sent events. The first token comes with the opening chunk, so it marks real progress."""
    opening = encode_event(writer.chunk({"role": "assistant", "content": ""}))
    try:
        async with aclosing(events):
            yield opening + _event_bytes(first, writer, include_usage=include_usage)
            if isinstance(first, TextChunk):
                async for event in events:
                    yield _event_bytes(event, writer, include_usage=include_usage)
    except FoundryError as error:
        yield encode_event(body_of(error))
    except Exception as error:  # noqa: BLE001 - the stream has begun: the client must still learn that it failed
        yield encode_event(body_of(unexpected(error)))


def _event_bytes(event: EngineEvent, writer: ChatCompletionWriter, *, include_usage: bool) -> bytes:
    if isinstance(event, TextChunk):
        return writer.text_event(event.text)
    ending = encode_event(writer.chunk({}, FINISH_REASONS[event.reason]))
    if include_usage:
        ending += encode_event(writer.usage_chunk(event))
    return ending + DONE


def _header_safe(names: list[str]) -> list[str]:
    """Names that fit into a header: printable ASCII, a few of them, not long."""
    safe = [name for name in names if name.isascii() and name.isprintable() and len(name) <= 64]
    return safe[:20]

"""`POST /v1/chat/completions`."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.openai import ChatCompletionRequest
from foundry_cli.service.event_stream import CLIENT_GONE
from foundry_cli.service.generation import collect, prepare, stream
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.convert import read_chat_request
from foundry_cli.service.openai.writer import ChatCompletionStream, ChatCompletionWriter

router = APIRouter(tags=["OpenAI"])

_REQUEST_BODY = {
    "required": True,
    "content": {"application/json": {"schema": ChatCompletionRequest.model_json_schema()}},
}


@router.post("/v1/chat/completions", openapi_extra={"requestBody": _REQUEST_BODY}, response_class=JSONResponse)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, in one piece or, with `stream`, as server-sent events. Loads the model if need be."""
    chat = await read_json(request, read_chat_request)
    wire = chat.wire
    job = await prepare(request, wire.model, chat.generation, count=wire.n or 1, ttl=wire.ttl, ep=wire.ep)
    writer = ChatCompletionWriter(uuid.uuid4().hex, job.model, has_logprobs=chat.generation.logprobs is not None)
    headers = {"x-foundry-ignored-fields": ", ".join(names)} if (names := _header_safe(chat.ignored_fields)) else {}
    if not wire.stream:
        answers = await collect(request, job)
        return CLIENT_GONE if answers is None else JSONResponse(writer.whole(answers), headers=headers)
    include_usage = bool(wire.stream_options and wire.stream_options.include_usage)
    return await stream(request, job, ChatCompletionStream(writer, job.count, include_usage=include_usage), headers)


def _header_safe(names: list[str]) -> list[str]:
    """Names that fit into a header: printable ASCII, a few of them, not long."""
    safe = [name for name in names if name.isascii() and name.isprintable() and len(name) <= 64]
    return safe[:20]

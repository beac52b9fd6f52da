"""`POST /v1/chat/completions`."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.openai import ChatCompletionRequest
from foundry_cli.service.event_stream import CLIENT_GONE
from foundry_cli.service.fields import ignored_header
from foundry_cli.service.generation import collect, prepare, stream
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.chat_tools import is_older_form
from foundry_cli.service.openai.convert import read_chat_request
from foundry_cli.service.openai.writer import ChatCompletionStream, ChatCompletionWriter
from foundry_cli.service.request_body import takes

router = APIRouter(tags=["OpenAI"])

_PATH = "/v1/chat/completions"


@router.post(_PATH, response_class=JSONResponse)
@takes(ChatCompletionRequest)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, in one piece or, with `stream`, as server-sent events. Loads the model if need be."""
    chat = await read_json(request, read_chat_request)
    wire, headers = chat.wire, ignored_header(request, chat.ignored_fields)
    job = await prepare(request, wire.model, chat.generation, count=wire.n or 1, ttl=wire.ttl, ep=wire.ep)
    writer = ChatCompletionWriter(
        uuid.uuid4().hex, job.model, has_logprobs=chat.generation.logprobs is not None, is_older=is_older_form(wire)
    )
    if not wire.stream:
        answers = await collect(request, job)
        return CLIENT_GONE if answers is None else JSONResponse(writer.whole(answers), headers=headers)
    include_usage = bool(wire.stream_options and wire.stream_options.include_usage)
    return await stream(request, job, ChatCompletionStream(writer, job.count, include_usage=include_usage), headers)

"""`POST /v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.anthropic import ConversationRequest, MessageRequest
from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.anthropic.conversion import (
    NAMES,
    Conversation,
    read_count_request,
    read_message_request,
    shows_thinking,
)
from foundry_cli.service.anthropic.writer import MessageStream, MessageWriter
from foundry_cli.service.event_stream import CLIENT_GONE
from foundry_cli.service.fields import ignored_header, renamed
from foundry_cli.service.generation import collect, prepare, stream
from foundry_cli.service.json_body import read_json
from foundry_cli.service.request_body import takes
from foundry_cli.service.tokens import prompt_tokens

router = APIRouter(tags=["Anthropic"])


_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"


@router.post(_MESSAGES, response_class=JSONResponse)
@takes(MessageRequest)
async def create_message(request: Request) -> Response:
    """Answer a conversation, in one piece or, with `stream`, as server-sent events. Loads the model if need be."""
    conversation = await read_json(request, read_message_request)
    try:
        return await _answer(request, conversation)
    except InvalidRequestError as error:
        raise renamed(error, NAMES) from error


async def _answer(request: Request, conversation: Conversation[MessageRequest]) -> Response:
    wire, headers = conversation.wire, ignored_header(request, conversation.ignored_fields)
    job = await prepare(request, wire.model, conversation.generation, ttl=wire.ttl, ep=wire.ep)
    writer = MessageWriter(uuid.uuid4().hex, job.model, wire.max_tokens, has_thinking=shows_thinking(wire))
    if wire.stream:
        return await stream(request, job, MessageStream(writer), headers)
    answers = await collect(request, job)
    return CLIENT_GONE if answers is None else JSONResponse(writer.whole(answers[0]), headers=headers)


@router.post(_COUNT, response_class=JSONResponse)
@takes(ConversationRequest)
async def count_tokens(request: Request) -> Response:
    """How many tokens a message with this body would read."""
    conversation = await read_json(request, read_count_request)
    wire, headers = conversation.wire, ignored_header(request, conversation.ignored_fields)
    try:
        job = await prepare(request, wire.model, conversation.generation, ttl=wire.ttl, ep=wire.ep)
        tokens = await prompt_tokens(request, job)
    except InvalidRequestError as error:
        raise renamed(error, NAMES) from error
    if tokens is None:
        return CLIENT_GONE
    return JSONResponse({"input_tokens": len(tokens)}, headers=headers)

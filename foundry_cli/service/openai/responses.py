"""`/v1/responses`: create, look up, list, cancel and delete responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.responses import Includable, ResponsesRequest
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.event_stream import CLIENT_GONE
from foundry_cli.service.fields import ignored_header, renamed
from foundry_cli.service.generation import collect, prepare, stream
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.paging import page_of, read_page
from foundry_cli.service.openai.response_conversion import NAMES, ResponseRequest, read_response_request
from foundry_cli.service.openai.response_stream import ResponseStream
from foundry_cli.service.openai.response_writer import ResponseWriter
from foundry_cli.service.query import truth
from foundry_cli.service.request_body import takes
from foundry_cli.service.state import state_of
from foundry_cli.service.tokens import prompt_tokens

router = APIRouter(tags=["OpenAI"])

_PATH = "/v1/responses"


@router.post(_PATH, response_class=JSONResponse)
@takes(ResponsesRequest)
async def create_response(request: Request) -> Response:
    """Answer items, in one piece or, with `stream`, as server-sent events. Loads the model if need be."""
    store = state_of(request).responses
    asked = await read_json(request, lambda document: read_response_request(document, store))
    try:
        return await _respond(request, asked)
    except InvalidRequestError as error:
        raise renamed(error, NAMES) from error


async def _respond(request: Request, asked: ResponseRequest) -> Response:
    store, wire = state_of(request).responses, asked.wire
    headers = ignored_header(request, asked.ignored_fields)
    job = await prepare(request, wire.model, asked.generation, ttl=wire.ttl, ep=wire.ep)
    writer = ResponseWriter(job.model, wire)
    keep: Callable[[dict[str, Any]], None] = partial(store.keep, conversation=asked.conversation)
    if wire.stream:
        encoder = ResponseStream(writer, keep if asked.is_stored else _forget)
        if asked.is_stored:
            job = replace(job, cancellation=partial(store.running, writer.identity, encoder.cancel, encoder.show))
        return await stream(request, job, encoder, headers)
    answers = await collect(request, job)
    if answers is None:
        return CLIENT_GONE
    response = writer.whole(answers[0])
    if asked.is_stored:
        keep(response)
    return JSONResponse(response, headers=headers)


def _forget(_: dict[str, Any]) -> None:
    """Keep nothing."""


@router.post(_PATH + "/input_tokens", response_class=JSONResponse)
@takes(ResponsesRequest)
async def count_input_tokens(request: Request) -> Response:
    """How many tokens a response with this body would read."""
    store = state_of(request).responses
    asked = await read_json(request, lambda document: read_response_request(document, store))
    headers = ignored_header(request, asked.ignored_fields)
    try:
        job = await prepare(request, asked.wire.model, asked.generation, ttl=asked.wire.ttl, ep=asked.wire.ep)
        tokens = await prompt_tokens(request, job)
    except InvalidRequestError as error:
        raise renamed(error, NAMES) from error
    if tokens is None:
        return CLIENT_GONE
    return JSONResponse({"object": "response.input_tokens", "input_tokens": len(tokens)}, headers=headers)


@router.get(_PATH, response_class=JSONResponse)
async def list_responses(
    request: Request, limit: str | None = None, order: str | None = None, after: str | None = None
) -> Response:
    """The responses that are stored, the newest first unless `order` is asc."""
    page = page_of(state_of(request).responses.oldest_first(), read_page(limit, order, after))
    return await asyncio.to_thread(JSONResponse, page)


@router.get(_PATH + "/{identity}", response_class=JSONResponse)
async def retrieve_response(identity: str, request: Request, stream: str | None = None) -> Response:
    """A response that is stored, or that is being streamed and will be."""
    _check_include(request)
    if truth("stream", stream):
        raise UnsupportedFieldError("stream: a stored response is not told in events again.", param="stream")
    return JSONResponse(state_of(request).responses.show(identity))


@router.delete(_PATH + "/{identity}")
async def delete_response(identity: str, request: Request) -> dict[str, Any]:
    """Forget a response. Those that follow it keep what they have of its conversation."""
    state_of(request).responses.delete(identity)
    return {"id": identity, "object": "response", "deleted": True}


@router.post(_PATH + "/{identity}/cancel", response_class=JSONResponse)
async def cancel_response(identity: str, request: Request) -> Response:
    """End a response that is being streamed; it is stored as it is then."""
    return JSONResponse(state_of(request).responses.cancel(identity))


@router.get(_PATH + "/{identity}/input_items", response_class=JSONResponse)
async def list_input_items(
    identity: str, request: Request, limit: str | None = None, order: str | None = None, after: str | None = None
) -> Response:
    """All that a stored response is an answer to, but for its instructions; the last item first unless `order` is asc."""
    _check_include(request)
    items = state_of(request).responses.find(identity).conversation.items
    return await asyncio.to_thread(JSONResponse, page_of(items, read_page(limit, order, after)))


def _check_include(request: Request) -> None:
    """What there is of log-probabilities is always given; the other values name what never occurs here."""
    query = request.query_params
    for value in (*query.getlist("include"), *query.getlist("include[]")):
        if value not in get_args(Includable):
            raise InvalidRequestError(f"include: {value[:60]!r} is not known.", param="include")

"""`POST /tokenize`, `/detokenize` and the route of the original that counts the tokens of a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.openai import ChatCompletionRequest
from foundry_cli.api.tokens import TOKENIZE_UNSUPPORTED_FIELDS, DetokenizeRequest, TokenizeRequest
from foundry_cli.engine.request import GenerationRequest
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.event_stream import CLIENT_GONE
from foundry_cli.service.fields import ignored_header, refuse_fields, validated
from foundry_cli.service.generation import prepare
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.convert import read_chat_request
from foundry_cli.service.request_body import takes
from foundry_cli.service.tokens import converted, prompt_tokens

router = APIRouter(tags=["Tokens"])

_TOKENIZE, _DETOKENIZE, _COUNT = "/tokenize", "/detokenize", "/v1/chat/completions/tokenizer/encode/count"
_OWN_FIELDS = frozenset(TokenizeRequest.model_fields) - {"model", "messages", "ttl", "ep"}


@dataclass(frozen=True)
class Tokenize:
    """A valid request: as sent, for the engine, and what nobody here knows of it."""

    wire: TokenizeRequest
    generation: GenerationRequest
    ignored_fields: list[str]


@router.post(_TOKENIZE, response_class=JSONResponse)
@takes(TokenizeRequest)
async def tokenize(request: Request) -> Response:
    """The tokens that the model would be given: of a text as it is, or of a conversation with the chat template."""
    wanted = await read_json(request, read_tokenize)
    headers = ignored_header(request, wanted.ignored_fields)
    job = await prepare(request, wanted.wire.model, wanted.generation, ttl=wanted.wire.ttl, ep=wanted.wire.ep)
    tokens = [] if wanted.generation.prompt == "" else await prompt_tokens(request, job)
    if tokens is None:
        return CLIENT_GONE
    return JSONResponse({"tokens": tokens, "count": len(tokens)}, headers=headers)


@router.post(_DETOKENIZE, response_class=JSONResponse)
@takes(DetokenizeRequest)
async def detokenize(request: Request) -> Response:
    """The text of tokens, control tokens left out."""
    wire = await read_json(request, lambda document: validated(DetokenizeRequest, document))
    headers = ignored_header(request, sorted(wire.model_extra or {}))
    job = await prepare(request, wire.model, GenerationRequest(), ttl=wire.ttl, ep=wire.ep)
    text = await converted(request, job, lambda engine: engine.detokenize(wire.tokens))
    if text is None:
        return CLIENT_GONE
    return JSONResponse({"content": text}, headers=headers)


@router.post(_COUNT, response_class=JSONResponse)
@takes(ChatCompletionRequest)
async def count_tokens(request: Request) -> Response:
    """How many tokens a chat completion with this body would read."""
    chat = await read_json(request, read_chat_request)
    headers = ignored_header(request, chat.ignored_fields)
    job = await prepare(request, chat.wire.model, chat.generation, ttl=chat.wire.ttl, ep=chat.wire.ep)
    tokens = await prompt_tokens(request, job)
    if tokens is None:
        return CLIENT_GONE
    return JSONResponse({"tokenCount": len(tokens)}, headers=headers)


def read_tokenize(document: dict[str, Any]) -> Tokenize:
    """All that can be done with a request body before a model is needed. Raises `InvalidRequestError` naming the field."""
    wire = validated(TokenizeRequest, document)
    refuse_fields(wire, TOKENIZE_UNSUPPORTED_FIELDS)
    for name in ("add_special", "add_special_tokens", "add_generation_prompt"):
        if getattr(wire, name) is False:
            raise UnsupportedFieldError(f"{name}: the tokens are always those that the model would be given.", param=name)
    given = [name for name in ("content", "prompt", "messages") if getattr(wire, name) is not None]
    if len(given) != 1:
        raise InvalidRequestError("content: one of content, prompt and messages is needed, and only one.", param="content")
    if wire.messages is None:
        ignored = set(wire.model_extra or {}) - set(TOKENIZE_UNSUPPORTED_FIELDS)
        return Tokenize(wire, GenerationRequest(prompt=wire.content or wire.prompt or ""), sorted(ignored))
    unknown = _OWN_FIELDS | set(TOKENIZE_UNSUPPORTED_FIELDS)
    chat = read_chat_request({name: value for name, value in document.items() if name not in unknown})
    return Tokenize(wire, chat.generation, chat.ignored_fields)

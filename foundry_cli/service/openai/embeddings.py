"""`POST /v1/embeddings`: vectors of texts. Models of other servers get their requests by `external/forwarding.py`."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.embeddings import EmbeddingRequest
from foundry_cli.engine.process import Embeddings
from foundry_cli.service.event_stream import CLIENT_GONE
from foundry_cli.service.fields import ignored_header, validated
from foundry_cli.service.generation import prepare_embedding
from foundry_cli.service.json_body import read_json
from foundry_cli.service.request_body import takes
from foundry_cli.service.tokens import converted

router = APIRouter(tags=["OpenAI"])

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class WantedEmbeddings:
    """A valid request: as sent, what vectors are wanted of, and what nobody here knows of it."""

    wire: EmbeddingRequest
    entries: list[str | Sequence[int]]
    ignored_fields: list[str]


@router.post("/v1/embeddings", response_class=JSONResponse)
@takes(EmbeddingRequest)
async def create_embeddings(request: Request) -> Response:
    """A vector for each text, or list of tokens. Loads the model if need be."""
    wanted = await read_json(request, read_embeddings)
    headers = ignored_header(request, wanted.ignored_fields)
    wire = wanted.wire
    job = await prepare_embedding(request, wire.model, ttl=wire.ttl, ep=wire.ep)
    made = await converted(request, job, lambda engine: engine.embed(wanted.entries, wire.dimensions))
    if made is None:
        return CLIENT_GONE
    is_base64 = wire.encoding_format == "base64"
    body = await asyncio.to_thread(write_embeddings, job.model.id, made, is_base64=is_base64)  # may be tens of megabytes
    return Response(body, media_type="application/json", headers=headers)


def read_embeddings(document: dict[str, Any]) -> WantedEmbeddings:
    """All that can be done with a request body before a model is needed. Raises `InvalidRequestError` naming the field."""
    wire = validated(EmbeddingRequest, document)
    return WantedEmbeddings(wire, _entries(wire), sorted(wire.model_extra or {}))


def _entries(wire: EmbeddingRequest) -> list[str | Sequence[int]]:
    if isinstance(wire.input, str):
        return [wire.input]
    entries: list[Any] = list(wire.input)
    return [entries] if isinstance(entries[0], int) else entries


def write_embeddings(model: str, made: Embeddings, *, is_base64: bool) -> bytes:
    """The answer as JSON; numbers with as many digits as float32 needs."""
    data = [_entry(index, _text(vector) if is_base64 else _numbers(vector)) for index, vector in enumerate(made.vectors)]
    usage = f'{{"prompt_tokens":{made.tokens},"total_tokens":{made.tokens}}}'
    document = f'{{"object":"list","data":[{",".join(data)}],"model":{json.dumps(model)},"usage":{usage}}}'
    return document.encode()


def _entry(index: int, embedding: str) -> str:
    return f'{{"object":"embedding","index":{index},"embedding":{embedding}}}'


def _text(vector: bytes) -> str:
    return f'"{base64.b64encode(vector).decode()}"'


def _numbers(vector: bytes) -> str:
    numbers = struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)
    return f"[{','.join(map('{:.9g}'.format, numbers))}]"

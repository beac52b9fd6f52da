"""`POST /v1/completions`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.api.completions import CompletionRequest
from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.request import Finish, Timing, Usage
from foundry_cli.errors import ContextLengthError
from foundry_cli.service.answer import Answer
from foundry_cli.service.event_stream import CLIENT_GONE
from foundry_cli.service.fields import ignored_header
from foundry_cli.service.generation import Job, collect, prepare, stream
from foundry_cli.service.json_body import read_json
from foundry_cli.service.openai.completion_conversion import Completion, read_completion
from foundry_cli.service.openai.completion_writer import CompletionStream, CompletionWriter
from foundry_cli.service.request_body import takes
from foundry_cli.service.tokens import converted, prompt_texts

router = APIRouter(tags=["OpenAI"])

_PATH = "/v1/completions"


@router.post(_PATH, response_class=JSONResponse)
@takes(CompletionRequest)
async def create_completion(request: Request) -> Response:
    """Continue one or several texts as they are, without a chat template. Loads the model if need be."""
    completion = await read_json(request, read_completion)
    headers = ignored_header(request, completion.ignored_fields)
    wire, (first, *following) = completion.wire, completion.generations
    job = await prepare(request, wire.model, first, count=completion.count, ttl=wire.ttl, ep=wire.ep, following=following)
    echoes: Sequence[str] | None = [""] * len(completion.generations)
    if wire.echo:
        echoes = await converted(request, job, lambda engine: prompt_texts(engine, completion.generations))
    if echoes is None:
        return CLIENT_GONE
    writer = CompletionWriter(uuid.uuid4().hex, job.model, echoes, job.count, has_logprobs=wire.logprobs is not None)
    if wire.max_tokens == 0:
        return await _without_answer(request, job, completion, writer, headers)
    if wire.stream:
        return await stream(request, job, _stream(completion, writer), headers)
    answers = await collect(request, job)
    return CLIENT_GONE if answers is None else JSONResponse(writer.whole(answers), headers=headers)


def _stream(completion: Completion, writer: CompletionWriter) -> CompletionStream:
    options = completion.wire.stream_options
    return CompletionStream(writer, include_usage=bool(options and options.include_usage))


async def _without_answer(
    request: Request, job: Job, completion: Completion, writer: CompletionWriter, headers: dict[str, str]
) -> Response:
    """With `max_tokens` 0 the prompts are only counted, and told again when `echo` wants it."""
    finishes = await converted(request, job, lambda engine: _counted(engine, job))
    if finishes is None:
        return CLIENT_GONE
    if completion.wire.stream:
        encoder = _stream(completion, writer)
        events = b"".join(encoder.add(index, finish) for index, finish in enumerate(finishes))
        return Response(events, media_type="text/event-stream", headers={**headers, "cache-control": "no-store"})
    return JSONResponse(writer.whole([Answer(finish) for finish in finishes]), headers=headers)


async def _counted(engine: EngineProcess, job: Job) -> list[Finish]:
    counts = [len(await engine.tokenize(generation)) for generation in (job.request, *job.following)]
    if max(counts) > engine.context_length:
        message = f"This model's maximum context length is {engine.context_length} tokens. A prompt has {max(counts)}."
        raise ContextLengthError(message, hint="Shorten it.", param="prompt")
    finishes = [Finish("length", Usage(count), Timing(), engine=engine.engine) for count in counts]
    return [finish for finish in finishes for _ in range(job.count)]

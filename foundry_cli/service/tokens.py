"""Text to tokens and back, as the worker of a model does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request

from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.request import GenerationRequest
from foundry_cli.errors import EngineDiedError
from foundry_cli.service.event_stream import until_disconnect
from foundry_cli.service.generation import Job

T = TypeVar("T")


async def converted(request: Request, job: Job, work: Callable[[EngineProcess], Awaitable[T]]) -> T | None:
    """What `work` makes of the worker of the job's model, None when the client has gone. Once more when the worker dies."""
    return await until_disconnect(request.receive, _converted(job, work))


async def prompt_tokens(request: Request, job: Job) -> list[int] | None:
    """The tokens of the prompt that the job's request makes. Raises as an answer to it would."""
    return await converted(request, job, lambda engine: engine.tokenize(job.request))


async def prompt_texts(engine: EngineProcess, generations: tuple[GenerationRequest, ...]) -> list[str]:
    """The texts of prompts that are given as text or as tokens."""
    prompts = [generation.prompt or "" for generation in generations]
    return [prompt if isinstance(prompt, str) else await engine.detokenize(prompt) for prompt in prompts]


async def _converted(job: Job, work: Callable[[EngineProcess], Awaitable[T]]) -> T:
    try:
        return await _once(job, work)
    except EngineDiedError:
        if job.state.models.is_closed:
            raise
        return await _once(job, work)


async def _once(job: Job, work: Callable[[EngineProcess], Awaitable[T]]) -> T:
    async with job.state.models.use(job.model, job.placement, ttl=job.ttl) as engine:
        return await work(engine)

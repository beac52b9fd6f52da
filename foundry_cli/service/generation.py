"""From a request to the events of its answers, whichever interface it came by.

`prepare` finds the model, then either `collect` gives the answers whole, or `stream` makes a response of server-sent
events. Both end at once when the client goes away, and begin once more when the worker dies before anything was sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from fastapi import Request
from fastapi.responses import Response

from foundry_cli.engine.model_manager import Placement
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, Progress
from foundry_cli.errors import EngineDiedError, FoundryError
from foundry_cli.service.answer import Answer
from foundry_cli.service.cancellation import Cancellation, cancellable
from foundry_cli.service.choices import ChoiceEvents, Events, interleaved
from foundry_cli.service.errors import stopping, unexpected
from foundry_cli.service.event_stream import CLIENT_GONE, EventStream, until_disconnect
from foundry_cli.service.state import ServiceState, state_of
from foundry_cli.service.structured_output import StructureCheck, check_tool_sizes
from foundry_cli.types import ModelInfo


@dataclass(frozen=True)
class Job:
    """A request, and those that came with it, with the model that will answer each of them `count` times."""

    state: ServiceState
    model: ModelInfo
    placement: Placement
    request: GenerationRequest
    count: int = 1
    ttl: int | None = None  # seconds
    following: tuple[GenerationRequest, ...] = ()
    cancellation: Cancellation | None = None

    def requests(self) -> list[GenerationRequest]:
        """One for each answer, all of the first request before those of the next one."""
        return [nth_request(each, index) for each in (self.request, *self.following) for index in range(self.count)]


class EventEncoder(Protocol):
    """Answers in the form of one interface, as server-sent events."""

    def add(self, index: int, event: EngineEvent) -> bytes:
        """The next event of answer `index`; with the last one of all answers, the end of the stream."""

    def fail(self, error: FoundryError) -> bytes:
        """The end of a stream that broke off."""


async def prepare(
    request: Request,
    model: str,
    generation: GenerationRequest,
    *,
    count: int = 1,
    ttl: int | None = None,
    ep: str | None = None,
    following: Sequence[GenerationRequest] = (),
) -> Job:
    """The job for a valid request. Raises `ModelNotFoundError`, and what `check_tool_sizes` and `ServiceState.place` raise."""
    check_tool_sizes(generation)
    state = state_of(request)
    found = await state.resolve_cached(model)
    return Job(state, found, await state.place(found, ep), generation, count, ttl or None, tuple(following))


async def collect(request: Request, job: Job) -> list[Answer] | None:
    """The complete answers; None when the client has gone."""
    return await until_disconnect(request.receive, _whole(job))


async def stream(request: Request, job: Job, encoder: EventEncoder, headers: dict[str, str] | None = None) -> Response:
    """The answers as they come. An error before the first event is raised, so that it gets its own HTTP status."""
    events = generate_choices(job)
    first = await until_disconnect(request.receive, _first_event(events))
    if first is None:
        return CLIENT_GONE
    return EventStream(_encoded(first, events, encoder), headers or {}, last_words=lambda: encoder.fail(stopping()))


async def generate_choices(job: Job, *, tries: int = 2) -> ChoiceEvents:
    """The events of all answers, each a request of its own to the engine. `tries`: see `generate`."""
    requests = job.requests()
    if len(requests) > 1 and job.placement.is_demanded:
        await job.state.models.load(job.model, job.placement)  # none of the answers could move it while others wait for it
    answers = [checked(generate(job, each, tries=tries), StructureCheck.of(each)) for each in requests]
    if job.cancellation is not None:
        answers = [cancellable(answer, job.cancellation) for answer in answers]
    async with aclosing(interleaved(answers)) as events:
        async for event in events:
            yield event


def nth_request(request: GenerationRequest, index: int) -> GenerationRequest:
    """The request for answer `index`: a seed that is given would make all of them the same."""
    seed = request.sampling.seed
    if seed is None or index == 0:
        return request
    return replace(request, sampling=replace(request.sampling, seed=seed + index))


def checked(events: Events, check: StructureCheck | None) -> Events:
    """The events of one answer; `StructuredOutputError` in the place of the end of one that is not what was asked for."""
    return events if check is None else _checked(events, check)  # no further step for every token of most answers


async def _checked(unchecked: Events, check: StructureCheck) -> Events:
    async with aclosing(unchecked) as events:
        async for event in events:
            await check.note(event)
            yield event


async def generate(job: Job, request: GenerationRequest, *, tries: int = 2) -> Events:
    """The events of one answer. When the worker dies before the first one, the request is tried again, `tries` times in all."""
    models = job.state.models
    for attempt in range(tries):
        has_begun = False
        try:
            is_background = request.priority == "background"
            use = models.use(job.model, job.placement, ttl=job.ttl, is_background=is_background)
            async with use as engine, aclosing(engine.generate(request)) as events:
                async for event in events:
                    has_begun = has_begun or not isinstance(event, Progress)
                    yield replace(event, engine=engine.engine) if isinstance(event, Finish) else event
            return
        except EngineDiedError:
            if has_begun or attempt + 1 == tries or models.is_closed:
                raise


async def _first_event(events: ChoiceEvents) -> tuple[int, EngineEvent]:
    return await anext(events)


async def _whole(job: Job) -> list[Answer]:
    """Nothing of the answers has been sent when the worker dies, so they are begun once more then."""
    try:
        return await _collect(job)
    except EngineDiedError:
        if job.state.models.is_closed:
            raise
        return await _collect(job)


async def _collect(job: Job) -> list[Answer]:
    answers = [Answer() for _ in job.requests()]
    async with aclosing(generate_choices(job, tries=1)) as events:  # who calls this tries again
        async for index, event in events:
            answers[index].add(event)
    return answers


async def _encoded(first: tuple[int, EngineEvent], events: ChoiceEvents, encoder: EventEncoder) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(events):
            yield encoder.add(*first)
            async for index, event in events:
                yield encoder.add(index, event)
    except FoundryError as error:
        yield encoder.fail(error)
    except Exception as error:  # noqa: BLE001 - the stream has begun: the client must still learn that it failed
        yield encoder.fail(unexpected(error))

"""Several answers to one request, which come at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from foundry_cli.engine.request import EngineEvent

Events = AsyncGenerator[EngineEvent, None]
ChoiceEvents = AsyncGenerator[tuple[int, EngineEvent], None]

_Queue = asyncio.Queue[tuple[int, EngineEvent | Exception | None]]

_MOST_WAITING = 64  # events that are not read yet; more wait in the queue of each answer, which has a limit of its own


async def interleaved(answers: Sequence[Events]) -> ChoiceEvents:
    """The events of all `answers` as they come, each with the number of its answer.

    The first error ends all of them, as does closing the generator: when it is over, no answer goes on.
    """
    if len(answers) == 1:
        async with aclosing(answers[0]) as events:
            async for event in events:
                yield 0, event
        return
    queue: _Queue = asyncio.Queue(_MOST_WAITING)
    tasks = [asyncio.create_task(_collect(index, events, queue)) for index, events in enumerate(answers)]
    try:
        running = len(tasks)
        while running:
            index, item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _collect(index: int, answer: Events, queue: _Queue) -> None:
    """Put the events into `queue`, and at the end None or the error that is it."""
    try:
        async with aclosing(answer) as events:
            async for event in events:
                await queue.put((index, event))
        await queue.put((index, None))
    except Exception as error:  # noqa: BLE001 - whoever reads the queue raises it
        await queue.put((index, error))

"""Answers that somebody else than the client that waits for them may end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing

from foundry_cli.engine.request import Finish, Timing, Usage
from foundry_cli.service.choices import Events, interleaved

Cancellation = Callable[[], AbstractContextManager[asyncio.Event]]
"""A context that is entered while an answer is generated; its event ends the answer."""


async def cancellable(answer: Events, cancellation: Cancellation) -> Events:
    """The events of `answer`, which the event of `cancellation` ends; how much was generated is not known then."""
    with cancellation() as is_cancelled:
        async with aclosing(interleaved([answer, _end_after(is_cancelled)])) as events:
            async for _, event in events:
                yield event
                if isinstance(event, Finish):
                    return


async def _end_after(is_cancelled: asyncio.Event) -> Events:
    await is_cancelled.wait()
    yield Finish("cancelled", Usage(), Timing())

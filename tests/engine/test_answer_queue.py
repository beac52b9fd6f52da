"""What waits of one answer."""

from __future__ import annotations

import asyncio

import pytest

from foundry_cli.engine.answer_queue import MOST_WAITING, AnswerQueue
from foundry_cli.engine.messages import Converted
from foundry_cli.engine.request import TextChunk
from foundry_cli.errors import ClientTooSlowError, EngineDiedError


def text(size: int) -> dict[str, object]:
    return {"op": "text", "id": 1, "text": "x" * size, "tokens": 1}


def test_one_item_may_be_of_any_size() -> None:
    async def run() -> None:
        queue = AnswerQueue()
        assert queue.put({"op": "decoded", "id": 1, "text": "x" * (2 * MOST_WAITING)})
        assert isinstance(await queue.get(), Converted)
        assert queue.put(text(MOST_WAITING))

    asyncio.run(run())


def test_what_came_before_the_end_comes_first_and_nothing_behind_it() -> None:
    async def run() -> None:
        queue = AnswerQueue()
        half = MOST_WAITING // 2
        assert [queue.put(text(half)), queue.put(text(half)), queue.put(text(half))] == [True, False, True]
        queue.end(EngineDiedError("later"))
        assert await queue.get() == TextChunk("x" * half)
        assert isinstance(await queue.get(), ClientTooSlowError)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.get(), 0.01)

    asyncio.run(run())


def test_log_probabilities_count() -> None:
    queue = AnswerQueue()
    token = ["a", [97], -0.1, [["b", [98], -2.0, []]] * 20]
    frame = {**text(1), "logprobs": [token]}
    count = 0
    while queue.put(frame):
        count += 1
    assert MOST_WAITING // 10_000 < count < MOST_WAITING // 2000

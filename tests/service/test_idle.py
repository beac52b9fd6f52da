"""The end of a service that nobody uses."""

from __future__ import annotations

import asyncio

import pytest

from foundry_cli.service.idle import Activity, NoteActivity, stop_when_idle
from tests.service.local import LocalService


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_that_run_or_have_just_ended_are_activity() -> None:
    clock = _Clock()
    activity = Activity(clock)
    clock.now += 7
    assert activity.idle_seconds == 7
    activity.begin()
    activity.begin()
    clock.now += 60
    activity.end()
    assert activity.idle_seconds == 0  # another one runs
    activity.end()
    clock.now += 3
    assert activity.idle_seconds == 3


def test_it_stops_after_the_time_and_not_before_everything_has_ended() -> None:
    async def run() -> list[str]:
        said: list[str] = []
        busy = iter([True, True, False])

        def is_busy() -> bool:
            said.append("asked")
            return next(busy)

        await stop_when_idle(Activity(), 0.02, is_busy, lambda: said.append("stopped"))
        return said

    assert asyncio.run(run()) == ["asked", "asked", "asked", "stopped"]


def test_a_running_request_keeps_it() -> None:
    async def run() -> tuple[bool, int]:
        activity, stops = Activity(), asyncio.Event()
        activity.begin()
        watch = asyncio.create_task(stop_when_idle(activity, 0.02, lambda: False, stops.set))
        done, _ = await asyncio.wait([watch], timeout=0.2)
        was_stopped = bool(done)
        activity.end()
        await asyncio.wait_for(stops.wait(), 20)
        await watch
        return was_stopped, activity.running

    assert asyncio.run(run()) == (False, 0)


@pytest.mark.parametrize(("path", "running"), [("/v1/models", 1), ("/health", 0)])
def test_only_being_asked_for_life_is_no_activity(path: str, running: int) -> None:
    activity = Activity()
    seen: list[int] = []

    async def fail(*_: object) -> None:
        seen.append(activity.running)
        raise RuntimeError("broken")

    async def run() -> None:
        with pytest.raises(RuntimeError):
            await NoteActivity(fail, activity)({"type": "http", "path": path}, _receive, _send)

    asyncio.run(run())
    assert (seen, activity.running) == ([running], 0)


async def _receive() -> dict[str, object]:
    return {}


async def _send(_: object) -> None:
    return None


def test_the_service_notes_its_requests(local: LocalService) -> None:
    before = local.state.activity.last
    local.get("/openai/status")
    local.get("/openai/status")  # by now the first one has ended
    assert local.state.activity.last > before

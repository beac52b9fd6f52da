"""Loading, sharing, unloading: with the real worker where it matters, else with a small obedient program."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from foundry_cli.engine.messages import GAVE_UP
from foundry_cli.engine.model_manager import ModelManager, Placement, StartEngine
from foundry_cli.engine.process import EngineProcess
from foundry_cli.errors import (
    EngineDiedError,
    EngineError,
    FoundryError,
    InsufficientMemoryError,
    ModelInUseError,
    ModelUnloadedError,
    QueueFullError,
    ServiceOutdatedError,
    ServiceStoppingError,
)
from foundry_cli.execution_providers import CPU
from foundry_cli.types import ModelInfo
from tests.engine.fakes import request
from tests.engine.workers import OBEDIENT, answer, interrupted, program
from tests.models.scripted import write_scripted_model

MIB = 1 << 20
HERE = Path(__file__).parent


def model(name: str, path: Path = HERE, size: int = 0) -> ModelInfo:
    return ModelInfo(name, 1, name, path=path, size_bytes=size)


class Starter:
    """Starts workers of one command and remembers which."""

    def __init__(self, command: tuple[str, ...] = OBEDIENT) -> None:
        self.command = command
        self.started: list[str] = []
        self.providers: list[str] = []
        self.gate: asyncio.Event | None = None

    async def __call__(self, name: str, directory: Path, provider: str, *, embeds: bool = False) -> EngineProcess:
        self.started.append(name)
        self.providers.append(provider)
        if self.gate is not None:
            await self.gate.wait()
        return await EngineProcess.start(name, directory, provider, command=self.command, embeds=embeds)


class Machine:
    """A machine with so much memory, of which every loaded model takes its size."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.manager: ModelManager | None = None

    def available(self) -> int:
        assert self.manager is not None
        return self.total - sum(loaded.model.size_bytes + 100 * MIB for loaded in self.manager.loaded())


@asynccontextmanager
async def managing(
    start: StartEngine, ttl: float = 600.0, memory: int = 1 << 50, room: float = 0.0
) -> AsyncIterator[ModelManager]:
    others = set(psutil.Process().children())  # services of other tests
    machine = Machine(memory)
    machine.manager = manager = ModelManager(
        default_ttl=ttl, available_memory=machine.available, start_engine=start, room_seconds=room
    )
    try:
        yield manager
    finally:
        await manager.close()
        assert manager.loaded() == []
        assert set(psutil.Process().children()) <= others


async def ask(manager: ModelManager, wanted: ModelInfo, *, ttl: float | None = None, background: bool = False) -> str:
    async with manager.use(wanted, ttl=ttl, is_background=background) as process:
        return (await answer(process, request())).text


async def until(is_so: Callable[[], bool]) -> None:
    async def look() -> None:
        while not is_so():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(look(), 20)


def names(manager: ModelManager) -> list[str]:
    return [loaded.model.name for loaded in manager.loaded()]


def test_fifty_at_once_are_one_load_of_the_real_worker(tmp_path: Path) -> None:
    write_scripted_model(tmp_path, ["hello"])
    started: list[str] = []

    async def start(name: str, directory: Path, provider: str, *, embeds: bool = False) -> EngineProcess:
        started.append(name)
        return await EngineProcess.start(name, directory, provider, embeds=embeds)

    async def run() -> None:
        async with managing(start) as manager:
            answers = await asyncio.gather(*(ask(manager, model("a", tmp_path)) for _ in range(50)))
            assert answers == ["hello"] * 50

    asyncio.run(run())
    assert started == ["a:1"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_killed_while_writing_and_loaded_again_by_the_next_request(tmp_path: Path, number: signal.Signals) -> None:
    write_scripted_model(tmp_path, ["x" * 500], busy=1)

    async def run() -> None:
        async with managing(EngineProcess.start) as manager:
            async with manager.use(model("a", tmp_path)) as process:
                with pytest.raises(FoundryError):
                    await interrupted(process, request(), lambda: os.kill(process.pid, number))
            async with manager.use(model("a", tmp_path)) as again:
                assert again.pid != process.pid
                assert (await answer(again, request(max_tokens=3))).text == "xxx"

    asyncio.run(run())


def test_a_broken_model_is_an_error_every_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with managing(EngineProcess.start) as manager:
            for _ in range(2):
                with pytest.raises(FoundryError, match=r"genai_config\.json is missing"):
                    await ask(manager, model("a", tmp_path))

    asyncio.run(run())


def test_a_second_request_uses_the_same_worker() -> None:
    async def run() -> None:
        start = Starter()
        async with managing(start) as manager:
            assert not manager.is_loaded(model("a"))
            assert [await ask(manager, model("a")) for _ in range(3)] == ["ok"] * 3
            assert manager.is_loaded(model("a"))
            assert start.started == ["a:1"]

    asyncio.run(run())


def test_idle_models_go_after_their_time() -> None:
    async def run() -> None:
        async with managing(Starter(), ttl=0.05) as manager:
            async with manager.use(model("a")) as process:
                pass
            await process.ended.wait()
            assert names(manager) == []
            assert await ask(manager, model("a")) == "ok"

    asyncio.run(run())


def test_a_model_in_use_does_not_go() -> None:
    async def run() -> None:
        async with managing(Starter(), ttl=0.01) as manager:
            async with manager.use(model("a")) as process, manager.use(model("a")):
                for _ in range(5):  # far beyond its time
                    assert (await answer(process, request())).text == "ok"
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(process.ended.wait(), 0.05)
            await process.ended.wait()

    asyncio.run(run())


def test_times_of_requests_and_loads() -> None:
    async def run() -> None:
        async with managing(Starter(), ttl=600) as manager:
            kept = await manager.load(model("kept"), keep=True)
            await ask(manager, model("kept"))
            assert (kept.ttl, kept.expiry) == (None, None)
            short = await manager.load(model("short"), ttl=0.05)
            await short.engine.ended.wait()
            usual = await manager.load(model("usual"))
            assert usual.ttl == 600
            await ask(manager, model("usual"), ttl=0.05)
            await usual.engine.ended.wait()
            assert names(manager) == ["kept"]

    asyncio.run(run())


def test_a_time_that_was_chosen_outlives_a_crash_and_making_room() -> None:
    async def run() -> None:
        async with managing(Starter(), memory=150 * MIB) as manager:
            loaded = await manager.load(model("a"), keep=True)
            os.kill(loaded.engine.pid, signal.SIGKILL)
            await loaded.engine.ended.wait()
            await ask(manager, model("a"))
            assert [each.ttl for each in manager.loaded()] == [None]
            await ask(manager, model("b"))
            await ask(manager, model("a"))
            assert [(each.model.name, each.ttl) for each in manager.loaded()] == [("a", None)]
            await manager.unload("a:1")
            await ask(manager, model("a"))
            assert [each.ttl for each in manager.loaded()] == [600.0]

    asyncio.run(run())


def test_a_load_that_nobody_waits_for_any_more_still_expires() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start, ttl=0.05) as manager:
            waiting = asyncio.create_task(ask(manager, model("a")))
            while not start.started:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            start.gate.set()
            while not manager.loaded():
                await asyncio.sleep(0)
            await manager.loaded()[0].engine.ended.wait()

    asyncio.run(run())


def test_one_of_many_that_gives_up_does_not_end_the_load() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            waiting = [asyncio.create_task(ask(manager, model("a"))) for _ in range(3)]
            while not start.started:
                await asyncio.sleep(0)
            waiting[0].cancel()
            start.gate.set()
            assert await asyncio.gather(*waiting[1:]) == ["ok", "ok"]
            assert start.started == ["a:1"]

    asyncio.run(run())


def test_the_least_recently_used_goes_when_memory_is_needed() -> None:
    async def run() -> None:
        async with managing(Starter(), memory=350 * MIB) as manager:
            for name in ("a", "b", "c", "a"):
                await ask(manager, model(name))
            assert sorted(names(manager)) == ["a", "b", "c"]
            await ask(manager, model("d"))
            assert sorted(names(manager)) == ["a", "c", "d"]
            await ask(manager, model("large", size=150 * MIB))
            assert names(manager) == ["d", "large"]

    asyncio.run(run())


def test_a_model_in_use_is_not_taken_for_another() -> None:
    async def run() -> None:
        async with managing(Starter(), memory=150 * MIB) as manager:
            async with manager.use(model("a")) as process:
                with pytest.raises(InsufficientMemoryError, match="100 MiB of memory, 50 MiB are free"):
                    await ask(manager, model("b"))
                assert (await answer(process, request())).text == "ok"
            assert await ask(manager, model("b")) == "ok"
            assert names(manager) == ["b"]

    asyncio.run(run())


def test_what_can_never_fit_takes_nobodys_place() -> None:
    async def run() -> None:
        async with managing(Starter(), memory=350 * MIB) as manager:
            for name in "abc":
                await ask(manager, model(name))
            with pytest.raises(InsufficientMemoryError, match="needs 1124 MiB of memory"):
                await ask(manager, model("large", size=1 << 30))
            assert names(manager) == ["a", "b", "c"]

    asyncio.run(run())


def test_a_load_waits_for_an_answer_whose_model_must_go() -> None:
    async def run() -> None:
        async with managing(Starter(), memory=150 * MIB, room=20.0) as manager:
            async with manager.use(model("a")) as process:
                other = asyncio.create_task(ask(manager, model("b")))
                await until(lambda: len(manager.loading()) == 1)
                assert (await answer(process, request())).text == "ok"
                assert not other.done()
            assert await other == "ok"
            assert names(manager) == ["b"]

    asyncio.run(run())


def test_a_request_behind_an_unload_has_the_model_loaded_anew() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            first = asyncio.create_task(manager.load(model("a")))
            await until(lambda: start.started == ["a:1"])
            unloading = asyncio.create_task(manager.unload("a:1"))
            await asyncio.sleep(0)
            later = asyncio.create_task(ask(manager, model("a")))
            await asyncio.sleep(0)
            start.gate.set()
            assert await later == "ok"
            assert await unloading is True
            with pytest.raises(ModelUnloadedError, match="unloaded while it was being loaded"):
                await first

    asyncio.run(run())


def test_two_models_that_take_turns_in_memory_for_one() -> None:
    """A model that was loaded for a request is there for that request, whoever waits for the memory."""

    async def patient(manager: ModelManager, wanted: ModelInfo) -> str:
        while True:
            try:
                return await ask(manager, wanted)
            except InsufficientMemoryError:
                await asyncio.sleep(0)

    async def run() -> None:
        async with managing(Starter(), memory=150 * MIB) as manager:
            work = [patient(manager, model(name)) for name in "ab" * 4]
            assert await asyncio.gather(*work) == ["ok"] * 8

    asyncio.run(run())


def test_unloading() -> None:
    async def run() -> None:
        async with managing(Starter()) as manager:
            assert await manager.unload("a:1") is False
            await manager.load(model("a"))
            assert await manager.unload("a:1") is True
            assert names(manager) == []

    asyncio.run(run())


def test_unloading_under_use() -> None:
    async def run() -> None:
        body = "ready()\nfor frame in requests():\n    text(frame, 'begun')"
        async with managing(Starter(program(body))) as manager:
            async with manager.use(model("a")) as process, aclosing(process.generate(request())) as events:
                await anext(events)
                with pytest.raises(ModelInUseError, match="answering 1 request"):
                    await manager.unload("a:1")
                assert await manager.unload("a:1", force=True) is True
                with pytest.raises(EngineError, match="unloaded while it was needed"):
                    await anext(events)
            assert names(manager) == []

    asyncio.run(run())


@pytest.mark.parametrize("body", ["", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_unloading_what_hangs_while_it_is_loaded(body: str) -> None:
    async def run() -> None:
        start = Starter(program(f"{body}\nsignal.pause()"))
        async with managing(start) as manager:
            loads = [asyncio.create_task(manager.load(model("a"))) for _ in range(2)]
            await until(lambda: start.started == ["a:1"])
            start.command = OBEDIENT
            await manager.load(model("b"))
            assert await manager.unload("a:1") is True
            for load in loads:
                with pytest.raises(ModelUnloadedError, match="a:1 was unloaded while it was being loaded"):
                    await load
            assert names(manager) == ["b"]
            assert await ask(manager, model("a")) == "ok"

    asyncio.run(run())


def test_what_does_not_fit_beside_a_load_waits_for_it() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start, memory=350 * MIB) as manager:
            loads = [asyncio.create_task(manager.load(model("a", size=50 * MIB)))]
            await until(lambda: start.started == ["a:1"])
            loads += [asyncio.create_task(manager.load(model(name, size=size * MIB))) for name, size in (("b", 0), ("c", 90))]
            await until(lambda: start.started == ["a:1", "b:1"])
            for _ in range(20):
                await asyncio.sleep(0)
            assert start.started == ["a:1", "b:1"]
            start.gate.set()
            await asyncio.gather(*loads)
            assert start.started == ["a:1", "b:1", "c:1"]
            assert len(manager.loaded()) == 2

    asyncio.run(run())


def test_the_time_of_another_load_does_not_count_as_waiting_for_its_answer() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start, memory=150 * MIB, room=1.0) as manager:
            first = asyncio.create_task(ask(manager, model("a")))
            await until(lambda: start.started == ["a:1"])
            second = asyncio.create_task(ask(manager, model("b")))
            await asyncio.sleep(1.1)
            start.gate.set()
            assert await asyncio.gather(first, second) == ["ok", "ok"]

    asyncio.run(run())


def test_a_load_that_fails_gives_back_what_it_was_promised() -> None:
    async def run() -> None:
        async with managing(Starter(("/does/not/exist",)), memory=150 * MIB) as manager:
            for _ in range(2):
                with pytest.raises(EngineError, match="cannot be started"):
                    await manager.load(model("a"))

    asyncio.run(run())


def test_unloading_what_requests_wait_for() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            asked = asyncio.create_task(ask(manager, model("a")))
            await until(lambda: start.started == ["a:1"])
            with pytest.raises(ModelInUseError, match="being loaded for 1 request"):
                await manager.unload("a:1")
            assert await manager.unload("a:1", force=True) is True
            with pytest.raises(ModelUnloadedError, match="unloaded while it was being loaded"):
                await asked
            assert manager.loading() == []

    asyncio.run(run())


def test_giving_a_load_up_when_nobody_waits_any_more() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            load = asyncio.create_task(manager.load(model("a")))
            await until(lambda: start.started == ["a:1"])
            unloading = asyncio.create_task(manager.unload("a:1"))
            await asyncio.sleep(0)
            unloading.cancel()
            load.cancel()
            await asyncio.gather(unloading, load, return_exceptions=True)
            await until(lambda: manager.loading() == [])
            assert manager.loaded() == []

    asyncio.run(run())


def test_an_unload_whose_caller_goes_away_is_completed() -> None:
    async def run() -> None:
        async with managing(Starter()) as manager:
            loaded = await manager.load(model("a"))
            unloading = asyncio.create_task(manager.unload("a:1"))
            await asyncio.sleep(0)
            unloading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await unloading
            await loaded.engine.ended.wait()

    asyncio.run(run())


@pytest.mark.parametrize("body", ["os.abort()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_crashes_while_loading_are_limited(body: str) -> None:
    async def run() -> None:
        start = Starter(program(body))
        async with managing(start) as manager:
            for _ in range(3):
                with pytest.raises((EngineDiedError, InsufficientMemoryError)):
                    await ask(manager, model("a"))
            for _ in range(3):
                with pytest.raises(EngineError, match="crashed 3 times"):
                    await ask(manager, model("a"))
            assert len(start.started) == 3
            start.command = OBEDIENT
            assert await ask(manager, model("b")) == "ok"

    asyncio.run(run())


def test_crashes_while_answering_are_limited() -> None:
    async def run() -> None:
        start = Starter(program("ready(); next(requests()); os.abort()"))
        async with managing(start) as manager:
            for _ in range(3):
                with pytest.raises(EngineDiedError):
                    await ask(manager, model("a"))
            with pytest.raises(EngineError, match="crashed 3 times"):
                await ask(manager, model("a"))
            assert len(start.started) == 3

    asyncio.run(run())


def test_ends_on_purpose_are_no_crashes() -> None:
    async def run() -> None:
        refusal = "{'op': 'error', 'id': frame['id'], 'code': 'invalid_value', 'message': 'too slow'}"
        body = f"ready(); frame = next(requests()); send({refusal}); os._exit({GAVE_UP})"
        start = Starter(program(body))
        async with managing(start) as manager:
            for count in range(1, 6):
                with pytest.raises(FoundryError, match="too slow"):
                    await ask(manager, model("a"))
                await manager.loaded()[0].engine.ended.wait()
                assert len(start.started) == count

    asyncio.run(run())


def test_refused_models_are_no_crashes() -> None:
    async def run() -> None:
        start = Starter(program("send({'op': 'failed', 'code': 'model_invalid', 'message': 'damaged'})"))
        async with managing(start) as manager:
            for _ in range(5):
                with pytest.raises(FoundryError, match="damaged"):
                    await ask(manager, model("a"))
            assert len(start.started) == 5

    asyncio.run(run())


def test_a_program_that_is_missing_does_not_block_other_models() -> None:
    async def run() -> None:
        start = Starter(("/does/not/exist",))
        async with managing(start) as manager:
            with pytest.raises(EngineError, match="cannot be started"):
                await ask(manager, model("a"))
            start.command = OBEDIENT
            assert await ask(manager, model("a")) == "ok"

    asyncio.run(run())


def test_too_many_users_are_refused_before_anything_is_loaded() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            waiting = [asyncio.create_task(ask(manager, model("a"))) for _ in range(72)]
            while not start.started:
                await asyncio.sleep(0)
            with pytest.raises(QueueFullError, match="72 requests"):
                await ask(manager, model("a"))
            start.gate.set()
            assert await asyncio.gather(*waiting) == ["ok"] * 72
            assert await ask(manager, model("a")) == "ok"

    asyncio.run(run())


async def crowd(manager: ModelManager, start: Starter, count: int, *, background: bool) -> list[asyncio.Task[str]]:
    """So many requests that wait for a model to be loaded."""
    tasks = [asyncio.create_task(ask(manager, model("a"), background=background)) for _ in range(count)]
    while not start.started:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_background_work_takes_nobody_the_places() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            waiting = await crowd(manager, start, 36, background=True)
            with pytest.raises(QueueFullError, match="36 requests for a:1 in the background"):
                await ask(manager, model("a"), background=True)
            waiting += await crowd(manager, start, 72, background=False)
            with pytest.raises(QueueFullError, match="72 requests"):
                await ask(manager, model("a"))
            start.gate.set()
            assert await asyncio.gather(*waiting) == ["ok"] * 108

    asyncio.run(run())


def test_background_work_is_refused_first() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            waiting = await crowd(manager, start, 60, background=False)
            waiting += await crowd(manager, start, 12, background=True)
            with pytest.raises(QueueFullError, match="in the background"):
                await ask(manager, model("a"), background=True)
            waiting += await crowd(manager, start, 12, background=False)
            start.gate.set()
            assert await asyncio.gather(*waiting) == ["ok"] * 84
            assert await ask(manager, model("a"), background=True) == "ok"

    asyncio.run(run())


def test_what_is_being_loaded_and_what_waits_for_that() -> None:
    async def run() -> None:
        start = Starter()
        start.gate = asyncio.Event()
        async with managing(start) as manager:
            waiting = [asyncio.create_task(ask(manager, model(name))) for name in "ba"]
            while not start.started:
                await asyncio.sleep(0)
            assert [(loading.model.name, loading.provider) for loading in manager.loading()] == [("b", CPU), ("a", CPU)]
            start.gate.set()
            await asyncio.gather(*waiting)
            assert manager.loading() == []
            start.command = ("/does/not/exist",)
            with pytest.raises(EngineError):
                await ask(manager, model("c"))
            assert manager.loading() == []

    asyncio.run(run())


def test_closing_ends_loads_and_answers() -> None:
    async def run() -> None:
        start = Starter(program("ready()\nfor frame in requests():\n    text(frame, 'begun')"))
        async with managing(start) as manager:
            async with manager.use(model("a")) as process, aclosing(process.generate(request())) as events:
                await anext(events)
                start.gate = asyncio.Event()
                loading = asyncio.create_task(ask(manager, model("b")))
                while len(start.started) < 2:
                    await asyncio.sleep(0)
                await manager.close()
                with pytest.raises(EngineError, match="unloaded"):
                    await anext(events)
            with pytest.raises(asyncio.CancelledError):
                await loading
            with pytest.raises(ServiceStoppingError):
                await ask(manager, model("c"))

    asyncio.run(run())


CUDA = "CUDAExecutionProvider"
ON_CUDA = Placement(CUDA, is_demanded=True)


def test_a_model_is_loaded_where_it_shall_run_and_stays_there(tmp_path: Path) -> None:
    start = Starter()

    async def run() -> None:
        async with managing(start) as manager:
            first = await manager.load(model("a"), Placement(CUDA))
            for placement in (Placement(), Placement("QNNExecutionProvider"), ON_CUDA):
                assert await manager.load(model("a"), placement) is first
            assert first.provider == CUDA

    asyncio.run(run())
    assert start.providers == [CUDA]


def test_a_demanded_provider_moves_an_idle_model() -> None:
    start = Starter()

    async def run() -> None:
        async with managing(start) as manager:
            first = await manager.load(model("a"), ttl=5)
            async with manager.use(model("a"), ON_CUDA) as process:
                assert process is not first.engine
                assert first.engine.ended.is_set()
            async with manager.use(model("a")) as same:
                assert same is process
            assert names(manager) == ["a"]

    asyncio.run(run())
    assert start.providers == ["CPUExecutionProvider", CUDA]


def test_a_model_that_is_used_is_not_moved() -> None:
    start = Starter()

    async def run() -> None:
        async with managing(start) as manager, manager.use(model("a")) as process:
            with pytest.raises(ModelInUseError, match=CUDA):
                await manager.load(model("a"), ON_CUDA)
            with pytest.raises(ModelInUseError, match=CUDA):
                async with manager.use(model("a"), ON_CUDA):
                    pass
            assert (await answer(process, request())).text == "ok"

    asyncio.run(run())
    assert start.providers == ["CPUExecutionProvider"]


def test_many_that_demand_the_same_provider_share_one_move() -> None:
    start = Starter()

    async def run() -> None:
        async with managing(start) as manager:
            await manager.load(model("a"))

            async def one() -> str:
                async with manager.use(model("a"), ON_CUDA) as process:
                    return (await answer(process, request())).text

            assert await asyncio.gather(*(one() for _ in range(20))) == ["ok"] * 20

    asyncio.run(run())
    assert start.providers == ["CPUExecutionProvider", CUDA]


def test_crashes_with_one_provider_do_not_bar_another() -> None:
    start = Starter(program("sys.exit(3)"))

    async def run() -> None:
        async with managing(start) as manager:
            for _ in range(3):
                with pytest.raises(EngineDiedError):
                    await manager.load(model("a"), ON_CUDA)
            with pytest.raises(EngineError, match="crashed"):
                await manager.load(model("a"), ON_CUDA)
            start.command = OBEDIENT
            await manager.load(model("a"))

    asyncio.run(run())


def test_nothing_makes_room_for_what_cannot_be_started() -> None:
    is_outdated = False

    async def check() -> None:
        if is_outdated:
            raise ServiceOutdatedError("It was updated.")

    async def run() -> None:
        nonlocal is_outdated
        machine = Machine(150 * MIB)
        machine.manager = manager = ModelManager(
            default_ttl=600.0, available_memory=machine.available, start_engine=Starter(), check_start=check
        )
        await manager.load(model("a"))
        is_outdated = True
        for wanted, placement in ((model("b"), Placement()), (model("a"), Placement("OtherProvider", is_demanded=True))):
            with pytest.raises(ServiceOutdatedError):
                await manager.load(wanted, placement)
        assert names(manager) == ["a"]
        assert manager.loading() == []
        await manager.load(model("a"))
        is_outdated = False
        await manager.load(model("b"))
        assert names(manager) == ["b"]
        await manager.close()

    asyncio.run(run())

"""Workers that misbehave: small programs in place of the real one, and the real one that is killed."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import time
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from foundry_cli.engine.answer_queue import MOST_WAITING
from foundry_cli.engine.process import EngineProcess, Patience
from foundry_cli.engine.silence import Silence
from foundry_cli.errors import (
    ClientTooSlowError,
    EngineDiedError,
    EngineError,
    FoundryError,
    InvalidRequestError,
    ModelInvalidError,
)
from tests.engine.fakes import request
from tests.engine.workers import OBEDIENT, answer, engine, interrupted, program
from tests.models.scripted import write_scripted_model

HERE = Path(__file__).parent


def workers() -> list[psutil.Process]:
    """Children that live now, without the services of other tests."""
    return [child for child in psutil.Process().children() if "foundry_cli.service" not in child.cmdline()]


def failure(*command: str, patience: Patience | None = None) -> FoundryError:
    """The error of loading or of one request; the process must be gone behind it."""

    async def run() -> None:
        async with engine(HERE, command=command, patience=patience) as process:
            await answer(process, request())

    with pytest.raises(FoundryError) as caught:
        asyncio.run(run())
    assert "\n" not in caught.value.message
    assert not workers()
    return caught.value


def test_an_obedient_worker() -> None:
    async def run() -> None:
        async with engine(HERE, command=OBEDIENT) as process:
            assert (process.context_length, process.load_seconds) == (100, 0.5)
            assert (await answer(process, request())).text == "ok"

    asyncio.run(run())


DEATHS = {
    "exit code 0": ("sys.exit(0)", "exit code 0"),
    "exit code 3": ("sys.exit(3)", "exit code 3"),
    "exception": ("1 / 0", "exit code 1"),
    "segmentation fault": ("os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
    "abort": ("os.abort()", "signal SIGABRT"),
    "illegal instruction": ("os.kill(os.getpid(), signal.SIGILL)", "signal SIGILL"),
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM)", "signal SIGTERM"),
}


@pytest.mark.parametrize(("action", "described"), DEATHS.values(), ids=DEATHS)
def test_death_while_loading(action: str, described: str) -> None:
    error = failure(*program(action))
    assert isinstance(error, EngineDiedError)
    assert described in error.message


@pytest.mark.parametrize(
    "body",
    ["ready(); sys.exit(3)", "ready(); next(requests()); sys.exit(3)", "ready(); text(next(requests()), 'a'); sys.exit(3)"],
    ids=["idle", "before the first token", "after the first token"],
)
def test_death_with_a_request(body: str) -> None:
    error = failure(*program(body))
    assert isinstance(error, EngineDiedError)
    assert "exit code 3" in error.message


@pytest.mark.parametrize("body", ["{}", "ready(); next(requests()); {}"])
def test_a_killed_worker_may_have_run_out_of_memory(body: str) -> None:
    error = failure(*program(body.format("os.kill(os.getpid(), signal.SIGKILL)")))
    assert isinstance(error, EngineDiedError)
    assert "memory ran out" in error.message


GARBAGE = {
    "text": "os.write(1, b'Warning: this is no frame' * 100); time.sleep(99)",
    "text and the end": "os.write(1, b'Warning: this is no frame')",
    "a lot of text": "ready(); next(requests()); os.write(1, b'x' * 10_000_000)",
    "no identity": "ready(); next(requests()); send({'op': 'text'}); time.sleep(99)",
    "bad identity": "ready(); next(requests()); send({'op': 'text', 'id': float('inf')}); time.sleep(99)",
    "bad fields": "ready(); f = next(requests()); send({'op': 'finish', 'id': f['id'], 'usage': 5}); time.sleep(99)",
    "ready without fields": "send({'op': 'ready'}); time.sleep(99)",
    "ready with bad fields": "send({'op': 'ready', 'context_length': [], 'load_seconds': 'x'}); time.sleep(99)",
    "failed without fields": "send({'op': 'failed'}); time.sleep(99)",
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_garbage_ends_the_worker(body: str) -> None:
    error = failure(*program(body))
    assert type(error) in (EngineError, EngineDiedError)
    assert "unintelligible" in error.message


def test_what_the_worker_reports_is_raised() -> None:
    error = failure(*program("send({'op': 'failed', 'code': 'model_invalid', 'message': 'm', 'hint': 'h', 'param': 'p'})"))
    assert isinstance(error, ModelInvalidError)
    assert (error.message, error.hint, error.param) == ("m", "h", "p")


def test_an_error_of_a_request_is_raised_and_the_next_one_answered() -> None:
    body = """
ready()
for number, frame in enumerate(requests()):
    if number:
        text(frame, "ok"); finish(frame)
    else:
        send({"op": "error", "id": frame["id"], "code": "invalid_value", "message": "m", "param": "stop"})
"""

    async def run() -> None:
        async with engine(HERE, command=program(body)) as process:
            with pytest.raises(InvalidRequestError) as caught:
                await answer(process, request())
            assert caught.value.param == "stop"
            assert (await answer(process, request())).text == "ok"

    asyncio.run(run())


def test_frames_that_nobody_waits_for_are_nothing() -> None:
    body = """
ready(); ready(); send({"op": "failed", "code": "x", "message": "late"})
for frame in requests():
    text({"id": 999}, "for nobody"); finish({"id": 999}); send({"op": "busy"})
    text(frame, "ok"); finish(frame); text(frame, "late"); finish(frame)
"""

    async def run() -> None:
        async with engine(HERE, command=program(body)) as process:
            assert [(await answer(process, request())).text for _ in range(2)] == ["ok", "ok"]

    asyncio.run(run())


def test_ten_megabytes_of_complaints(caplog: pytest.LogCaptureFixture) -> None:
    flood = "[os.write(2, b'complaint\\n' * 100) for _ in range(10_000)]"
    answering = f"frame = next(requests()); {flood}; text(frame, 'ok'); finish(frame)"
    body = f"{flood}; ready(); {answering}; os.write(2, b'last words'); sys.exit(3)"

    async def run() -> None:
        async with engine(HERE, command=program(body)) as process:
            assert (await answer(process, request())).text == "ok"
            await process.ended.wait()

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    lines = [record.getMessage() for record in caplog.records]
    assert "exit code 3" in lines[0]
    assert lines[-1].endswith("last words")
    assert len(lines) <= 30


def test_a_program_that_cannot_be_started() -> None:
    with pytest.raises(EngineError, match="cannot be started"):
        asyncio.run(EngineProcess.start("test", HERE, command=("/does/not/exist",)))


def test_loading_that_never_ends() -> None:
    error = failure(*program("time.sleep(99)"), patience=Patience(load=0.2))
    assert type(error) is EngineError
    assert "not loaded within 0.2 s" in error.message


@pytest.mark.parametrize("before", ["pass", "text(frame, 'a')"])
def test_silence_with_a_request_ends_the_worker(before: str) -> None:
    body = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); frame = next(requests()); {before}; time.sleep(99)"
    error = failure(*program(body), patience=Patience(silence=Silence(hangs=0.2, sample=0.1)))
    assert type(error) is EngineError, "a retry would hang as well"
    assert re.search(r"did not react for \d+\.\d s and was ended", error.message)


def test_a_stopped_process_is_noticed(tmp_path: Path) -> None:
    """SIGSTOP: alive and silent, as in a debugger or a frozen control group."""
    write_scripted_model(tmp_path, ["x" * 3000], context_length=4096, busy=4)

    async def run() -> None:
        async with engine(tmp_path, patience=Patience(silence=Silence(hangs=0.2, sample=0.1))) as process:
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(EngineError, match="did not react"):
                await answer(process, request())

    asyncio.run(run())


COMPUTING = "ready(); frame = next(requests()); end = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


def test_a_silent_worker_that_computes_has_time() -> None:
    async def run() -> None:
        body = COMPUTING.format(1.3) + "text(frame, 'ok'); finish(frame)"
        async with engine(HERE, command=program(body), patience=Patience(silence=Silence(hangs=0.1, sample=1.0))) as process:
            assert (await answer(process, request())).text == "ok"

    asyncio.run(run())


def test_a_silent_worker_does_not_compute_forever() -> None:
    error = failure(*program(COMPUTING.format(99)), patience=Patience(silence=Silence(hangs=0.1, works=0.5, sample=0.5)))
    assert type(error) is EngineError


@pytest.mark.slow
def test_a_pause_of_all_processes_is_no_silence_of_the_worker() -> None:
    """As after `docker unpause`: our own timer is late, and the worker has had no time either."""
    body = "ready(); frame = next(requests()); time.sleep(2.4); text(frame, 'ok'); finish(frame)"

    async def run() -> None:
        async with engine(HERE, command=program(body), patience=Patience(silence=Silence(hangs=1.0, sample=0.1))) as process:
            asyncio.get_running_loop().call_later(0.01, time.sleep, 2.2)
            assert (await answer(process, request())).text == "ok"

    asyncio.run(run())


def test_an_idle_worker_may_be_silent_and_a_busy_one_says_so() -> None:
    body = """
ready()
for frame in requests():
    end = time.monotonic() + 1
    while time.monotonic() < end:
        time.sleep(0.01); send({"op": "busy"})
    text(frame, "ok"); finish(frame)
"""

    async def run() -> None:
        async with engine(HERE, command=program(body), patience=Patience(silence=Silence(hangs=0.6, sample=0.1))) as process:
            assert (await answer(process, request())).text == "ok"

    asyncio.run(run())


def test_a_worker_that_does_not_stop_is_killed() -> None:
    async def run() -> None:
        process = await EngineProcess.start(
            "test", HERE, command=program("ready(); time.sleep(99)"), patience=Patience(stop=0.2)
        )
        await asyncio.gather(process.stop(), process.stop())
        assert not psutil.pid_exists(process.pid)

    asyncio.run(run())


@pytest.mark.parametrize("body", ["time.sleep(99)", "ready(); time.sleep(99)"])
def test_a_start_that_is_given_up_leaves_nothing(body: str) -> None:
    """The worker may become ready in the very moment in which nobody waits for it any more."""

    async def run() -> None:
        for turns in (1, 5, 50):
            start = asyncio.create_task(EngineProcess.start("test", HERE, command=program(body)))
            for _ in range(turns):
                await asyncio.sleep(0)
            while not workers():
                await asyncio.sleep(0)
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
            assert not workers()

    asyncio.run(run())


def test_ready_after_the_start_was_given_up(tmp_path: Path) -> None:
    """A worker that is told to stop while it loads answers `ready` before it looks at its pipe."""
    mark = tmp_path / "go"
    body = f"ready(); send({{'op': 'ready'}}); open({str(mark)!r}, 'w'); time.sleep(99)"

    async def run() -> None:
        start = asyncio.create_task(EngineProcess.start("test", HERE, command=program(f"time.sleep(0.2); {body}")))
        while not workers():
            await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

    asyncio.run(run())
    assert not workers()


def test_an_answer_that_nobody_takes_is_cancelled(tmp_path: Path) -> None:
    """The worker writes until it is told to stop; what has come until then is kept, and no more than that."""
    mark = tmp_path / "cancelled"
    body = f"""
ready()
reader, first = FrameReader(), None
while data := os.read(0, 65536):
    for frame in reader.feed(data):
        first = first or frame
        if frame["op"] == "cancel":
            open({str(mark)!r}, "w")
    while not os.path.exists({str(mark)!r}) and not __import__("select").select([0], [], [], 0)[0]:
        text(first, "x" * 10_000)
"""

    async def run() -> int:
        async with engine(HERE, command=program(body)) as process, aclosing(process.generate(request())) as events:
            await anext(events)
            while not mark.exists():
                await asyncio.sleep(0.01)
            taken = 0
            try:
                async for _ in events:
                    taken += 1
            except ClientTooSlowError:
                return taken
            raise AssertionError("the answer has another end")

    assert MOST_WAITING // 20_000 < asyncio.run(run()) < MOST_WAITING // 10_000


SIGNALS = [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_real_worker_killed_while_it_writes(tmp_path: Path, number: signal.Signals) -> None:
    write_scripted_model(tmp_path, ["x" * 3000], context_length=4096, busy=4)

    async def run() -> None:
        async with engine(tmp_path) as process:
            with pytest.raises(FoundryError) as caught:
                await interrupted(process, request(), lambda: os.kill(process.pid, number))
            expected = EngineDiedError
            assert type(caught.value) is expected
            assert process.ended.is_set()
            with pytest.raises(expected):
                await answer(process, request())

    asyncio.run(run())


@pytest.mark.parametrize("rounds", range(1, 8))
def test_a_start_that_is_given_up_at_once_is_no_crash(rounds: int, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        start = asyncio.create_task(EngineProcess.start("test", HERE, command=OBEDIENT))
        for _ in range(rounds):  # of the event loop: in the first ones it starts the process
            await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        del start
        gc.collect()  # what nobody has looked at would be complained about now
        await asyncio.sleep(0)
        assert complaints == []

    asyncio.run(run())
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert not workers()

"""A chat goes on after its worker was killed or stopped; the real worker process on scripted models."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry_cli.engine.process import EngineProcess, WorkerOptions
from foundry_cli.engine.request import GenerationRequest
from foundry_cli.errors import EngineError
from tests.engine.fakes import request
from tests.engine.workers import Answer, answer, engine, needs_batches
from tests.models.scripted import write_scripted_model

pytestmark = [pytest.mark.slow, needs_batches, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

QUESTION, REPLY = "What was said? " * 30, "This is the answer."


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scripted_model(tmp_path_factory.mktemp("chat"), [REPLY, "second"])


def turn(number: int, question: str = QUESTION) -> GenerationRequest:
    said = ({"role": "user", "content": question}, {"role": "assistant", "content": REPLY})
    return request(messages=(*said * (number - 1), {"role": "user", "content": question}))


def options(folder: Path, engine: str = "auto", megabytes: int = 64) -> WorkerOptions:
    return WorkerOptions(engine, folder, megabytes << 20)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kv"))


async def until_kept(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while not files(folder):
        assert time.monotonic() < deadline, "nothing was written"
        await asyncio.sleep(0.05)


def prompt_tokens(whole: Answer) -> int:
    assert whole.finish
    return whole.finish.usage.prompt_tokens


@pytest.mark.parametrize("end", ["killed after a pause", "stopped"])
def test_the_second_turn_after_a_restart(directory: Path, tmp_path: Path, end: str) -> None:
    folder = tmp_path / "kept"

    async def chat() -> list[Answer]:
        async with engine(directory, options=options(folder)) as process:
            first = await answer(process, turn(1))
            if end == "killed after a pause":
                await until_kept(folder)
                os.kill(process.pid, signal.SIGKILL)
                await process.ended.wait()
        async with engine(directory, options=options(folder)) as process:
            return [first, await answer(process, turn(2)), await answer(process, turn(2, "Something else. " * 30))]

    first, second, other = asyncio.run(chat())
    assert (first.text, first.cached_tokens, second.text) == (REPLY, 0, "second")
    assert second.cached_tokens >= prompt_tokens(first) > 400
    assert other.cached_tokens < 64
    (path, *_) = files(folder)
    modes = [entry.stat().st_mode & 0o777 for entry in (folder, path.parent, path)]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize(("engine_name", "megabytes", "kept"), [("batch", 64, True), ("auto", 0, False), ("genai", 64, False)])
def test_what_is_kept_is_a_matter_of_the_settings(
    directory: Path, tmp_path: Path, engine_name: str, megabytes: int, kept: bool
) -> None:
    async def ask() -> EngineProcess:
        async with engine(directory, options=options(tmp_path, engine_name, megabytes)) as process:
            assert (await answer(process, turn(1))).text == REPLY
            return process

    process = asyncio.run(ask())
    assert process.engine == ("genai" if engine_name == "genai" else "batch")
    assert bool(files(tmp_path)) == kept


def test_an_engine_that_cannot_run_the_model(tmp_path: Path) -> None:
    directory = write_scripted_model(tmp_path / "model", [REPLY], share_buffer=False)

    async def load(name: str) -> str:
        async with engine(directory, options=WorkerOptions(name)) as process:
            assert (await answer(process, turn(1))).text == REPLY
            return process.engine

    assert asyncio.run(load("auto")) == "genai"
    with pytest.raises(EngineError, match="cannot run this model: past and present do not share memory"):
        asyncio.run(load("batch"))


def test_another_template_does_not_find_it(tmp_path: Path) -> None:
    directory, folder = write_scripted_model(tmp_path / "model", [REPLY]), tmp_path / "kept"

    async def ask() -> Answer:
        async with engine(directory, options=options(folder)) as process:
            return await answer(process, turn(1))

    assert asyncio.run(ask()).cached_tokens == 0
    assert asyncio.run(ask()).cached_tokens > 400
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    )
    (directory / "chat_template.jinja").write_text(template)
    assert asyncio.run(ask()).cached_tokens == 0


def obstacles(folder: Path) -> Iterator[str]:
    """Put what is no conversation into the folder of the model."""
    (place,) = {path.parent for path in files(folder)}
    for path in files(folder):
        path.write_bytes(path.read_bytes()[:-1])
    os.mkfifo(place / "pipe.kv")
    (place / "folder.kv").mkdir()
    (place / "link.kv").symlink_to("/dev/zero")
    (place / "empty.kv").touch()
    (place / "nested.kv").write_bytes(b"[" * 1020)
    yield from sorted(os.listdir(place))


@pytest.mark.timeout(60)
def test_a_hostile_folder_costs_only_what_was_kept(directory: Path, tmp_path: Path) -> None:
    async def ask() -> Answer:
        async with engine(directory, options=options(tmp_path)) as process:
            return await answer(process, turn(1))

    asyncio.run(ask())
    assert len(list(obstacles(tmp_path))) == 6
    whole = asyncio.run(ask())
    assert (whole.text, whole.cached_tokens) == (REPLY, 0)
    assert asyncio.run(ask()).cached_tokens > 400


def test_a_folder_that_cannot_be_made(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def ask() -> Answer:
        async with engine(directory, options=options(tmp_path / "file")) as process:
            return await answer(process, turn(1))

    assert asyncio.run(ask()).text == REPLY


@pytest.mark.parametrize("place", ["the folder of all", "the folder of the model"])
def test_a_link_in_place_of_a_folder(directory: Path, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture) -> None:
    folder, outside = tmp_path / "kept", tmp_path / "outside"

    async def ask() -> Answer:
        async with engine(directory, options=options(folder)) as process:
            return await answer(process, turn(1))

    asyncio.run(ask())
    (path,) = files(folder)
    moved = folder if place == "the folder of all" else path.parent
    moved.rename(outside)
    moved.symlink_to(outside)
    with caplog.at_level(logging.WARNING, "foundry.engine"):
        assert asyncio.run(ask()).cached_tokens == 0
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"test: conversations are not kept on disk: {moved.name} is a link or no folder"


def test_folders_that_all_could_write_to(directory: Path, tmp_path: Path) -> None:
    async def ask() -> Answer:
        async with engine(directory, options=options(tmp_path)) as process:
            return await answer(process, turn(1))

    asyncio.run(ask())
    (path,) = files(tmp_path)
    for folder in (tmp_path, path.parent):
        folder.chmod(0o777)
    assert asyncio.run(ask()).cached_tokens > 400
    assert [folder.stat().st_mode & 0o777 for folder in (tmp_path, path.parent)] == [0o700, 0o700]


def test_the_log_says_why_a_conversation_is_read_again(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    question = " ".join(map(str, range(150)))

    async def ask() -> None:
        async with engine(directory) as process:
            await answer(process, turn(1, question))
            changed = ({"role": "system", "content": "It is ten o'clock."}, *turn(2, question).messages)
            await answer(process, request(messages=changed))
            await answer(
                process, request(messages=({"role": "system", "content": "It is 11 o'clock."}, *turn(3, question).messages))
            )

    with caplog.at_level(logging.WARNING, "foundry.engine"):
        asyncio.run(ask())
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all(line.startswith("test: a known conversation is read again from token ") for line in told)
    assert "were put in there" in told[0] or "were exchanged for" in told[0]
    assert told[1].endswith("3 tokens there were exchanged for 2")


def test_the_log_says_which_engine_runs_a_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = write_scripted_model(tmp_path / "model", [REPLY], share_buffer=False)

    async def load() -> None:
        async with engine(directory):
            pass

    with caplog.at_level(logging.WARNING, "foundry.engine"):
        asyncio.run(load())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "test: GenAI runs this model, because past and present do not share memory"


def test_the_log_says_that_a_file_cannot_be_used(directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        async with engine(directory, options=options(tmp_path)) as process:
            await answer(process, turn(1))

    with caplog.at_level(logging.WARNING, "foundry.engine"):
        asyncio.run(ask())
        (path,) = files(tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        asyncio.run(ask())
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "test: a conversation on disk cannot be used: the file has another size than it should"


def test_the_service_hears_of_everything_that_is_kept(directory: Path, tmp_path: Path) -> None:
    heard: list[int] = []
    told = WorkerOptions("auto", tmp_path, 64 << 20, on_kept=lambda: heard.append(len(files(tmp_path))))

    async def ask() -> None:
        async with engine(directory, options=told) as process:
            await answer(process, turn(1))
            await answer(process, turn(1, "Something else. " * 30))

    asyncio.run(ask())
    assert heard[-1] == 2

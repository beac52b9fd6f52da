"""The space on disk for conversations is for all models together, also while they are loaded."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from foundry_cli.config import Config
from foundry_cli.engine.conversation_files import kept_files
from foundry_cli.engine.process import WorkerOptions
from foundry_cli.execution_providers import CPU
from foundry_cli.paths import Paths
from foundry_cli.program_code import code_digest
from foundry_cli.service.__main__ import engine_starter
from foundry_cli.service.conversation_budget import ConversationBudget
from tests.engine.fakes import request
from tests.engine.workers import answer, engine, needs_batches
from tests.models.scripted import write_scripted_model

pytestmark = [needs_batches, pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")]

QUESTIONS = [f"{number}, what was said? " * 30 for number in range(3)]


def put(path: Path, size: int, used: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def total(root: Path) -> int:
    return sum(file.size for file in kept_files(root))


def test_two_models_share_it(tmp_path: Path) -> None:
    root = tmp_path / "kept"
    models = [write_scripted_model(tmp_path / name, [f"I am {name}."]) for name in "ab"]

    async def talk(options: WorkerOptions) -> None:
        async with engine(models[0], options=options) as first, engine(models[1], options=options) as second:
            for question in QUESTIONS:
                for process in (first, second):
                    await answer(process, request(question))

    asyncio.run(talk(WorkerOptions("auto", root, 64 << 20)))
    size = kept_files(root)[0].size
    assert total(root) > 4 * size
    with closing(ConversationBudget(root, 2 * size + size // 2)) as budget:
        totals = [total(root)]

        def enforce() -> None:
            budget.enforce()
            totals.append(total(root))

        asyncio.run(talk(WorkerOptions("auto", root, budget.size, enforce)))
        assert len(totals) > 4
        assert all(size <= bytes_kept <= budget.size + size for bytes_kept in totals)  # one may be written meanwhile
        budget.enforce()
        assert size <= total(root) <= budget.size


class Listening(ConversationBudget):
    """Counts what it is told."""

    told = 0

    def enforce_soon(self) -> None:
        self.told += 1


def test_the_workers_of_the_service_tell_it(tmp_path: Path) -> None:
    directory = write_scripted_model(tmp_path / "model", ["I am here."])
    budget = Listening(tmp_path / "conversations", 1 << 20)
    start = engine_starter(Paths(tmp_path), Config(), budget, code_digest())

    async def talk() -> None:
        process = await start("test", directory, CPU)
        await answer(process, request(QUESTIONS[0]))
        await process.stop()

    with closing(budget):
        asyncio.run(talk())
        assert budget.told
        assert total(tmp_path / "conversations")


def test_what_is_there_at_the_start_is_brought_within_it(tmp_path: Path) -> None:
    old, new = put(tmp_path / "a" / "x.kv", 100, 1), put(tmp_path / "b" / "y.kv", 100, 2)
    with closing(ConversationBudget(tmp_path, 150)):
        pass
    assert not old.exists()
    assert new.exists()


def test_what_the_last_worker_leaves_is_brought_within_it(tmp_path: Path) -> None:
    with closing(ConversationBudget(tmp_path, 150)):
        old, new = put(tmp_path / "a" / "x.kv", 100, 1), put(tmp_path / "b" / "y.kv", 100, 2)
    assert not old.exists()
    assert new.exists()


def test_a_disk_that_fails_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with closing(ConversationBudget(tmp_path / "file" / "below", 150)) as budget:
        for _ in range(3):
            budget.enforce_soon()


def test_nothing_is_asked_of_it_after_its_end(tmp_path: Path) -> None:
    budget = ConversationBudget(tmp_path, 150)
    budget.close()
    budget.enforce_soon()

"""Embeddings by real workers: confined, asked by `EngineProcess`, killed, and small programs that misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foundry_cli.engine.model_check import look, report
from foundry_cli.engine.process import EngineProcess
from foundry_cli.errors import ContextLengthError, EngineDiedError, EngineError, InvalidRequestError, ModelUnloadedError
from foundry_cli.execution_providers import CPU, CUDA
from tests.engine.fakes import request
from tests.engine.workers import answer, engine, program
from tests.models.embedding import SHAPE, Reference, tokens_of, write_embedding_model
from tests.models.scripted import write_scripted_model


def test_vectors_of_many_requests_at_once(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model")
    reference = Reference(directory)

    async def run() -> None:
        async with engine(directory, embeds=True) as process:
            assert (process.engine, process.context_length) == ("embedding", 2048)
            made = await asyncio.gather(*(process.embed([f"text {n}", [n, n + 1]], 32) for n in range(30)))
            for number, each in enumerate(made):
                tokens = [tokens_of(directory, f"text {number}"), [number, number + 1]]
                assert each.tokens == sum(map(len, tokens))
                for wanted, vector in zip(tokens, each.vectors, strict=True):
                    numbers = np.frombuffer(vector, "<f4")
                    assert numbers @ reference.vector(wanted, dimensions=32) == pytest.approx(1, abs=1e-6)

    asyncio.run(run())


def test_errors_are_those_of_the_worker_and_it_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(write_embedding_model(tmp_path / "model"), embeds=True) as process:
            with pytest.raises(ContextLengthError) as too_long:
                await process.embed(["a", "x" * 5000])
            assert too_long.value.param == "input[1]"
            with pytest.raises(InvalidRequestError) as too_many:
                await process.embed(["a"], 65)
            assert too_many.value.param == "dimensions"
            with pytest.raises(InvalidRequestError, match="makes embeddings, and writes no text"):
                await answer(process, request())
            with pytest.raises(InvalidRequestError, match="makes embeddings, and writes no text"):
                await process.detokenize([1])
            assert len((await process.embed(["a \udc80 b"])).vectors[0]) == 4 * 64

    asyncio.run(run())


def test_a_model_that_writes_makes_none(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(write_scripted_model(tmp_path / "model", ["Hello!"])) as process:
            with pytest.raises(InvalidRequestError, match="makes no embeddings"):
                await process.embed(["a"])
            assert (await answer(process, request())).text

    asyncio.run(run())


def test_a_request_that_is_given_up_is_cancelled(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model", replace(SHAPE, layers=8, hidden=256))

    async def run() -> None:
        async with engine(directory, embeds=True) as process:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.embed(["x" * 500] * 20_000), 0.5)  # it would take minutes
            await process.embed(["a"])

    asyncio.run(run())


def test_to_end_a_worker_ends_what_it_is_asked(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model", replace(SHAPE, layers=8, hidden=256))

    async def ended_by(kill: bool) -> None:
        process = await EngineProcess.start("test", directory, embeds=True)
        asked = asyncio.create_task(process.embed(["x" * 500] * 20_000))
        await process.embed(["a"])  # it is at work
        if kill:
            os.kill(process.pid, signal.SIGKILL)
        else:
            await process.stop()
        with pytest.raises(EngineDiedError if kill else ModelUnloadedError):
            await asked
        await process.stop()

    asyncio.run(ended_by(kill=True))
    asyncio.run(ended_by(kill=False))


@pytest.mark.parametrize(
    "frame",
    [
        '{"op": "embeddings", "id": i, "places": [0], "vectors": "?"}',
        '{"op": "embeddings", "id": i}',
        '{"op": "embedded", "id": i}',
    ],
)
def test_an_answer_that_cannot_be_read_ends_the_worker(tmp_path: Path, frame: str) -> None:
    async def run() -> None:
        body = f"ready()\nfor frame in requests():\n    i = frame['id']\n    send({frame})"
        async with engine(tmp_path, command=program(body), embeds=True) as process:
            with pytest.raises(EngineError, match="unintelligible"):
                await process.embed(["a"])

    asyncio.run(run())


def test_another_provider_is_refused_with_the_way_out(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model")
    with pytest.raises(EngineError, match="run on the CPU only") as caught:
        asyncio.run(EngineProcess.start("test", directory, CUDA, embeds=True))
    assert "--ep cpu" in str(caught.value.hint)


def test_what_a_look_at_the_files_says(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model", modules=["Transformer"])
    facts = look(directory)
    assert (facts["makes_embeddings"], facts["has_unit_length"]) == (True, False)
    assert report(directory, CPU)["facts"]["trial"] is None
    assert look(write_scripted_model(tmp_path / "chat", ["Hello!"]))["makes_embeddings"] is False

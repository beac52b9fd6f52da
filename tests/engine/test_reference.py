"""A model of a real architecture through the real worker: the text is that of the reference tokens."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.detokenizer import Detokenizer
from foundry_cli.engine.genai_runtime import GenAIRuntime
from foundry_cli.engine.model_files import read_model_files
from foundry_cli.engine.process import EngineProcess, WorkerOptions
from foundry_cli.engine.request import GenerationRequest, TextChunk, TokenText
from tests.engine.fakes import request
from tests.engine.workers import Answer, answer, engine, needs_batches
from tests.models.test_qwen2_reference import CASES, DIRECTORY, Case


@pytest.fixture(scope="module")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with a template that adds nothing: the references are continued texts."""
    directory = Path(shutil.copytree(DIRECTORY, tmp_path_factory.mktemp("reference") / "model"))
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["chat_template"] = "{{ messages[0].content }}"
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def expected(plain_model: Path) -> list[str]:
    runtime = GenAIRuntime(read_model_files(plain_model), threads=1)
    texts = []
    for case in CASES:
        detokenizer = Detokenizer(runtime.decode)
        texts.append("".join(map(detokenizer.add, case.tokens)) + detokenizer.flush())
    return texts


def continuation(prompt: str, **options: Any) -> GenerationRequest:
    """`prompt` as a system message, which may hold control tokens."""
    return request(messages=({"role": "system", "content": prompt},), max_tokens=48, **options)


def run(directory: Path, requests: list[GenerationRequest], *, together: bool) -> list[Answer]:
    async def ask() -> list[Answer]:
        async with engine(directory) as process:
            if together:
                return await asyncio.gather(*(answer(process, asked) for asked in requests))
            return [await answer(process, asked) for asked in requests]

    return asyncio.run(ask())


REQUESTS = [continuation(case.prompt) for case in CASES]


@needs_batches
def test_greedy_text_new_and_repeated(plain_model: Path, expected: list[str]) -> None:
    answers = run(plain_model, [asked for asked in REQUESTS for _ in range(2)], together=False)
    assert [whole.text for whole in answers[::2]] == [whole.text for whole in answers[1::2]] == expected
    cached = [len(case.prompt_tokens) - 2 for case in CASES]  # one token alone is computed by another kernel
    assert [whole.cached_tokens for whole in answers[1::2]] == cached


def test_greedy_text_together(plain_model: Path, expected: list[str]) -> None:
    assert [whole.text for whole in run(plain_model, REQUESTS * 2, together=True)] == expected * 2


def test_a_seed_gives_the_same_text_alone_cached_and_together(plain_model: Path) -> None:
    seeded = [continuation(case.prompt, temperature=1.0, top_p=0.9, seed=11) for case in CASES]
    alone = run(plain_model, seeded * 2, together=False)
    together = run(plain_model, seeded, together=True)
    texts = [whole.text for whole in together]
    assert [whole.text for whole in alone] == texts * 2
    assert texts != [whole.text for whole in run(plain_model, REQUESTS, together=False)]


@needs_batches
@pytest.mark.parametrize("name", ["batch", "genai"])
def test_log_probabilities_are_those_of_transformers(name: str) -> None:
    """Within 1e-3, for the most probable tokens of every step."""

    async def ask() -> list[list[TokenText]]:
        async with engine(DIRECTORY, options=WorkerOptions(name)) as process:
            assert process.engine == name
            return await asyncio.gather(*(told(process, case) for case in CASES))

    async def told(process: EngineProcess, case: Case) -> list[TokenText]:
        asked = GenerationRequest(prompt=tuple(case.prompt_tokens), max_tokens=len(case.tokens), logprobs=5)
        events = [event async for event in process.generate(asked)]
        return [token for event in events if isinstance(event, TextChunk) for token in event.logprobs]

    for case, tokens in zip(CASES, asyncio.run(ask()), strict=True):
        assert len(tokens) > len(case.tokens) - 4  # the last ones may be no whole character
        for token, reference in zip(tokens, case.top_logprobs, strict=False):
            expected = [value for _, value in reference]
            assert [other.logprob for other in token.top] == pytest.approx(expected, abs=1e-3)
            assert token.logprob == pytest.approx(expected[0], abs=1e-3)

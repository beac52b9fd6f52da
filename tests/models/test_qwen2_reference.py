"""The runtime's greedy tokens on the random Qwen2 equal those of transformers; see make_qwen2_fixture.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from .runtime import Runtime, append, generate, generate_by_appending

DIRECTORY = Path(__file__).parent / "qwen2-random"


@dataclass(frozen=True)
class Case:
    prompt: str
    prompt_tokens: list[int]
    tokens: list[int]
    margin: float
    top_logprobs: list[list[tuple[int, float]]]


def load_cases() -> list[Case]:
    reference = json.loads((DIRECTORY / "reference.json").read_text(encoding="utf-8"))
    return [Case(**case) for case in reference["cases"]]


CASES = load_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{len(case.prompt_tokens)}-tokens")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(DIRECTORY)


@each_case
def test_prompt_tokens(runtime: Runtime, case: Case) -> None:
    assert runtime.encode(case.prompt) == case.prompt_tokens


@each_case
def test_greedy_tokens(runtime: Runtime, case: Case) -> None:
    assert generate(runtime.generator(case.prompt_tokens), len(case.tokens)) == case.tokens


@each_case
def test_greedy_tokens_by_appending(runtime: Runtime, case: Case) -> None:
    assert generate_by_appending(runtime.generator(case.prompt_tokens), len(case.tokens)) == case.tokens


def test_greedy_tokens_after_rewind_and_prefill_in_pieces(runtime: Runtime) -> None:
    generator = runtime.generator()
    for case in CASES:
        generator.rewind_to(0)
        for start in range(0, len(case.prompt_tokens), 16):
            append(generator, case.prompt_tokens[start : start + 16])
        assert generate(generator, len(case.tokens)) == case.tokens


@each_case
def test_margins_are_comfortable(runtime: Runtime, case: Case) -> None:
    generator = runtime.generator(case.prompt_tokens)
    best_two = np.sort(generator.get_logits()[0, -1])[-2:]
    assert best_two[1] - best_two[0] >= case.margin - 1e-3
    assert case.margin > 1e-3


def test_cases_cover_short_long_and_unicode() -> None:
    lengths = sorted(len(case.prompt_tokens) for case in CASES)
    assert len(CASES) >= 6
    assert lengths[0] < 10
    assert lengths[-1] > 180
    assert any("日本語" in case.prompt for case in CASES)
    assert all(len(case.tokens) == 48 and len(set(case.tokens)) > 12 for case in CASES)

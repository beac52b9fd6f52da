"""The choice of tokens: limits, penalties, statistics, and that a seed decides alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foundry_cli.engine.request import SamplingParameters
from foundry_cli.engine.sampling import Logits, Sampler, SamplingDefaults
from foundry_cli.errors import EngineError

DRAWS = 5_000


def sampler(prompt: list[int] | None = None, defaults: SamplingDefaults | None = None, **parameters: Any) -> Sampler:
    return Sampler(SamplingParameters(**parameters), defaults or SamplingDefaults(), prompt or [])


def logits(*values: float) -> Logits:
    return np.array(values, dtype=np.float32)


def shares(values: Logits, **parameters: Any) -> list[float]:
    """How often each token is drawn."""
    drawing = sampler(seed=7, **parameters)
    counts = np.bincount([drawing.choose(values) for _ in range(DRAWS)], minlength=len(values))
    return [float(count) / DRAWS for count in counts]


def softmax(values: Logits, temperature: float = 1.0) -> list[float]:
    weights = np.exp(values.astype(float) / temperature)
    return [float(weight) for weight in weights / weights.sum()]


@pytest.mark.parametrize("parameters", [{"temperature": 0}, {"temperature": 1, "top_k": 1}, {"temperature": 1e-300}, {}])
def test_greedy(parameters: dict[str, Any]) -> None:
    drawing = sampler(**parameters)
    assert [drawing.choose(logits(1, 3, 2, 3)) for _ in range(20)] == [1] * 20


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_shares_follow_the_probabilities(temperature: float) -> None:
    values = logits(1, 3, 2, 2, -np.inf, -50)
    expected = softmax(values, temperature)
    assert shares(values, temperature=temperature) == pytest.approx(expected, abs=0.03)


def test_shares_in_a_vocabulary_of_many_blocks() -> None:
    values = np.full(5000, -np.inf, dtype=np.float32)
    values[[3, 1600, 4999]] = [0.0, np.log(2.0), 0.0]
    drawn = shares(values, temperature=1.0)
    assert [drawn[token] for token in (3, 1600, 4999)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


@pytest.mark.parametrize(
    ("parameters", "possible"),
    [
        ({"top_k": 2}, {1, 2}),
        ({"top_k": 0}, {0, 1, 2, 3}),
        ({"top_k": 99}, {0, 1, 2, 3}),
        ({"top_p": 0.0}, {1}),
        ({"top_p": 0.6}, {1}),
        ({"top_p": 0.7}, {1, 2}),
        ({"top_p": 1.0}, {0, 1, 2, 3}),
        ({"top_k": 2, "top_p": 0.7}, {1}),  # of the two that are left, the first has more than 0.7
        ({"top_k": 3, "top_p": 0.99}, {0, 1, 2}),
    ],
)
def test_limits(parameters: dict[str, Any], possible: set[int]) -> None:
    values = logits(1, 3, 2, 0.5)  # shares 0.09, 0.64, 0.23, 0.05
    drawn = shares(values, temperature=1.0, **parameters)
    assert {token for token, share in enumerate(drawn) if share} == possible


def test_limits_in_a_large_vocabulary_that_is_nearly_flat() -> None:
    values = np.random.default_rng(1).uniform(0, 0.01, 20_000).astype(np.float32)
    best = set(np.argsort(-values)[:700].tolist())
    drawing = sampler(temperature=1.0, top_k=700, seed=1)
    assert {drawing.choose(values) for _ in range(200)} <= best
    half = sampler(temperature=1.0, top_p=0.5, seed=1)
    assert {half.choose(values) for _ in range(50)} <= set(np.argsort(-values)[:10_001].tolist())


def test_equal_logits_are_cut_by_their_order() -> None:
    drawing = sampler(temperature=1.0, top_k=3, seed=3)
    assert {drawing.choose(np.zeros(1000, dtype=np.float32)) for _ in range(200)} == {0, 1, 2}


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, -(2**63), 2**64 - 1])
@pytest.mark.parametrize("parameters", [{}, {"top_p": 0.9}, {"top_k": 50}])
def test_a_seed_decides(seed: int, parameters: dict[str, Any]) -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    first, second = (sampler(temperature=1.0, seed=seed, **parameters) for _ in range(2))
    assert [first.choose(values) for _ in range(50)] == [second.choose(values) for _ in range(50)]


def test_without_a_seed_answers_differ() -> None:
    values = np.zeros(1000, dtype=np.float32)
    first, second = sampler(temperature=1.0), sampler(temperature=1.0)
    assert [first.choose(values) for _ in range(20)] != [second.choose(values) for _ in range(20)]


def test_presence_counts_once_and_frequency_every_time() -> None:
    values = logits(1.0, 0.6, 0.0)
    presence, frequency = sampler(presence_penalty=0.5), sampler(frequency_penalty=0.3)
    assert [presence.choose(values) for _ in range(4)] == [0, 1, 0, 0]
    assert [frequency.choose(values) for _ in range(5)] == [0, 0, 1, 0, 1]


def test_presence_and_frequency_do_not_count_the_prompt() -> None:
    assert sampler([0, 0, 0], presence_penalty=2, frequency_penalty=2).choose(logits(1.0, 0.9)) == 0


def test_negative_penalties_encourage() -> None:
    encouraged = sampler(presence_penalty=-1)
    assert [encouraged.choose(values) for values in (logits(1, 0), logits(0, 0.9))] == [0, 0]


def test_repetition_counts_the_prompt_and_works_on_both_signs() -> None:
    assert sampler([0], repetition_penalty=2).choose(logits(1.0, 0.6)) == 1
    assert sampler([0], repetition_penalty=2).choose(logits(-1.0, -1.5)) == 1
    answered = sampler(repetition_penalty=2)
    assert [answered.choose(logits(1.0, 0.6, 0.55)) for _ in range(4)] == [0, 1, 2, 0]


def test_penalties_leave_the_logits_alone() -> None:
    values = logits(1.0, 0.9)
    drawing = sampler([0, 1], repetition_penalty=2, presence_penalty=1, frequency_penalty=1)
    drawing.choose(values)
    drawing.choose(values)
    assert values.tolist() == logits(1.0, 0.9).tolist()


def test_defaults_hold_unless_the_request_says_otherwise() -> None:
    defaults = SamplingDefaults(temperature=1.0, top_k=2)
    values = np.zeros(100, dtype=np.float32)
    assert {sampler(None, defaults, seed=1).choose(values) for _ in range(1)} <= {0, 1}
    assert sampler(None, defaults, temperature=0).choose(values) == 0
    everything = sampler(None, defaults, top_k=0, seed=1)
    assert len({everything.choose(values) for _ in range(200)}) > 20


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_an_error(temperature: float, bad: float) -> None:
    with pytest.raises(EngineError, match="not numbers"):
        sampler(temperature=temperature).choose(logits(0, bad, 1))


def test_nothing_possible_is_an_error() -> None:
    with pytest.raises(EngineError, match="not numbers"):
        sampler(temperature=1.0).choose(logits(-np.inf, -np.inf))


def test_what_is_impossible_is_never_drawn() -> None:
    values = np.full(2000, -np.inf, dtype=np.float32)
    values[[5, 1999]] = 0.0
    for parameters in ({}, {"top_p": 0.999}, {"top_k": 100}, {"repetition_penalty": 1.5}):
        drawing = sampler([7, 5], temperature=2.0, seed=1, **parameters)
        assert {drawing.choose(values) for _ in range(200)} == {5, 1999}

"""The choice of tokens: limits, penalties, statistics, and that a seed decides alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foundry_cli.engine.request import SamplingParameters
from foundry_cli.engine.sampling import LOWEST_LOGPROB, Choice, Logits, Sampler, SamplingDefaults, choose_batch
from foundry_cli.errors import EngineError

DRAWS = 5_000


def sampler(prompt: list[int] | None = None, defaults: SamplingDefaults | None = None, **parameters: Any) -> Sampler:
    return Sampler(SamplingParameters(**parameters), defaults or SamplingDefaults(), prompt or [])


def logits(*values: float) -> Logits:
    return np.array(values, dtype=np.float32)


def shares(values: Logits, draws: int = DRAWS, **parameters: Any) -> list[float]:
    """How often each token is drawn."""
    drawing = sampler(seed=7, **parameters)
    counts = np.bincount([drawing.choose(values).token for _ in range(draws)], minlength=len(values))
    return [float(count) / draws for count in counts]


def softmax(values: Logits, temperature: float = 1.0) -> list[float]:
    weights = np.exp(values.astype(float) / temperature)
    return [float(weight) for weight in weights / weights.sum()]


@pytest.mark.parametrize("parameters", [{"temperature": 0}, {"temperature": 1, "top_k": 1}, {"temperature": 1e-300}, {}])
def test_greedy(parameters: dict[str, Any]) -> None:
    drawing = sampler(**parameters)
    assert [drawing.choose(logits(1, 3, 2, 3)).token for _ in range(20)] == [1] * 20


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
        ({"min_p": 0.0}, {0, 1, 2, 3}),
        ({"min_p": 0.1}, {0, 1, 2}),  # of the largest, 0.64
        ({"min_p": 0.1, "top_k": 2}, {1, 2}),
        ({"min_p": 0.3, "top_p": 0.99}, {1, 2}),
        ({"min_p": 1.0}, {1}),
    ],
)
def test_limits(parameters: dict[str, Any], possible: set[int]) -> None:
    values = logits(1, 3, 2, 0.5)  # shares 0.09, 0.64, 0.23, 0.05
    drawn = shares(values, 500, temperature=1.0, **parameters)
    assert {token for token, share in enumerate(drawn) if share} == possible


def test_limits_in_a_large_vocabulary_that_is_nearly_flat() -> None:
    values = np.random.default_rng(1).uniform(0, 0.01, 20_000).astype(np.float32)
    best = set(np.argsort(-values)[:700].tolist())
    drawing = sampler(temperature=1.0, top_k=700, seed=1)
    assert {drawing.choose(values).token for _ in range(200)} <= best
    half = sampler(temperature=1.0, top_p=0.5, seed=1)
    assert {half.choose(values).token for _ in range(50)} <= set(np.argsort(-values)[:10_001].tolist())


def test_equal_logits_are_cut_by_their_order() -> None:
    drawing = sampler(temperature=1.0, top_k=3, seed=3)
    assert {drawing.choose(np.zeros(1000, dtype=np.float32)).token for _ in range(200)} == {0, 1, 2}


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, -(2**63), 2**64 - 1])
@pytest.mark.parametrize("parameters", [{}, {"top_p": 0.9}, {"top_k": 50}])
def test_a_seed_decides(seed: int, parameters: dict[str, Any]) -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    first, second = (sampler(temperature=1.0, seed=seed, **parameters) for _ in range(2))
    assert [first.choose(values).token for _ in range(50)] == [second.choose(values).token for _ in range(50)]


def test_without_a_seed_answers_differ() -> None:
    values = np.zeros(1000, dtype=np.float32)
    first, second = sampler(temperature=1.0), sampler(temperature=1.0)
    assert [first.choose(values).token for _ in range(20)] != [second.choose(values).token for _ in range(20)]


def test_presence_counts_once_and_frequency_every_time() -> None:
    values = logits(1.0, 0.6, 0.0)
    presence, frequency = sampler(presence_penalty=0.5), sampler(frequency_penalty=0.3)
    assert [presence.choose(values).token for _ in range(4)] == [0, 1, 0, 0]
    assert [frequency.choose(values).token for _ in range(5)] == [0, 0, 1, 0, 1]


def test_presence_and_frequency_do_not_count_the_prompt() -> None:
    assert sampler([0, 0, 0], presence_penalty=2, frequency_penalty=2).choose(logits(1.0, 0.9)).token == 0


def test_negative_penalties_encourage() -> None:
    encouraged = sampler(presence_penalty=-1)
    assert [encouraged.choose(values).token for values in (logits(1, 0), logits(0, 0.9))] == [0, 0]


def test_repetition_counts_the_prompt_and_works_on_both_signs() -> None:
    assert sampler([0], repetition_penalty=2).choose(logits(1.0, 0.6)).token == 1
    assert sampler([0], repetition_penalty=2).choose(logits(-1.0, -1.5)).token == 1
    answered = sampler(repetition_penalty=2)
    assert [answered.choose(logits(1.0, 0.6, 0.55)).token for _ in range(4)] == [0, 1, 2, 0]


def test_penalties_leave_the_logits_alone() -> None:
    values = logits(1.0, 0.9)
    drawing = sampler([0, 1], repetition_penalty=2, presence_penalty=1, frequency_penalty=1)
    drawing.choose(values)
    drawing.choose(values)
    assert values.tolist() == logits(1.0, 0.9).tolist()


def test_defaults_hold_unless_the_request_says_otherwise() -> None:
    defaults = SamplingDefaults(temperature=1.0, top_k=2)
    values = np.zeros(100, dtype=np.float32)
    assert {sampler(None, defaults, seed=1).choose(values).token for _ in range(1)} <= {0, 1}
    assert sampler(None, defaults, temperature=0).choose(values).token == 0
    everything = sampler(None, defaults, top_k=0, seed=1)
    assert len({everything.choose(values).token for _ in range(200)}) > 20


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
        assert {drawing.choose(values).token for _ in range(200)} == {5, 1999}


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999, 1 - 1e-15])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 3.0, 20.0])
def test_the_nucleus_is_the_smallest_set_that_reaches_its_share(top_p: float, spread: float) -> None:
    values = np.random.default_rng(2).normal(0, spread, 30_000).astype(np.float32)
    values[:7] = values[100]  # equal ones
    drawing = sampler(temperature=1.0, top_p=top_p, seed=5)
    order = np.argsort(-values, kind="stable")
    reached = np.cumsum(softmax(values[order]))
    kept = set(order[: int(np.searchsorted(reached, top_p * (1 + 1e-6))) + 1].tolist())
    assert {drawing.choose(values).token for _ in range(40)} <= kept


def test_the_smallest_numbers_are_impossible_and_no_reason_to_warn() -> None:
    values = np.full(10_000, np.finfo(np.float32).min, dtype=np.float32)
    values[[3, 4]] = [30.0, 31.0]
    for parameters in ({"top_p": 0.9999}, {"top_k": 40}, {"min_p": 0.01}, {"repetition_penalty": 3.0}):
        drawing = sampler([7, 3], temperature=0.5, seed=1, **parameters)
        assert {drawing.choose(values).token for _ in range(50)} <= {3, 4}


def test_a_bias_is_added_to_the_logits() -> None:
    values = logits(1.0, 3.0, 2.0)
    assert sampler(logit_bias=((0, 2.5),)).choose(values).token == 0
    assert sampler(logit_bias=((1, -100),)).choose(values).token == 2
    assert sampler(logit_bias=((7, 100), (2**31 - 1, 100))).choose(values).token == 1  # the vocabulary has no such tokens
    drawing = sampler(temperature=1.0, seed=1, logit_bias=((1, -100.0), (2, -100.0)))
    assert {drawing.choose(values).token for _ in range(100)} == {0}
    assert values.tolist() == [1.0, 3.0, 2.0]


def telling(count: int, **parameters: Any) -> Sampler:
    return Sampler(SamplingParameters(**parameters), SamplingDefaults(), [], logprobs=count)


def test_log_probabilities_are_those_of_the_model() -> None:
    values = logits(1.0, 3.0, 2.0, 0.5)
    expected = np.log(softmax(values))
    for parameters in (
        {},
        {"temperature": 1.7, "seed": 1},
        {"logit_bias": ((3, 50.0),)},
        {"min_p": 0.5, "presence_penalty": 2},
    ):
        choice = telling(2, **parameters).choose(values)
        told = choice.logprob
        assert told is not None
        assert told.token == choice.token
        assert told.logprob == pytest.approx(expected[choice.token], abs=1e-5)
        assert [token for token, _ in told.top] == [1, 2]
        assert [logprob for _, logprob in told.top] == pytest.approx(expected[[1, 2]].tolist(), abs=1e-5)
    assert sampler().choose(values).logprob is None


def test_log_probabilities_without_alternatives_of_few_tokens_and_of_the_impossible() -> None:
    bare = telling(0).choose(logits(0.0, 0.0)).logprob
    assert bare is not None
    assert (bare.logprob, bare.top) == (pytest.approx(np.log(0.5)), ())
    few = telling(20).choose(logits(0.0, 0.0, -np.inf)).logprob
    assert few is not None
    assert [token for token, _ in few.top] == [0, 1]
    forced = telling(0, logit_bias=((1, 100.0),)).choose(logits(0.0, -1e30)).logprob
    assert forced is not None
    assert (forced.token, forced.logprob) == (0, 0.0)
    assert telling(2).choose(logits(0.0, -50_000.0)).logprob.top[1][1] == LOWEST_LOGPROB  # type: ignore[union-attr]


KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0, "presence_penalty": 1.0},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 0.8, "seed": 4, "top_p": 0.9},
    {"temperature": 1.0, "seed": 5, "top_k": 50, "min_p": 0.01},
    {"temperature": 1.3, "seed": 6, "repetition_penalty": 1.2, "frequency_penalty": 0.5},
    {"logit_bias": ((5, 100.0),)},
    {"temperature": 1.0, "top_k": 1},
]


@pytest.mark.parametrize("vocabulary", [300, 32_001])
def test_a_batch_chooses_what_each_would_choose_alone(vocabulary: int) -> None:
    random = np.random.default_rng(9)
    together, alone = ([*(sampler([1, 2], **kind) for kind in KINDS), telling(3)] for _ in range(2))
    for _ in range(20):
        values = random.normal(0, 3, (len(together), vocabulary)).astype(np.float32)
        assert choose_batch(together, values) == [each.choose(row.copy()) for each, row in zip(alone, values, strict=True)]


def test_a_batch_without_rows() -> None:
    assert choose_batch([], np.empty((0, 10), dtype=np.float32)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_error_of_one_row_leaves_the_others_alone(kind: dict[str, Any], bad: float) -> None:
    values = np.random.default_rng(9).normal(0, 3, (3, 100)).astype(np.float32)
    values[1, slice(None) if bad == -np.inf else 40] = bad
    samplers = [sampler(temperature=1.0, seed=1), sampler(**kind), sampler()]
    first, second, third = choose_batch(samplers, values)
    assert first == sampler(temperature=1.0, seed=1).choose(values[0])
    assert isinstance(second, EngineError)
    assert third == Choice(int(values[2].argmax()))
    with pytest.raises(EngineError) as caught:
        sampler(**kind).choose(values[1])
    assert str(caught.value) == str(second)

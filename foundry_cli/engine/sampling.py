"""Choosing the next token from the logits, for one answer and for several at once.

The runtime's own sampling options are fixed when its generator is made; choosing here lets one generator, with the
key-value cache in it, serve turn after turn with other options, and gives every request its own random sequence.

Order: logit bias, penalties, grammar, temperature, min_p, top_k, top_p. Log-probabilities are those of the model itself,
before all of this, as with OpenAI and vLLM.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng  # here, because it is slow to import and the first request should not wait
from numpy.typing import NDArray

from foundry_cli.engine.grammar import GrammarState
from foundry_cli.engine.request import SamplingParameters
from foundry_cli.errors import EngineError, FoundryError

Logits = NDArray[np.float32]

LOWEST_LOGPROB = -9999.0
"""Stands for the logarithm of zero, which JSON cannot say; the number is OpenAI's."""

_LOWEST_TEMPERATURE = 1e-4  # below it is greedy; dividing by less overflows
_FLOORS = (-1.0, -2.0, -4.0, -8.0, -12.0, -16.0, -20.0, -24.0, -32.0, float(np.finfo(np.float32).min))
"""Below the largest logit: the probable tokens are found by trying. The last one is below all that are possible."""
_NUCLEUS_FLOOR = -8.0
_SORTED = 4096  # values that are sorted without looking for fewer
_BINS, _DEEPEST = 1024, 32.0  # otherwise they are counted first, by how far below the largest they are
_PIECE = 8192  # tokens that are counted at once
_BLOCK = 512  # weights that are summed at once
_SEED_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class SamplingDefaults:
    """What `search` of genai_config.json says; temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class TokenLogprob:
    """Natural logarithms of probabilities: of the token that was chosen, and of the most probable ones, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Choice:
    """The next token; `logprob` if log-probabilities are wanted."""

    token: int
    logprob: TokenLogprob | None = None


class _Scratch(threading.local):
    """Memory for arrays of the vocabulary's size. New memory for each token would take longer than the arithmetic does."""

    def __init__(self) -> None:
        self._arrays: dict[str, Logits] = {}

    def take(self, name: str, size: int) -> Logits:
        """The first `size` numbers of the array called `name`, whatever they are."""
        array = self._arrays.get(name)
        if array is None or len(array) < size:
            array = self._arrays[name] = np.empty(size, dtype=np.float32)
        return array[:size]


_scratch = _Scratch()


class Sampler:
    """The choice of tokens for one answer. `logprobs`: how many alternatives are told with each token; None: nothing."""

    def __init__(
        self,
        parameters: SamplingParameters,
        defaults: SamplingDefaults,
        prompt: Sequence[int],
        grammar: GrammarState | None = None,
        logprobs: int | None = None,
    ) -> None:
        self._temperature = _given(parameters.temperature, defaults.temperature)
        self._top_p = _given(parameters.top_p, defaults.top_p)
        self._top_k = int(_given(parameters.top_k, defaults.top_k))
        self._min_p = parameters.min_p
        self._repetition = _given(parameters.repetition_penalty, defaults.repetition_penalty)
        self._presence = parameters.presence_penalty
        self._frequency = parameters.frequency_penalty
        self._biased = np.array([token for token, _ in parameters.logit_bias], dtype=np.int64)
        self._bias = np.array([bias for _, bias in parameters.logit_bias], dtype=np.float32)
        self._counts: dict[int, int] = {}  # of the answer's tokens
        self._seen = np.unique(np.array(prompt if self._repetition != 1.0 else [], dtype=np.int64))
        self._grammar = grammar
        self._logprobs = logprobs
        seed = None if parameters.seed is None else parameters.seed & _SEED_MASK
        self._random = default_rng(seed)

    def choose(self, logits: Logits) -> Choice:
        """The next token for `logits`, float32 of shape (vocabulary,). Raises `EngineError` when they are not numbers."""
        return self._choose(logits, int(np.argmax(logits)))

    @np.errstate(over="ignore")  # models say "impossible" by the smallest number there is
    def _choose(self, logits: Logits, best: int) -> Choice:
        _check_number(logits[best])
        raw, raw_best = logits, best
        logits = self._adjusted(raw)
        if logits is not raw:
            best = int(np.argmax(logits))
            _check_number(logits[best])
        token = best if self._is_greedy() else self._draw(logits, float(logits[best]))
        self._note(token)
        return Choice(token, None if self._logprobs is None else _logprob(raw, raw_best, token, self._logprobs))

    def _is_greedy(self) -> bool:
        return self._temperature < _LOWEST_TEMPERATURE or self._top_k == 1

    def _takes_the_best(self) -> bool:
        """Whether the choice is the largest logit as it is, and nothing needs to be noted."""
        has_penalties = bool(self._presence or self._frequency or self._repetition != 1.0)
        is_adjusted = has_penalties or self._biased.size > 0 or self._grammar is not None
        return self._is_greedy() and self._logprobs is None and not is_adjusted

    def _note(self, token: int) -> None:
        if self._presence or self._frequency:
            self._counts[token] = self._counts.get(token, 0) + 1
        if self._repetition != 1.0 and token not in self._seen:
            self._seen = np.append(self._seen, token)
        if self._grammar is not None:
            self._grammar.accept(token)

    def _adjusted(self, logits: Logits) -> Logits:
        """Penalties as OpenAI defines presence and frequency (over the answer) and CTRL repetition (over everything)."""
        if not (self._counts or self._seen.size or self._biased.size or self._grammar is not None):
            return logits
        raw, logits = logits, _scratch.take("adjusted", len(logits))
        logits[:] = raw
        if self._biased.size:
            known = self._biased < len(logits)  # what the vocabulary does not have, there is nothing to do about
            logits[self._biased[known]] += self._bias[known]
        if self._seen.size:
            values = logits[self._seen]
            logits[self._seen] = np.where(values > 0, values / self._repetition, values * self._repetition)
        if self._counts:
            tokens = np.fromiter(self._counts, dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[tokens] -= self._presence + self._frequency * counts
        if self._grammar is not None:
            self._grammar.mask(logits)
        return logits

    def _draw(self, logits: Logits, largest: float) -> int:
        scaled = np.subtract(logits, np.float32(largest), out=_scratch.take("scaled", len(logits)))
        scaled *= np.float32(1.0 / self._temperature)
        tokens = None
        if self._min_p > 0.0:
            tokens = np.flatnonzero(scaled >= np.float32(math.log(self._min_p)))
            scaled = scaled[tokens]
        if 0 < self._top_k < len(scaled):
            kept = _most_probable(scaled, self._top_k)
            tokens, scaled = kept if tokens is None else tokens[kept], scaled[kept]
        weights = np.exp(scaled, out=_scratch.take("weights", len(scaled)))
        if self._top_p < 1.0:
            _cut_to_nucleus(weights, scaled, self._top_p)
        index = _at_share(weights, self._random.random())
        return index if tokens is None else int(tokens[index])


def choose_batch(samplers: Sequence[Sampler], logits: Logits) -> list[Choice | FoundryError]:
    """The next tokens of several answers, `logits` being float32 of shape (answers, vocabulary).

    Each is what its sampler would choose alone; an error stands in the place of its answer and leaves the others alone.
    """
    best = np.argmax(logits, axis=1)
    is_number = np.isfinite(logits[np.arange(len(best)), best])
    choices: list[Choice | FoundryError] = []
    for sampler, row, token, is_good in zip(samplers, logits, best.tolist(), is_number.tolist(), strict=True):
        if is_good and sampler._takes_the_best():
            choices.append(Choice(token))
            continue
        try:
            choices.append(sampler._choose(row, token))
        except FoundryError as error:
            choices.append(error)
    return choices


def _check_number(largest: np.float32) -> None:
    if not np.isfinite(largest):
        raise EngineError(
            "The model produced values that are not numbers.",
            hint="Try another variant of the model: this one does not compute correctly on this machine.",
        )


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _logprob(logits: Logits, best: int, token: int, count: int) -> TokenLogprob:
    """Of `token` and of the `count` most probable, `best` being the first of them."""
    shifted = np.subtract(logits, logits[best], out=_scratch.take("scaled", len(logits)))
    weights = np.exp(shifted, out=_scratch.take("weights", len(logits)))
    total = math.log(float(weights.sum(dtype=np.float64)))

    def of(index: int) -> float:
        return max(float(shifted[index]) - total, LOWEST_LOGPROB)

    top = _most_probable(shifted, min(count, len(shifted))) if count else np.empty(0, dtype=np.int64)
    ranked = top[np.argsort(-shifted[top], kind="stable")].tolist()
    return TokenLogprob(token, of(token), tuple((index, of(index)) for index in ranked))


def _most_probable(scaled: Logits, count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest of `scaled`, ascending; of equal values the first, so that a seed decides alone.

    Fewer than `count` when not so many are possible.
    """
    for floor in _FLOORS:  # to look at all of a large vocabulary more than once would take long
        chosen = np.flatnonzero(scaled >= floor)
        if len(chosen) >= count:
            break
    count = min(count, len(chosen))
    least = np.partition(scaled[chosen], -count)[-count]
    kept = np.flatnonzero(scaled >= least)
    if len(kept) == count:
        return kept
    return np.delete(kept, np.flatnonzero(scaled[kept] == least)[count - len(kept) :])


def _cut_to_nucleus(weights: Logits, scaled: Logits, top_p: float) -> None:
    """Leave the weights of the smallest set of most probable tokens whose share reaches `top_p`, at least one."""
    wanted = top_p * float(weights.sum(dtype=np.float64))
    count, share = 0, 0.0  # of the tokens that belong to it for certain
    is_likely = scaled >= _NUCLEUS_FLOOR  # nearly always that is all of it, and little more
    chosen = np.flatnonzero(is_likely) if np.count_nonzero(is_likely) <= _SORTED else None
    if chosen is None or weights[chosen].sum(dtype=np.float64) < wanted:
        depths = np.minimum(scaled * np.float32(-_BINS / _DEEPEST), np.float32(_BINS - 1))
        shares = np.cumsum(_weights_by_depth(depths, weights))
        last = min(int(np.searchsorted(shares, wanted)), _BINS - 1)
        if last:
            count, share = int(np.count_nonzero(depths < last)), float(shares[last - 1])
        chosen = np.flatnonzero((depths >= last) & (depths < last + 1))
    ranked = np.sort(scaled[chosen])[::-1]  # values only: sorting indices takes many times as long
    reached = share + np.cumsum(np.exp(ranked), dtype=np.float64)
    index = min(int(np.searchsorted(reached, wanted)), len(ranked) - 1)
    is_kept = scaled >= ranked[index]
    surplus = int(np.count_nonzero(is_kept)) - (count + index + 1)
    if surplus:
        is_kept[np.flatnonzero(scaled == ranked[index])[-surplus:]] = False
    weights *= is_kept


def _weights_by_depth(depths: Logits, weights: Logits) -> NDArray[np.float64]:
    """Sums of `weights` by the whole part of `depths`; in pieces, because new memory for all costs more than the sums."""
    sums = np.zeros(_BINS)
    for start in range(0, len(depths), _PIECE):
        part = slice(start, start + _PIECE)
        sums += np.bincount(depths[part].astype(np.intp), weights[part], _BINS)
    return sums


def _at_share(weights: Logits, share: float) -> int:
    """The index at which the running sum passes `share` of the whole: first by blocks, then within one."""
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64))
    wanted = share * sums[-1]
    block = min(int(np.searchsorted(sums, wanted, side="right")), len(sums) - 1)
    before = sums[block - 1] if block else 0.0
    within = np.cumsum(weights[block * _BLOCK : (block + 1) * _BLOCK], dtype=np.float64)
    last = np.searchsorted(within, within[-1])  # with a weight: these sums are rounded otherwise than those of the blocks
    return block * _BLOCK + int(min(np.searchsorted(within, wanted - before, side="right"), last))

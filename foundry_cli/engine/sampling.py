"""Choosing the next token from the logits.

The runtime's own sampling options are fixed when its generator is made; choosing here lets one generator, with the
key-value cache in it, serve turn after turn with other options, and gives every request its own random sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng  # here, because it is slow to import and the first request should not wait
from numpy.typing import NDArray

from foundry_cli.engine.request import SamplingParameters
from foundry_cli.errors import EngineError

Logits = NDArray[np.float32]

_LOWEST_TEMPERATURE = 1e-4  # below it is greedy; dividing by less overflows
_FLOORS = (-1.0, -2.0, -4.0, -8.0, -16.0, -32.0, -np.inf)  # below the largest logit: the probable tokens are found by trying
_BLOCK = 512  # weights that are summed at once
_SEED_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class SamplingDefaults:
    """What `search` of genai_config.json says; temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


class Sampler:
    """The choice of tokens for one answer."""

    def __init__(self, parameters: SamplingParameters, defaults: SamplingDefaults, prompt: list[int]) -> None:
        self._temperature = _given(parameters.temperature, defaults.temperature)
        self._top_p = _given(parameters.top_p, defaults.top_p)
        self._top_k = int(_given(parameters.top_k, defaults.top_k))
        self._repetition = _given(parameters.repetition_penalty, defaults.repetition_penalty)
        self._presence = parameters.presence_penalty
        self._frequency = parameters.frequency_penalty
        self._counts: dict[int, int] = {}  # of the answer's tokens
        self._seen = np.unique(np.array(prompt if self._repetition != 1.0 else [], dtype=np.int64))
        seed = None if parameters.seed is None else parameters.seed & _SEED_MASK
        self._random = default_rng(seed)

    def choose(self, logits: Logits) -> int:
        """The next token for `logits`, float32 of shape (vocabulary,). Raises `EngineError` when they are not numbers."""
        logits = self._penalised(logits)
        best = int(np.argmax(logits))
        if not np.isfinite(logits[best]):
            raise EngineError("The model produced values that are not numbers.", hint=_NUMERIC_HINT)
        is_greedy = self._temperature < _LOWEST_TEMPERATURE or self._top_k == 1
        token = best if is_greedy else self._draw(logits, float(logits[best]))
        if self._presence or self._frequency:
            self._counts[token] = self._counts.get(token, 0) + 1
        if self._repetition != 1.0 and token not in self._seen:
            self._seen = np.append(self._seen, token)
        return token

    def _penalised(self, logits: Logits) -> Logits:
        """Penalties as OpenAI defines presence and frequency (over the answer) and CTRL repetition (over everything)."""
        if not self._counts and not self._seen.size:
            return logits
        logits = logits.copy()
        if self._seen.size:
            values = logits[self._seen]
            logits[self._seen] = np.where(values > 0, values / self._repetition, values * self._repetition)
        if self._counts:
            tokens = np.fromiter(self._counts, dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[tokens] -= self._presence + self._frequency * counts
        return logits

    def _draw(self, logits: Logits, largest: float) -> int:
        scaled = (logits - np.float32(largest)) * np.float32(1.0 / self._temperature)
        tokens = None
        if 0 < self._top_k < len(scaled):
            tokens = _most_probable(scaled, self._top_k)
            scaled = scaled[tokens]
        if self._top_p < 1.0:
            kept = _nucleus(scaled, self._top_p)
            scaled = scaled[kept]
            tokens = kept if tokens is None else tokens[kept]
        index = _at_share(np.exp(scaled), self._random.random())
        return index if tokens is None else int(tokens[index])


_NUMERIC_HINT = "Try another variant of the model: this one does not compute correctly on this machine."


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _most_probable(scaled: Logits, count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest of `scaled`, largest first; equal values by index, so that a seed decides alone."""
    for floor in _FLOORS:  # sorting all of a large vocabulary would take longer than the model does
        chosen = np.flatnonzero(scaled >= floor)
        if len(chosen) >= count:
            break
    return _sorted(chosen, scaled)[:count]


def _nucleus(scaled: Logits, top_p: float) -> NDArray[np.int64]:
    """Indices of the smallest set of most probable tokens whose share reaches `top_p`; at least one."""
    weights = np.exp(scaled)
    wanted = top_p * float(weights.sum(dtype=np.float64))
    for floor in _FLOORS:
        chosen = np.flatnonzero(scaled >= floor)
        if weights[chosen].sum(dtype=np.float64) >= wanted:
            break
    chosen = _sorted(chosen, scaled)
    cumulative = np.cumsum(weights[chosen], dtype=np.float64)
    return chosen[: int(np.searchsorted(cumulative, wanted)) + 1]


def _sorted(chosen: NDArray[np.int64], scaled: Logits) -> NDArray[np.int64]:
    return chosen[np.argsort(-scaled[chosen], kind="stable")]


def _at_share(weights: Logits, share: float) -> int:
    """The index at which the running sum passes `share` of the whole: first by blocks, then within one."""
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64))
    wanted = share * sums[-1]
    block = min(int(np.searchsorted(sums, wanted, side="right")), len(sums) - 1)
    before = sums[block - 1] if block else 0.0
    within = np.cumsum(weights[block * _BLOCK : (block + 1) * _BLOCK], dtype=np.float64)
    return block * _BLOCK + min(int(np.searchsorted(within, wanted - before, side="right")), len(within) - 1)

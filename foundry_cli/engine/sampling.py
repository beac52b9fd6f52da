"""Choosing the next token from the logits.

The runtime's own sampling options are fixed when its generator is made; choosing here lets one generator, with the
key-value cache in it, serve turn after turn with other options, and gives every request its own random sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundry_cli.engine.request import SamplingParameters
from foundry_cli.errors import EngineError

Logits = NDArray[np.float32]

_NUCLEUS_CANDIDATES = 512  # enough for nearly every top_p; the rest is sorted only when it is not
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
        self._seen = set(prompt) if self._repetition != 1.0 else set()
        seed = None if parameters.seed is None else parameters.seed & _SEED_MASK
        self._random = np.random.default_rng(seed)

    def choose(self, logits: Logits) -> int:
        """The next token for `logits`, float32 of shape (vocabulary,). Raises `EngineError` when they are not numbers."""
        logits = self._penalised(logits)
        best = int(np.argmax(logits))
        if not np.isfinite(logits[best]):
            raise EngineError("The model produced values that are not numbers.", hint=_NUMERIC_HINT)
        token = best if self._temperature <= 0.0 or self._top_k == 1 else self._draw(logits, float(logits[best]))
        if self._presence or self._frequency:
            self._counts[token] = self._counts.get(token, 0) + 1
        if self._repetition != 1.0:
            self._seen.add(token)
        return token

    def _penalised(self, logits: Logits) -> Logits:
        """Penalties as OpenAI defines presence and frequency (over the answer) and CTRL repetition (over everything)."""
        if not self._counts and not self._seen:
            return logits
        logits = logits.copy()
        if self._seen:
            tokens = np.fromiter(self._seen, dtype=np.int64)
            values = logits[tokens]
            logits[tokens] = np.where(values > 0, values / self._repetition, values * self._repetition)
        if self._counts:
            tokens = np.fromiter(self._counts, dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[tokens] -= self._presence + self._frequency * counts
        return logits

    def _draw(self, logits: Logits, largest: float) -> int:
        scaled = (logits.astype(np.float64) - largest) / self._temperature
        tokens = None
        if 0 < self._top_k < len(scaled):
            tokens = _largest(scaled, self._top_k)
            scaled = scaled[tokens]
        weights = np.exp(scaled)
        if self._top_p < 1.0:
            kept = _nucleus(weights, self._top_p)
            weights = weights[kept]
            tokens = kept if tokens is None else tokens[kept]
        cumulative = np.cumsum(weights)
        index = int(np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right"))
        index = min(index, len(cumulative) - 1)
        return index if tokens is None else int(tokens[index])


_NUMERIC_HINT = "Try another variant of the model: this one does not compute correctly on this machine."


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest values, largest first; equal values by index, so that a seed decides alone."""
    chosen = np.argpartition(-values, count - 1)[:count]
    return chosen[np.lexsort((chosen, -values[chosen]))]


def _nucleus(weights: NDArray[np.float64], top_p: float) -> NDArray[np.int64]:
    """Indices of the smallest set of most probable tokens whose share reaches `top_p`; at least one."""
    wanted = top_p * float(weights.sum())
    for count in (_NUCLEUS_CANDIDATES, len(weights)):
        order = _largest(weights, min(count, len(weights)))
        cumulative = np.cumsum(weights[order])
        if cumulative[-1] >= wanted or len(order) == len(weights):
            break
    return order[: int(np.searchsorted(cumulative, wanted)) + 1]

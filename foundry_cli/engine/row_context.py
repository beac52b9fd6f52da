"""The conversation in one row of the batched engine's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foundry_cli.engine.sampling import Logits


class RunRows(Protocol):
    """A pass over the weights: `ids` (rows, new tokens) behind the `held` tokens of the rows from `first` on."""

    def __call__(
        self, first: int, ids: NDArray[np.int64], held: Sequence[int], *, is_long: bool = False
    ) -> NDArray[np.float32]:
        """The logits (rows, new tokens or 1, vocabulary), valid until the next call."""


class RowContext:
    """See `TokenContext`."""

    least_piece = 1

    def __init__(self, run: RunRows, row: int, max_length: int, *, is_long: bool = False) -> None:
        """`is_long`: keys are computed with the rotary factors for long conversations, see `long_rope.py`."""
        self.tokens: list[int] = []
        self.max_length = max_length
        self.row = row
        self.is_long = is_long
        self._run = run
        self._logits: Logits | None = None

    def append(self, tokens: Sequence[int]) -> None:
        """See `TokenContext.append`."""
        self._logits = self._run(self.row, np.array([tokens]), [len(self.tokens)], is_long=self.is_long)[0, -1]
        self.tokens.extend(tokens)

    def rewind(self, length: int) -> None:
        """See `TokenContext.rewind`."""
        del self.tokens[length:]

    def logits(self) -> Logits:
        """See `TokenContext.logits`."""
        assert self._logits is not None
        return self._logits

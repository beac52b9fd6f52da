"""Drafts what an answer says next from its prompt: what followed where its last tokens stood there (prompt lookup).

Answers that quote, or that change a text or a program, say long stretches of their prompt again, and a pass over the weights
for several tokens takes much less time than as many passes for one. The draft only tells which tokens are computed together:
each is chosen from its logits as ever, so the answer stays what it is.

Only the prompt is searched, not the answer: what a model repeats of itself is for the most part a loop, which nobody wants
faster. Source: A. Saxena, Prompt Lookup Decoding, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FEWEST_SAME, _MOST_SAME = 3, 16  # tokens before the draft that are there in the prompt, too; of places the one with more
_MOST_PLACES = 1000  # that are looked at, the last ones
_SHORT, _LONG = 3, 7  # tokens of a draft; a long one follows one that was right to its end
_BEARABLE = 0.03  # of an answer's time may be lost with drafts that did not pay
_MOST_SAVED = 2.0  # steps that drafts have saved count for as much, when later ones do not pay
_WEIGHT = 0.2  # of the last measurement


class PromptLookup:
    """The drafts for one answer to `prompt`, and whether they pay."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt = prompt
        self._array: NDArray[np.int64] | None = None
        self._length = _SHORT
        self._step_seconds = 0.0  # without a draft
        self._total_seconds = 0.0
        self._saved_seconds = 0.0  # by drafts; less than 0: lost

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """What may follow `tokens`, prompt and answer so far; at most `most` tokens, none when it would not pay."""
        is_measured = self._step_seconds > 0
        if most <= 0 or not is_measured or self._saved_seconds + _BEARABLE * self._total_seconds < 0:
            return []
        start = self._find(tokens)
        return list(self._prompt[start : start + min(most, self._length)]) if start else []

    def charge(self, drafted: int, written: int, seconds: float) -> None:
        """Account for a step for this answer alone: tokens of the draft, tokens that were chosen, and how long it took."""
        self._total_seconds += seconds
        if drafted:
            self._length = _LONG if written > drafted else _SHORT
            saved = self._saved_seconds + written * self._step_seconds - seconds
            self._saved_seconds = min(saved, _MOST_SAVED * self._step_seconds)
        else:
            self._step_seconds += (seconds - self._step_seconds) * (_WEIGHT if self._step_seconds else 1)

    def _searched(self) -> NDArray[np.int64]:
        if self._array is None:
            self._array = np.array(self._prompt, dtype=np.int64)
        return self._array

    def _places(self, token: int) -> NDArray[np.int64]:
        """The last places of `token` that something follows."""
        return np.flatnonzero(self._searched()[:-1] == token)[-_MOST_PLACES:]

    def _find(self, tokens: Sequence[int]) -> int:
        """Where the prompt goes on as `tokens` may: after the place that has most in common with their end; 0: nowhere.

        Of places that have the same in common, the last one with enough behind it.
        """
        prompt, ends = self._searched(), self._places(tokens[-1])
        common = 1 if len(ends) else 0
        while common and common < min(_MOST_SAME, len(tokens)):
            longer = ends[ends >= common]
            longer = longer[prompt[longer - common] == tokens[-1 - common]]
            if len(longer) == 0:
                break
            ends, common = longer, common + 1
        if common < _FEWEST_SAME:
            return 0
        enough = ends[ends < len(prompt) - self._length]
        return int(enough[-1] if len(enough) else ends[0]) + 1

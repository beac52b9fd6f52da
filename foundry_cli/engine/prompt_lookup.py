"""Drafts what an answer says next from its prompt: what followed where its last tokens stood there (prompt lookup).

Answers that quote, or that change a text or a program, say long stretches of their prompt again, and a pass over the weights
for several tokens takes little longer than for one. The draft only tells which tokens are computed together: each is chosen
from its logits as ever, so the answer stays what it is. A draft that does not save time makes the next ones rarer.

Only the prompt is searched, not the answer: what a model repeats of itself is for the most part a loop, which nobody wants
faster. Source: A. Saxena, Prompt Lookup Decoding, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FEWEST_SAME, _MOST_SAME = 3, 16  # tokens before the draft that are there in the prompt, too; of places the one with more
_SHORT, _LONG = 3, 7  # tokens of a draft; a long one follows one that was right to its end
_MOST_SKIPPED = 64  # drafts after one that did not pay
_WEIGHT = 0.2  # of the last measurement


class PromptLookup:
    """The drafts for one answer to `prompt`, and whether they pay."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt = prompt
        self._array: NDArray[np.int64] | None = None
        self._length = _SHORT
        self._seconds = 0.0  # of a token without a draft
        self._skipped = 0  # drafts after the last one that did not pay
        self._to_skip = 0

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """What may follow `tokens`, prompt and answer so far; at most `most` tokens, none when it would not pay."""
        start = self._find(tokens) if most > 0 else 0
        if not start:
            return []
        if self._to_skip:
            self._to_skip -= 1
            return []
        return list(self._prompt[start : start + min(most, self._length)])

    def charge(self, drafted: int, written: int, seconds: float) -> None:
        """Account for a step for this answer alone: tokens of the draft, tokens that were chosen, and how long it took."""
        if not drafted:
            self._seconds += (seconds - self._seconds) * (_WEIGHT if self._seconds else 1)
            return
        self._length = _LONG if written > drafted else _SHORT
        is_faster = written > 1 and (not self._seconds or seconds < written * self._seconds)
        self._skipped = 0 if is_faster else min(2 * self._skipped or 1, _MOST_SKIPPED)
        self._to_skip = self._skipped

    def _find(self, tokens: Sequence[int]) -> int:
        """Where the prompt goes on as `tokens` may: after the place that has most in common with their end; 0: nowhere.

        Of places that have the same in common, the last one with enough behind it.
        """
        if self._array is None:
            self._array = np.array(self._prompt, dtype=np.int64)
        ends = np.flatnonzero(self._array[:-1] == tokens[-1])
        common = 1 if len(ends) else 0
        while common and common < min(_MOST_SAME, len(tokens)):
            longer = ends[ends >= common]
            longer = longer[self._array[longer - common] == tokens[-1 - common]]
            if len(longer) == 0:
                break
            ends, common = longer, common + 1
        if common < _FEWEST_SAME:
            return 0
        enough = ends[ends < len(self._array) - self._length]
        return int(enough[-1] if len(enough) else ends[0]) + 1

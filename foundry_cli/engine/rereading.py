"""Why a conversation that goes on is read again: what can be seen of it in the tokens, and no guesses.

A prompt is the next turn of a conversation when what that one was asked last is there again, more follows behind it, and
both are the same for the most part. Then what differs lies between the first and the last token that is another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from foundry_cli.engine.prompt_cache import common_prefix

_PROMPT_END = 8  # tokens that a template may write at the end of a prompt and not again in the next one
_TAIL = 32  # tokens at the end of a prompt by which a conversation is known
_WORTH_TELLING = 256  # tokens that are read again
_MOST_PLACES = 16  # that are looked at, where texts repeat themselves


def why_read_again(known: Sequence[int], tokens: Sequence[int], common: int) -> str | None:
    """What `tokens` have in another way than the last prompt `known` of a conversation, beyond the `common` beginning.

    None when they do not go on with that conversation, or when little is read again.
    """
    end = len(known) - _PROMPT_END
    if len(known) - common < _WORTH_TELLING:
        return None
    differences = [_difference(known[:end], tokens[:place], common) for place in _places(known[end - _TAIL : end], tokens)]
    before, after = min(differences, default=(end, 0))
    return _text(before, after) if 2 * before <= end else None


def _places(tail: Sequence[int], tokens: Sequence[int]) -> list[int]:
    """Where `tail` ends in `tokens`, with more behind it than the end of a prompt."""
    wanted, given = np.asarray(tail), np.asarray(tokens[: len(tokens) - 2 * _PROMPT_END])
    starts = np.flatnonzero(given[: max(0, len(given) - len(wanted) + 1)] == wanted[0])
    places = (int(start) + len(wanted) for start in starts if np.array_equal(given[start : start + len(wanted)], wanted))
    return list(deque(places, _MOST_PLACES))


def _difference(known: Sequence[int], tokens: Sequence[int], common: int) -> tuple[int, int]:
    """How many tokens between beginning and end are others, and how many are in their place."""
    rest = min(len(known), len(tokens)) - common
    same = common_prefix(known[::-1][:rest], tokens[::-1][:rest])
    return len(known) - common - same, len(tokens) - common - same


def _text(before: int, after: int) -> str:
    if not before:
        return f"{after} tokens were put in there"
    if not after:
        return f"{before} tokens were left out there"
    return f"{before} tokens there were exchanged for {after}"

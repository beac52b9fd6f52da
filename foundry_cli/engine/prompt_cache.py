"""Keeps the contexts of finished answers, so that the next turn of a chat computes only what is new.

A context is used again when its tokens and the new prompt begin alike: it is rewound to the longest common prefix. That
must be the same conversation going on (all of its last prompt is there again, whatever became of the answer), or at least
half of what it holds; else chats with one system prompt would take turns destroying each other's contexts.
Memory is counted in bytes of keys and values, in use and kept alike, and held below a budget; what was kept
longest without use goes first. Of what is idle, only little is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foundry_cli.engine.runtime import Lease, TokenContext
from foundry_cli.errors import EngineError, InsufficientMemoryError

SMALLEST_CONTEXT = 512  # tokens
_ALWAYS_KEPT = 2  # contexts, whatever their size
_MOST_KEPT = 16  # contexts
_MOST_KEPT_BYTES = 64 * 1024 * 1024
_PROMPT_END = 8  # tokens that a template may write at the end of a prompt and not again in the next one


@dataclass(frozen=True)
class _Kept:
    """An idle context; its first `prompt_length` tokens were the last prompt."""

    context: TokenContext
    prompt_length: int

    def is_worth(self, tokens: Sequence[int], common: int) -> bool:
        """Whether cutting it down to `common` tokens is right for the prompt `tokens`."""
        goes_on = common >= max(self.prompt_length - _PROMPT_END, self.prompt_length * 3 // 4, 1)
        return goes_on or 2 * common >= len(self.context.tokens) or common >= len(tokens) - 1


class PromptCache:
    """The `ContextCache` of models that GenAI runs."""

    def __init__(
        self,
        create: Callable[[int], TokenContext],
        *,
        bytes_per_token: int,
        budget: int,
        context_length: int,
        least: int = 1,
        short_length: int | None = None,
    ) -> None:
        """`least`: tokens for which every context must have memory.

        `short_length`: what contexts up to it and longer ones have computed is nothing to each other, see `long_rope.py`."""
        self._create = create
        self._bytes_per_token = bytes_per_token
        self._budget = budget
        self._context_length = context_length
        self._least = least
        self._short_length = short_length or 0
        self._kept: list[_Kept] = []  # least recently used first
        self._leased_bytes = 0

    def find_reading(self, tokens: Sequence[int]) -> None:
        """See `ContextCache.find_reading`: a generator cannot be copied."""

    def acquire(self, tokens: Sequence[int], room: int, *, is_background: bool = False) -> Lease | None:
        """A context for `tokens` with space for `room` more at least, or None when memory is taken for the moment.

        Raises `InsufficientMemoryError` when even an otherwise empty cache could not hold it.
        """
        needed = min(len(tokens) + room, self._most(len(tokens)))
        while (kept := self._best(tokens, needed) or self._spare(needed)) is not None:
            self._kept.remove(kept)
            common = min(common_prefix(kept.context.tokens, tokens), len(tokens) - 1)
            try:
                kept.context.rewind(common)
            except EngineError:
                continue  # given up: its state is unknown
            self._leased_bytes += self._bytes(kept.context.max_length)
            return Lease(kept.context, common)
        # Those that hold a beginning of this conversation and are too small for the rest have had their day.
        self._kept = [kept for kept in self._kept if kept.context.tokens != tokens[: len(kept.context.tokens)]]
        return self._new(needed)

    def release(self, context: TokenContext, prompt_length: int) -> None:
        """Keep `context` for later, if it holds anything; its first `prompt_length` tokens are what it was asked."""
        self.discard(context)
        if context.tokens:
            self._kept.append(_Kept(context, prompt_length))
        while self._is_too_much():
            self._kept.pop(0)

    def extend(self, context: TokenContext, length: int) -> bool:
        """See `ContextCache.extend`: never."""
        return False

    def save_next(self) -> bool:
        """See `ContextCache.save_next`: keys and values of a generator cannot be had."""
        return False

    def discard(self, context: TokenContext) -> None:
        """Give up a context that is too small or was left in an unknown state by an error."""
        self._leased_bytes -= self._bytes(context.max_length)

    def _best(self, tokens: Sequence[int], needed: int) -> _Kept | None:
        best, longest = None, 0
        for kept in reversed(self._kept):
            common = common_prefix(kept.context.tokens, tokens)
            if self._fits(kept.context, needed) and common > longest and kept.is_worth(tokens, common):
                best, longest = kept, common
        return best

    def _spare(self, needed: int) -> _Kept | None:
        """The oldest context, when a new one would drive it out and it has the right size: its memory is there already."""
        roomy = self._roomy(needed)
        if len(self._kept) < _ALWAYS_KEPT or self._kept_bytes() + self._bytes(roomy) <= _MOST_KEPT_BYTES:
            return None
        oldest = self._kept[0]
        return oldest if self._fits(oldest.context, needed) and oldest.context.max_length <= 2 * roomy else None

    def _is_too_much(self) -> bool:
        if not self._kept:
            return False
        is_large = len(self._kept) > _ALWAYS_KEPT and self._kept_bytes() > _MOST_KEPT_BYTES
        return is_large or len(self._kept) > _MOST_KEPT or self._used() > self._budget

    def _new(self, needed: int) -> Lease | None:
        for capacity in (self._roomy(needed), max(needed, self._least)):
            wanted = self._bytes(capacity)
            if self._leased_bytes + wanted > self._budget:
                continue
            while self._used() + wanted > self._budget:
                self._kept.pop(0)
            context = self._create(capacity)
            self._leased_bytes += wanted
            return Lease(context, 0)
        if self._leased_bytes == 0:
            raise InsufficientMemoryError(
                f"A conversation of {needed} tokens needs {self._bytes(needed) >> 20} MiB of memory, "
                f"and {self._budget >> 20} MiB are free for it.",
                hint="Shorten the prompt, lower max_tokens, or close other programs.",
            )
        return None

    def _roomy(self, needed: int) -> int:
        """Half as much again, as a power of two: the next turns fit, and growing is rare."""
        capacity = max(SMALLEST_CONTEXT, self._least)
        while capacity < needed * 3 // 2:
            capacity *= 2
        return min(capacity, self._most(needed))

    def _most(self, tokens: int) -> int:
        """The largest context for so many tokens."""
        return self._short_length if tokens <= self._short_length else self._context_length

    def _fits(self, context: TokenContext, needed: int) -> bool:
        return needed <= context.max_length <= self._most(needed)

    def _bytes(self, tokens: int) -> int:
        return tokens * self._bytes_per_token

    def _used(self) -> int:
        return self._leased_bytes + self._kept_bytes()

    def _kept_bytes(self) -> int:
        return sum(self._bytes(kept.context.max_length) for kept in self._kept)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens the two begin with in common."""
    common, limit = 0, min(len(first), len(second))
    piece, has_differed = 16, False
    while common < limit:  # slices, as these are compared quickly; most conversations differ in the first one
        piece = min(piece, limit - common)
        if first[common : common + piece] == second[common : common + piece]:
            common += piece
            piece = piece if has_differed else 2 * piece
        elif piece == 1:
            return common
        else:
            piece, has_differed = piece // 2, True
    return limit

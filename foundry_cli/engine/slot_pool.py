"""The conversations of the batched engine: which row holds which, running or kept for the next turn.

A new prompt begins where the longest of all prefixes ends that is in a row, or on disk: in the same row when it is the same
conversation going on, else in a copy. Memory is counted by the tokens that a running answer may have and an idle one has;
what was kept longest without use goes first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.conversation_store import ConversationStore
from foundry_cli.engine.prompt_cache import common_prefix
from foundry_cli.engine.rereading import why_read_again
from foundry_cli.engine.row_context import RowContext, RunRows
from foundry_cli.engine.runtime import Lease, TokenContext
from foundry_cli.errors import InsufficientMemoryError

logger = logging.getLogger("foundry.engine")

_WORTH_COPYING = 8  # tokens
_WORTH_WAITING = 64  # tokens that another answer is about to read
_WORTH_LOADING = 64  # tokens
_RECOMPUTED = 2  # the last tokens of a prompt: one alone would get other bits than in a cold prompt, see scheduler.py
_PROMPT_END = 8  # tokens that a template may write at the end of a prompt and not again in the next one
_ALWAYS_KEPT = 2  # idle conversations, whatever their size
_MOST_IDLE_BYTES = 512 * 1024 * 1024
_TOKENS_PER_GAP = 64  # whose copy takes as long as a step with a row too many
_MOST_MOVED = 2000  # tokens of an idle conversation that makes way: what is running waits for it


@dataclass(frozen=True)
class PoolMemory:
    """What the conversations share. `longest`: tokens that one may have.

    `short_length`: tokens up to which the rotary factors for short conversations are used, where there are two kinds. What
    was computed with one kind is nothing to the other, so a conversation that outgrows it is read again in a new row.
    """

    rows: CacheRows
    run: RunRows
    bytes_per_token: int
    budget: int  # bytes
    longest: int
    short_length: int | None = None

    def is_long(self, tokens: int) -> bool:
        """Whether a conversation with so many tokens has the factors for long ones."""
        return self.short_length is not None and tokens > self.short_length

    def most(self, *, is_long: bool) -> int:
        """Tokens that a conversation may have with its kind of factors."""
        return self.longest if is_long or self.short_length is None else min(self.longest, self.short_length)


@dataclass(eq=False)
class Slot:
    """A conversation in a row. Its first `prompt_length` tokens were its last prompt; `goal` is the prompt being read."""

    context: RowContext
    is_leased: bool = True
    prompt_length: int = 0
    goal: Sequence[int] = ()
    used: float = field(default_factory=time.monotonic)
    saved: int = 0  # tokens that are on disk
    could_not_be_saved: bool = False  # since the last answer

    @property
    def tokens(self) -> list[int]:
        """Whose keys and values are there."""
        return self.context.tokens

    def goes_on(self, common: int) -> bool:
        """Whether a prompt that has `common` tokens in common is this conversation's next turn."""
        return common >= max(self.prompt_length - _PROMPT_END, self.prompt_length // 2, 1)


@dataclass(frozen=True)
class SlotReading:
    """See `Reading`: when `slot` has `enough` tokens of its `goal`, the rest is read again as quickly."""

    slot: Slot
    goal: Sequence[int]
    enough: int

    @property
    def is_going_on(self) -> bool:
        """See `Reading.is_going_on`."""
        return self.slot.goal is self.goal and len(self.slot.tokens) < self.enough


class SlotPool:
    """The `ContextCache` of models that run in batches."""

    def __init__(self, memory: PoolMemory, store: ConversationStore | None = None) -> None:
        self._memory = memory
        self._store = store
        self._slots: list[Slot] = []
        self._gap_steps = 0

    def find_reading(self, tokens: Sequence[int]) -> SlotReading | None:
        """See `ContextCache.find_reading`."""
        is_long = self._memory.is_long(len(tokens))
        alike = [slot for slot in self._slots if slot.is_leased and slot.context.is_long == is_long]
        reading = [slot for slot in alike if len(slot.tokens) < len(slot.goal)]
        shared = [(common_prefix(slot.goal, tokens), slot) for slot in reading]
        longest, slot = max(shared, key=lambda item: item[0], default=(0, None))
        enough = min(longest, len(tokens) - _RECOMPUTED) - _WORTH_WAITING + 1
        if slot is None or enough <= 0 or self._best(tokens)[1] >= enough:
            return None
        return SlotReading(slot, slot.goal, enough)

    def acquire(self, tokens: Sequence[int], room: int, *, is_background: bool = False) -> Lease | None:
        """See `ContextCache.acquire`."""
        needed = min(len(tokens) + room, self._memory.most(is_long=self._memory.is_long(len(tokens))))
        self._check_size(len(tokens))
        best, common = self._best(tokens)
        reused = best if best and not best.is_leased and best.goes_on(common) else None
        if not self._make_place(needed, reused, best):
            if best is None or best.is_leased or reused:
                return None
            reused = best  # there is no memory for a copy
            if not self._make_place(needed, reused, best):
                return None
        self._tell(tokens, best, common)
        slot = reused or self._new_slot(best, common, needed, is_long=self._memory.is_long(len(tokens)))
        self._slots = [other for other in self._slots if other is not slot] + [slot]
        slot.is_leased, slot.goal, slot.saved = True, () if is_background else tokens, 0
        slot.context.max_length = needed
        slot.context.rewind(min(len(slot.tokens), common))
        self._load(slot, tokens)
        return Lease(slot.context, len(slot.tokens))

    def extend(self, context: TokenContext, length: int) -> bool:
        """See `ContextCache.extend`."""
        length = min(length, self._memory.most(is_long=self._slot(context).context.is_long))
        if length <= context.max_length or not self._make_room(length - context.max_length, None):
            return False
        context.max_length = length
        return True

    def release(self, context: TokenContext, prompt_length: int) -> None:
        """See `ContextCache.release`."""
        slot = self._slot(context)
        slot.is_leased, slot.goal, slot.used = False, (), time.monotonic()
        slot.prompt_length = min(prompt_length, len(slot.tokens))  # less, when it was cancelled
        for other in self._idle():
            if other is not slot and other.tokens == slot.tokens[: len(other.tokens)]:
                self._drop(other)
        if not slot.tokens or slot.context.is_long != self._memory.is_long(len(slot.tokens)):  # a long one that is not read
            self._drop(slot)
            return
        for other in self._slots:
            other.could_not_be_saved = False  # the disk may have space again
        self._memory.rows.forget(slot.context.row, len(slot.tokens))
        while self._has_too_much():
            self._drop(self._idle()[0])

    def discard(self, context: TokenContext) -> None:
        """See `ContextCache.discard`."""
        self._drop(self._slot(context))

    def save_next(self) -> bool:
        """See `ContextCache.save_next`: the idle conversation that is not on disk and was used last."""
        unsaved = [slot for slot in self._idle() if slot.saved < len(slot.tokens) and not slot.could_not_be_saved]
        if self._store is None or not unsaved:
            return False
        slot = unsaved[-1]
        age = time.monotonic() - slot.used
        if self._store.save(slot.tokens, self._memory.rows, slot.context.row, age=age):
            slot.saved = len(slot.tokens)
        else:
            slot.could_not_be_saved = True
        return True

    def arrange(self, contexts: Sequence[TokenContext]) -> tuple[int, list[int]]:
        """The first of neighbouring rows that hold `contexts`, and how many tokens each of the rows has.

        Other rows between them cost time in every step: when that has added up to the time of moving, rows are moved.
        """
        rows = {context.row for context in contexts}  # type: ignore[attr-defined]
        gaps = max(rows) - min(rows) + 1 - len(rows)
        self._gap_steps = self._gap_steps + gaps if gaps else 0
        if gaps and self._gap_steps * _TOKENS_PER_GAP >= (plan := self._plan(rows))[0]:
            self._move_together(rows, plan[1])
            rows = {context.row for context in contexts}  # type: ignore[attr-defined]
            self._gap_steps = 0
        first = min(rows)
        held = [0] * (max(rows) - first + 1)
        for slot in self._slots:
            if first <= slot.context.row <= max(rows):
                held[slot.context.row - first] = len(slot.tokens)
        return first, held

    # Rows

    def _plan(self, rows: set[int]) -> tuple[int, int]:
        """The cheapest place for so many neighbouring rows: tokens to copy, and its first row."""
        sizes = [0] * self._memory.rows.count
        for slot in self._slots:
            sizes[slot.context.row] = len(slot.tokens)
        return min(self._cost(rows, sizes, first) for first in range(len(sizes) - len(rows) + 1))

    def _cost(self, rows: set[int], sizes: list[int], first: int) -> tuple[int, int]:
        window = set(range(first, first + len(rows)))
        return sum(sizes[row] for row in (rows ^ window)), first

    def _move_together(self, rows: set[int], first: int) -> None:
        window = set(range(first, first + len(rows)))
        by_row = {slot.context.row: slot for slot in self._slots}
        for source, target in zip(sorted(rows - window), sorted(window - rows), strict=True):
            moving, other = by_row[source], by_row.get(target)
            self._memory.rows.swap(source, target, len(moving.tokens), len(other.tokens) if other else 0)
            moving.context.row = target
            if other:
                other.context.row = source

    def _new_slot(self, source: Slot | None, common: int, needed: int, *, is_long: bool) -> Slot:
        """An empty row, or one that begins as `source` does."""
        slot = Slot(RowContext(self._memory.run, self._empty_row(needed), 0, is_long=is_long))
        if source and common >= _WORTH_COPYING:
            self._memory.rows.copy(source.context.row, slot.context.row, common)
            slot.context.tokens = source.tokens[:common]
        return slot

    def _empty_row(self, needed: int) -> int:
        """Among or next to those of running answers, lest their steps have gaps; an idle conversation makes way for that.

        `needed`: tokens that it may have; of more than these it holds no memory.
        """
        by_row = {slot.context.row: slot for slot in self._slots}
        free = [row for row in range(self._memory.rows.count) if row not in by_row]
        running = [row for row, slot in by_row.items() if slot.is_leased]
        if not running:
            return free[0]
        first, last = min(running), max(running)
        by_distance = sorted(free, key=lambda row: max(first - row, row - last))
        nearest, farthest = by_distance[0], by_distance[-1]
        edge = range(0) if first - 1 <= nearest <= last + 1 else (first - 1, last + 1)
        between = range(0) if first < nearest < last else range(first, last)
        idle = [by_row[row] for row in between if row in by_row and not by_row[row].is_leased]
        moved = min(idle or [by_row[row] for row in edge if row in by_row], key=lambda slot: len(slot.tokens), default=None)
        if moved is None or len(moved.tokens) > _MOST_MOVED:
            return nearest
        row = moved.context.row
        self._memory.rows.copy(row, farthest, len(moved.tokens))
        moved.context.row = farthest
        if len(moved.tokens) > needed:
            self._memory.rows.forget(row, needed)
        return row

    # Prefixes

    def _best(self, tokens: Sequence[int]) -> tuple[Slot | None, int]:
        """The conversation that begins like `tokens` for longest, and how long; of equals an idle one that was used last."""
        best, longest = None, 0
        alike = [slot for slot in self._slots if slot.context.is_long == self._memory.is_long(len(tokens))]
        for slot in sorted(alike, key=lambda slot: (not slot.is_leased, slot.used)):
            common = min(common_prefix(slot.tokens, tokens), len(tokens) - _RECOMPUTED)
            if common > 0 and common >= longest:
                best, longest = slot, common
        return best, longest

    def _load(self, slot: Slot, tokens: Sequence[int]) -> None:
        """Go on from what is on disk, if that is more."""
        if self._store is None:
            return
        is_long = self._memory.is_long
        found = self._store.find(tokens[: len(tokens) - _RECOMPUTED], lambda stored: is_long(stored) == slot.context.is_long)
        if found and found.common >= len(slot.tokens) + _WORTH_LOADING:
            if self._store.load(found, self._memory.rows, slot.context.row):
                slot.context.tokens = list(tokens[: found.common])
            else:
                slot.context.tokens = []

    def _tell(self, tokens: Sequence[int], best: Slot | None, common: int) -> None:
        """Say in the log why a conversation that goes on is read again."""
        if best is None or best.is_leased or best.goes_on(common):
            return
        if why := why_read_again(best.tokens[: best.prompt_length], tokens, common):
            known = best.prompt_length
            logger.warning("a known conversation is read again from token %d of %d on: %s", common, known, why)

    # Memory

    def _check_size(self, tokens: int) -> None:
        if tokens > self._memory.longest:
            raise InsufficientMemoryError(
                f"A conversation of {tokens} tokens needs {tokens * self._memory.bytes_per_token >> 20} MiB of memory, "
                f"and {self._memory.budget >> 20} MiB are free for it.",
                hint="Shorten the prompt, lower max_tokens, or close other programs.",
            )

    def _make_place(self, tokens: int, reused: Slot | None, kept: Slot | None) -> bool:
        """Have memory for `tokens`, of which `reused` has some, and a row unless that one's is used."""
        if reused:
            return self._make_room(tokens - len(reused.tokens), kept)
        if not self._make_room(tokens, kept):
            return False
        others = self._others(kept)
        if len(self._slots) == self._memory.rows.count and others:
            self._drop(others[0])
        return len(self._slots) < self._memory.rows.count

    def _make_room(self, tokens: int, kept: Slot | None) -> bool:
        """Drop idle conversations, but not `kept`, until there is memory for `tokens` more; none if that is not enough."""
        others = self._others(kept)
        surplus = self._used() + tokens - self._memory.budget // self._memory.bytes_per_token
        if surplus > sum(len(slot.tokens) for slot in others):
            return False
        for slot in others:
            if surplus > 0:
                self._drop(slot)
                surplus -= len(slot.tokens)
        return True

    def _others(self, kept: Slot | None) -> list[Slot]:
        """What may be dropped, least recently used first."""
        return [slot for slot in self._idle() if slot is not kept]

    def _used(self) -> int:
        """Tokens."""
        return sum(slot.context.max_length if slot.is_leased else len(slot.tokens) for slot in self._slots)

    def _has_too_much(self) -> bool:
        idle = self._idle()
        held = sum(len(slot.tokens) for slot in idle) * self._memory.bytes_per_token
        return len(idle) > _ALWAYS_KEPT and held > _MOST_IDLE_BYTES

    def _idle(self) -> list[Slot]:
        """Least recently used first."""
        return sorted((slot for slot in self._slots if not slot.is_leased), key=lambda slot: slot.used)

    def _slot(self, context: TokenContext) -> Slot:
        return next(slot for slot in self._slots if slot.context is context)

    def _drop(self, slot: Slot) -> None:
        self._slots.remove(slot)
        slot.goal = ()  # nobody must wait for it any more
        self._memory.rows.forget(slot.context.row, 0)

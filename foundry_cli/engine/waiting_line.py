"""Those who wait for a place among the running answers, and who of them is next.

Work in the background comes last. Who would only read what another one is just reading is passed over until that is there
to be copied, but not without end. Who finds no memory stops all behind, so that the others do not take what becomes free;
work in the background stops only its own kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from foundry_cli.engine.runtime import ContextCache, Reading
from foundry_cli.engine.sequence import Sequence

MOST_PASSED_OVER = 32
"""How many may go before one who waits for the reading of another; those that come later wait behind."""


@dataclass(eq=False)
class _Waiting:
    sequence: Sequence
    reading: Reading | None = None  # asked for once, as that compares all tokens
    passed_over: int = 0


class WaitingLine:
    """Sequences in the order of their arrival."""

    def __init__(self, cache: ContextCache) -> None:
        self._cache = cache
        self._line: deque[_Waiting] = deque()
        self._is_full = False  # the next one found no memory
        self._is_full_for_background = False

    def __iter__(self) -> Iterator[Sequence]:
        return (waiting.sequence for waiting in self._line)

    def __len__(self) -> int:
        return len(self._line)

    def append(self, sequence: Sequence) -> None:
        """Let `sequence` wait."""
        self._line.append(_Waiting(sequence))

    def appendleft(self, sequence: Sequence) -> None:
        """Let `sequence`, which has run before, wait as the first."""
        self._line.appendleft(_Waiting(sequence))

    def next(self, *, background: bool) -> Sequence | None:
        """Who may try to begin now, if anyone; work in the `background` only if that is allowed."""
        if self._is_full:
            return None
        for waiting in self._in_order(background=background and not self._is_full_for_background):
            if not self._has_to_wait(waiting):
                return waiting.sequence
            if waiting.passed_over >= MOST_PASSED_OVER:
                return None
        return None

    def take(self, sequence: Sequence) -> None:
        """`sequence`, which is `next`, has begun."""
        for waiting in self._in_order(background=True):
            if waiting.sequence is sequence:
                self._line.remove(waiting)
                return
            waiting.passed_over += 1

    def remove(self, sequence: Sequence) -> None:
        """Forget `sequence`; it must be there."""
        self._line = deque(waiting for waiting in self._line if waiting.sequence is not sequence)
        self.note_change()

    def note_full(self, sequence: Sequence) -> None:
        """There was no memory for `sequence`."""
        if sequence.is_background:
            self._is_full_for_background = True
        else:
            self._is_full = True

    def note_change(self) -> None:
        """There may be memory again."""
        self._is_full = self._is_full_for_background = False

    def _in_order(self, *, background: bool) -> list[_Waiting]:
        interactive = [waiting for waiting in self._line if not waiting.sequence.is_background]
        return (
            [*interactive, *(waiting for waiting in self._line if waiting.sequence.is_background)]
            if background
            else interactive
        )

    def _has_to_wait(self, waiting: _Waiting) -> bool:
        if waiting.reading is None or not waiting.reading.is_going_on:
            waiting.reading = self._cache.find_reading(waiting.sequence.tokens)
        return waiting.reading is not None

"""Decides what runs next on the one model, and how much of it. It computes nothing and waits for nothing.

All answers that are being written get their next token in one step; prompts are read in pieces between such steps. Every
piece is followed by time for the answers, as much as it took, or less when these are few and prompts wait, whose answers would
share the steps; never are two pieces read in a row. So a running answer slows down by a bounded factor.

Of the prompts, the one with the least left is next, so that a short one does not wait for a long one; every second piece goes
to the oldest, so that a long one gets on, too. Work in the background waits until nobody else wants anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PREFILL_CHUNK = 128
"""Tokens of a prompt per step when nothing else runs; 64 and more cost no speed, and cancel waits for one step."""

_FIRST_SHARED_CHUNK = 32  # beside answers, before it is known how long a token takes
_LEAST_CHUNK = 8
_STALL_SECONDS = 0.1  # that answers wait for a piece of a prompt while these get half of the time
_MORE_STALL_SECONDS = 0.5  # that is added for the share of the prompts that is over one half, for all of it
_WEIGHT = 0.2  # of the last measurement
_QUERY_TILE = 16  # the kernel takes a multiple of so many tokens at once; of how many, depends on the size of the heads


@dataclass(eq=False)
class Task:
    """The scheduler's view of one answer. `pending`: tokens that are known and not computed, `least_piece` of them at once."""

    pending: int = 0
    least_piece: int = 1
    is_background: bool = False

    @property
    def is_writing(self) -> bool:
        """Whether only the token chosen last is pending, and the next one follows from it."""
        return self.pending == 1


@dataclass(frozen=True)
class Step:
    """What to run now: one token for each of `tasks`, or `piece` tokens of the prompt of the only one."""

    tasks: tuple[Task, ...]
    piece: int = 1


def piece_of(pending: int, wanted: int, *, least: int = 1, is_exact: bool = False) -> int:
    """How many of `pending` tokens to compute at once, about `wanted`: a small rest goes along, as small pieces run slowly.

    `least`: fewer must not be, see `TokenContext.least_piece`.
    Unless `is_exact`, a token that is computed alone, or alone in a tile of the attention kernel, gets values that differ in
    the last bits from those it gets with others. So that no answer depends on how its prompt was cut, that does not happen.
    """
    if wanted < least:
        wanted = least + _QUERY_TILE
    most = pending if pending <= wanted * 3 // 2 else wanted
    if is_exact:
        return most
    pieces = (piece for piece in range(most, max(least, 2) - 1, -1) if piece % _QUERY_TILE != 1 and pending - piece != 1)
    return next(pieces, pending)


def _share(reading: int, writing: int) -> float:
    """Of the time, for prompts: steps for few answers cost nearly as much as for many, so several prompts are read first."""
    return max(1 - 0.5 / reading, 2 * reading / (2 * reading + writing))


@dataclass
class Scheduler:
    """Shares the model's time among the answers that are running. `is_exact`: as for `piece_of`."""

    is_exact: bool = False
    tasks: list[Task] = field(default_factory=list)
    _owed_seconds: float = 0.0  # to the answers, for the pieces that were read before them
    _share: float = 0.0  # of the prompts, in the step that runs
    _last_was_read: bool = False
    _is_turn_of_oldest: bool = False
    _seconds_per_token: float = 0.0  # of a prompt

    def add(self, task: Task) -> None:
        """Let `task` take part from now on."""
        self.tasks.append(task)

    def remove(self, task: Task) -> None:
        """Forget `task`; it must be there."""
        self.tasks.remove(task)

    def next_step(self) -> Step | None:
        """The step to run now, or None when there is nothing to do."""
        active = [task for task in self.tasks if not task.is_background] or self.tasks
        writing = [task for task in active if task.is_writing]
        reading = [task for task in active if not task.is_writing]
        if not writing:
            self._owed_seconds = 0.0
        if not reading:
            return Step(tuple(writing)) if writing else None
        if writing and (self._last_was_read or self._owed_seconds > 0):
            return Step(tuple(writing))
        self._share = _share(len(reading), len(writing)) if writing else 1.0
        task = reading[0] if self._is_turn_of_oldest else min(reading, key=lambda task: task.pending)
        return Step((task,), piece_of(task.pending, self._chunk(), least=task.least_piece, is_exact=self.is_exact))

    def _chunk(self) -> int:
        if self._share == 1:
            return PREFILL_CHUNK
        if not self._seconds_per_token:
            return _FIRST_SHARED_CHUNK
        bearable = _STALL_SECONDS + _MORE_STALL_SECONDS * (self._share - 0.5)
        return max(_LEAST_CHUNK, min(PREFILL_CHUNK, int(bearable / self._seconds_per_token)))

    def charge(self, step: Step, seconds: float, *, was_read: bool) -> None:
        """Account for a step that ran; `was_read`: it was a piece of a prompt."""
        self._last_was_read = was_read
        if was_read:
            self._owed_seconds = seconds * (1 / self._share - 1)
            self._is_turn_of_oldest = not self._is_turn_of_oldest
            measured = seconds / step.piece
            known = self._seconds_per_token or measured
            # A machine that is busy for a moment must not make the pieces small, which are slow by themselves.
            self._seconds_per_token = known + _WEIGHT * (min(measured, 2 * known) - known)
        else:
            self._owed_seconds = max(0.0, self._owed_seconds - seconds)

"""How many requests for one model may run and wait at once. Those in the background never take the place of others."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection

from foundry_cli.errors import QueueFullError

_MOST_WAITING = 64  # requests, beside those that the engine runs at once
_DURATIONS = 32  # of the last requests, to tell those that are refused when to come again
_LONGEST_RETRY = 60  # seconds


def retry_seconds(durations: Collection[float]) -> int | None:
    """What requests took lately, the waiting included: by then those that are here now will be answered. 1 to 60."""
    return max(1, min(_LONGEST_RETRY, math.ceil(sum(durations) / len(durations)))) if durations else None


class _Kind:
    """The requests of one priority."""

    def __init__(self) -> None:
        self.users = 0
        self.durations: deque[float] = deque(maxlen=_DURATIONS)  # seconds


class Admission:
    """The requests for one model, those included that wait for it to be loaded."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._interactive, self._background = _Kind(), _Kind()

    @property
    def users(self) -> int:
        """How many there are."""
        return self._interactive.users + self._background.users

    def enter(self, *, running: int, is_background: bool) -> None:
        """Count one more where the engine runs so many at once. Raises `QueueFullError`.

        Work in the background gets half of the places, and none when all of them would be taken with it.
        """
        most = running + _MOST_WAITING
        kind, background = self._kind(is_background=is_background), self._background.users
        is_full = background >= most // 2 or self.users >= most if is_background else self._interactive.users >= most
        if is_full:
            where = " in the background" if is_background else ""
            raise QueueFullError(
                f"{kind.users} requests for {self._model_id}{where} are running or waiting.",
                hint="Try again soon.",
                retry_seconds=retry_seconds(kind.durations),
            )
        kind.users += 1

    def leave(self, *, is_background: bool, seconds: float | None) -> None:
        """One has ended, after so many seconds; None when it failed."""
        kind = self._kind(is_background=is_background)
        kind.users -= 1
        if seconds is not None:
            kind.durations.append(seconds)

    def _kind(self, *, is_background: bool) -> _Kind:
        return self._background if is_background else self._interactive

"""A model whose workers crash one after the other is not started again and again."""

from __future__ import annotations

import time
from collections import deque

from foundry_cli.errors import EngineDiedError

_CRASHES, _CRASH_SECONDS = 3, 60.0  # more crashes than this in so many seconds: give up for a while


class CrashLimit:
    """The crashes of late, by model and execution provider."""

    def __init__(self) -> None:
        self._crashes: dict[tuple[str, str], deque[float]] = {}

    def note(self, model_id: str, provider: str) -> None:
        """A worker of the model has crashed."""
        self._crashes.setdefault((model_id, provider), deque(maxlen=_CRASHES)).append(time.monotonic())

    def check(self, model_id: str, provider: str) -> None:
        """Raise `EngineDiedError` when that was too often."""
        crashes = self._crashes.get((model_id, provider), deque())
        if len(crashes) == _CRASHES and crashes[0] > time.monotonic() - _CRASH_SECONDS:
            raise EngineDiedError(
                f"The engine worker of {model_id} crashed {_CRASHES} times in the last {_CRASH_SECONDS:.0f} s.",
                hint="Try again later, or another variant. 'foundry service diag --logs' shows what was reported.",
            )

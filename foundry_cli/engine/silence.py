"""Notices that a worker process is silent although answers are waited for: because it hangs, not because it computes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

_LATE_SECONDS = 1.0  # of a timer: more is a pause of this whole process
_WORKING_SHARE = 0.1  # of one processor: who uses less of it waits for something


@dataclass(frozen=True)
class Silence:
    """Seconds without a word that are borne: of a process that `hangs`, and of one that `works`, on one slow step perhaps.

    Which of the two it is shows in `sample` seconds.
    """

    hangs: float = 120.0
    works: float = 1800.0
    sample: float = 10.0


class SilenceWatch:
    """Watches one process for as long as it owes an answer; `on_silence` is called once, with the seconds it was silent for."""

    def __init__(
        self, pid: int, borne: Silence, *, owes_answer: Callable[[], bool], on_silence: Callable[[float], None]
    ) -> None:
        self._pid = pid
        self._borne = borne
        self._owes_answer = owes_answer
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def note_word(self) -> None:
        """The process said something."""
        self._heard = self._loop.time()

    def note_question(self) -> None:
        """The process is going to be asked for something; until now `owes_answer` may have been false."""
        if not self._owes_answer():
            self.note_word()
        if self._timer is None:
            self._look_in(self._borne.hangs)

    def cancel(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_in(self, seconds: float, used: float | None = None) -> None:
        self._timer = self._loop.call_later(seconds, self._look, self._loop.time() + seconds, used)

    def _look(self, due: float, used_before: float | None) -> None:
        self._timer = None
        if not self._owes_answer():
            return
        now = self._loop.time()
        if now - due > _LATE_SECONDS:  # we have not run for a while, a frozen container perhaps: nor could it
            self._heard = now
        silent = now - self._heard
        if silent < self._borne.hangs:
            self._look_in(self._borne.hangs - silent)
            return
        used = _processor_seconds(self._pid)
        is_working = used_before is None or used - used_before > _WORKING_SHARE * self._borne.sample
        if is_working and silent < self._borne.works:
            self._look_in(self._borne.sample, used)
        else:
            self._on_silence(silent)


def _processor_seconds(pid: int) -> float:
    """What the process has used so far; 0 when it is gone."""
    import psutil

    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return used.user + used.system

"""Decides what runs next on the one model, and how much of it. It computes nothing and waits for nothing.

Every sequence is charged the seconds it used; the one that used least is next, so a long prompt and a running answer
get equal shares of time. A new sequence starts at the share of the one furthest behind, not at zero, so it cannot hold the
others up. Whatever the shares say, an answer that is being written never waits for two pieces of prompts in a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PREFILL_CHUNK = 128
"""Tokens of a prompt per step when nothing else runs; 64 and more cost no speed, and cancel waits for one step."""

SHARED_PREFILL_CHUNK = 32
"""Tokens of a prompt per step while answers are being written: what they wait for."""


@dataclass(eq=False)
class Task:
    """The scheduler's view of one sequence."""

    is_prefilling: bool = True
    used_seconds: float = 0.0


@dataclass(frozen=True)
class Step:
    """What to run now: a piece of the task's prompt of about `prefill_tokens`, or one token of its answer."""

    task: Task
    prefill_tokens: int

    def piece(self, pending: int) -> int:
        """How many of `pending` tokens to compute: a small rest goes along, because small pieces run slowly."""
        return pending if pending <= self.prefill_tokens * 3 // 2 else self.prefill_tokens


@dataclass
class Scheduler:
    """Fair shares of time among the sequences that are running."""

    tasks: list[Task] = field(default_factory=list)
    _last_was_prefill: bool = False

    def add(self, task: Task) -> None:
        """Let `task` take part from now on."""
        task.used_seconds = min((other.used_seconds for other in self.tasks), default=0.0)
        self.tasks.append(task)

    def remove(self, task: Task) -> None:
        """Forget `task`; it must be there."""
        self.tasks.remove(task)

    def next_step(self) -> Step | None:
        """The step to run now, or None when there is nothing to do."""
        writing = [task for task in self.tasks if not task.is_prefilling]
        candidates = writing if writing and self._last_was_prefill else self.tasks
        if not candidates:
            return None
        task = min(candidates, key=lambda candidate: candidate.used_seconds)
        return Step(task, SHARED_PREFILL_CHUNK if writing else PREFILL_CHUNK)

    def charge(self, step: Step, seconds: float, *, was_prefill: bool) -> None:
        """Account for a step that ran."""
        step.task.used_seconds += seconds
        self._last_was_prefill = was_prefill

"""Answers of a runtime without the worker around it: tokens and logits, alone or together."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass, field

import numpy as np

from foundry_cli.engine.request import Finish, GenerationRequest, SamplingParameters
from foundry_cli.engine.runtime import ContextCache, Runtime
from foundry_cli.engine.sampling import Logits, choose_batch
from foundry_cli.engine.scheduler import Scheduler, Step
from foundry_cli.engine.sequence import Sequence

GREEDY = SamplingParameters(temperature=0.0)


@dataclass
class Answer:
    """Tokens of one answer, the logits that each was chosen from, and what of the prompt was there already."""

    tokens: list[int]
    cached_tokens: int
    logits: list[Logits] = field(default_factory=list)


class Answering:
    """Runs prompts on one cache as the worker does."""

    def __init__(self, runtime: Runtime, cache: ContextCache, *, count: int, sampling: SamplingParameters = GREEDY) -> None:
        self._runtime, self._cache = runtime, cache
        self._request = GenerationRequest((), max_tokens=count, sampling=sampling)
        self._logits: dict[Sequence, list[Logits]] = {}

    def alone(self, prompts: Several[list[int]]) -> list[Answer]:
        """One after the other."""
        return [self.together([prompt])[0] for prompt in prompts]

    def together(self, prompts: Several[list[int]]) -> list[Answer]:
        """All at once."""
        sequences = [Sequence.create(i, self._request, prompt, self._runtime, 0.0) for i, prompt in enumerate(prompts)]
        self._logits = {sequence: [] for sequence in sequences}
        self._run(sequences)
        return [Answer(s.tokens[s.prompt_length :], s.cached_tokens, self._logits[s]) for s in sequences]

    def _run(self, sequences: list[Sequence]) -> None:
        scheduler, waiting = Scheduler(), list(sequences)
        while waiting or scheduler.tasks:
            while sequence := next((each for each in waiting if not self._cache.find_reading(each.tokens)), None):
                if len(scheduler.tasks) == self._runtime.most_running or not sequence.start(self._cache):
                    break
                waiting.remove(sequence)
                scheduler.add(sequence)
            step = scheduler.next_step()
            assert step is not None, "nothing can go on"
            was_read = not step.tasks[0].is_writing
            self._run_step(scheduler, step, was_read=was_read)
            scheduler.charge(step, 0.01, was_read=was_read)

    def _run_step(self, scheduler: Scheduler, step: Step, *, was_read: bool) -> None:
        sequences = [task for task in step.tasks if isinstance(task, Sequence)]
        if was_read:
            read = sequences[0].read(step.piece)
            if read is None:
                return
            logits = read[None]
        else:
            contexts = [sequence.context for sequence in sequences if sequence.context]
            logits = self._runtime.append_each(contexts, [sequence.tokens[-1] for sequence in sequences])
        for sequence, row, choice in zip(sequences, logits, choose_batch([s.sampler for s in sequences], logits), strict=True):
            assert not isinstance(choice, Exception)
            self._logits[sequence].append(np.array(row))
            if any(isinstance(event, Finish) for event in sequence.accept(choice)):
                assert sequence.context
                scheduler.remove(sequence)
                self._cache.release(sequence.context, sequence.prompt_length)

"""Decisions of the scheduler, without a model: time is what the test says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from foundry_cli.engine.scheduler import PREFILL_CHUNK, SHARED_PREFILL_CHUNK, Scheduler, Task

SECONDS_PER_TOKEN = 1.0


def run(scheduler: Scheduler, prompts: dict[Task, int], steps: int) -> list[tuple[Task, int]]:
    """Take steps: `prompts` are the tokens still to read; a writing task takes one token's time."""
    taken = []
    for _ in range(steps):
        step = scheduler.next_step()
        assert step is not None
        was_prefill = step.task.is_prefilling
        tokens = step.piece(prompts[step.task]) if was_prefill else 1
        if was_prefill:
            prompts[step.task] -= tokens
            step.task.is_prefilling = prompts[step.task] > 0
        scheduler.charge(step, tokens * SECONDS_PER_TOKEN, was_prefill=was_prefill)
        taken.append((step.task, tokens))
    return taken


def scheduler_of(*tasks: Task) -> Scheduler:
    scheduler = Scheduler()
    for task in tasks:
        scheduler.add(task)
    return scheduler


def test_nothing_to_do() -> None:
    assert Scheduler().next_step() is None


def test_a_prompt_alone_is_read_in_large_pieces() -> None:
    task = Task()
    assert [tokens for _, tokens in run(scheduler_of(task), {task: 340}, 3)] == [PREFILL_CHUNK, PREFILL_CHUNK, 84]


def test_a_small_rest_goes_along() -> None:
    task = Task()
    assert [tokens for _, tokens in run(scheduler_of(task), {task: 300}, 2)] == [PREFILL_CHUNK, 172]


def test_a_prompt_beside_an_answer_is_read_in_small_pieces() -> None:
    prompt, answer = Task(), Task(is_prefilling=False)
    taken = run(scheduler_of(prompt, answer), {prompt: 1000}, 50)
    assert {tokens for task, tokens in taken if task is prompt} <= {
        SHARED_PREFILL_CHUNK,
        1000 % SHARED_PREFILL_CHUNK + SHARED_PREFILL_CHUNK,
    }


@pytest.mark.parametrize("prompts", [1, 2, 7])
@pytest.mark.parametrize("answers", [1, 3])
def test_never_two_pieces_of_prompts_in_a_row_while_an_answer_is_written(prompts: int, answers: int) -> None:
    reading = [Task() for _ in range(prompts)]
    writing = [Task(is_prefilling=False) for _ in range(answers)]
    taken = run(scheduler_of(*reading, *writing), dict.fromkeys(reading, 10_000), 400)
    is_prefill = [task in reading for task, _ in taken]
    assert any(is_prefill)
    assert not any(first and second for first, second in pairwise(is_prefill))


def test_a_prompt_and_an_answer_get_equal_time() -> None:
    prompt, answer = Task(), Task(is_prefilling=False)
    run(scheduler_of(prompt, answer), {prompt: 100_000}, 1000)
    assert abs(prompt.used_seconds - answer.used_seconds) <= SHARED_PREFILL_CHUNK


def test_answers_take_turns() -> None:
    tasks = [Task(is_prefilling=False) for _ in range(3)]
    taken = [task for task, _ in run(scheduler_of(*tasks), {}, 9)]
    assert taken == tasks * 3


def test_prompts_take_turns() -> None:
    first, second = Task(), Task()
    taken = [task for task, _ in run(scheduler_of(first, second), {first: 1000, second: 1000}, 4)]
    assert taken == [first, second, first, second]


def test_a_newcomer_gets_no_credit_for_the_time_before() -> None:
    old = Task(is_prefilling=False)
    scheduler = scheduler_of(old)
    run(scheduler, {}, 100)
    new = Task(is_prefilling=False)
    scheduler.add(new)
    taken = [task for task, _ in run(scheduler, {}, 10)]
    assert taken.count(new) == taken.count(old) == 5


def test_a_removed_task_does_not_run() -> None:
    first, second = Task(), Task()
    scheduler = scheduler_of(first, second)
    scheduler.remove(first)
    assert {task for task, _ in run(scheduler, {second: 1000}, 3)} == {second}

"""Decisions of the scheduler, without a model: time is what the test says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from foundry_cli.engine.scheduler import PREFILL_CHUNK, Scheduler, Task, piece_of

FAST = 0.001
"""Seconds per token."""


def run(scheduler: Scheduler, steps: int, seconds_per_token: float = FAST) -> list[tuple[tuple[Task, ...], int]]:
    """Take steps: an answer takes one token's time for all, and never ends; prompts that are read become answers."""
    taken = []
    for _ in range(steps):
        step = scheduler.next_step()
        assert step is not None
        was_read = not step.tasks[0].is_writing
        if was_read:
            (task,) = step.tasks
            task.pending -= step.piece
            assert task.pending >= 0
            task.pending = task.pending or 1
        scheduler.charge(step, step.piece * seconds_per_token, was_read=was_read)
        taken.append((step.tasks, step.piece))
    return taken


def scheduler_of(*tasks: Task) -> Scheduler:
    scheduler = Scheduler()
    for task in tasks:
        scheduler.add(task)
    return scheduler


def answer() -> Task:
    return Task(pending=1)


def test_nothing_to_do() -> None:
    assert Scheduler().next_step() is None


@pytest.mark.parametrize(("pending", "pieces"), [(340, [128, 128, 84]), (300, [128, 172]), (1, [1]), (2, [2]), (192, [192])])
def test_a_prompt_alone_is_read_in_large_pieces_and_a_small_rest_goes_along(pending: int, pieces: list[int]) -> None:
    task = Task(pending=pending)
    assert [piece for _, piece in run(scheduler_of(task), len(pieces))] == pieces


@pytest.mark.parametrize("wanted", [8, 20, 32, 128])
def test_no_token_is_computed_alone_or_alone_in_a_tile(wanted: int) -> None:
    for length in range(2, 700):
        pending = length
        while pending:
            piece = piece_of(pending, wanted)
            assert 2 <= piece <= pending
            assert piece % 128 != 1
            assert piece <= wanted * 3 // 2
            pending -= piece


def test_a_prompt_beside_answers_is_read_in_pieces_that_these_can_wait_for() -> None:
    prompt = Task(pending=1000)
    taken = run(scheduler_of(prompt, *(answer() for _ in range(3))), 3000, 0.002)
    pieces = [piece for tasks, piece in taken if tasks == (prompt,) and piece > 1]
    assert pieces[0] == 32  # nothing is known yet
    assert {piece * 0.002 for piece in pieces[1:-1]} == {0.1}
    assert sum(pieces) == 1000


def test_many_prompts_beside_few_answers_are_read_in_larger_pieces() -> None:
    prompts = [Task(pending=10_000) for _ in range(7)]
    taken = run(scheduler_of(*prompts, answer()), 50, 0.002)
    assert 0.1 < max(piece for _, piece in taken[2:]) * 0.002 <= 0.35


def test_on_a_slow_model_the_pieces_are_smaller_but_never_tiny() -> None:
    taken = run(scheduler_of(Task(pending=999), *(answer() for _ in range(3))), 50, 5.0)
    assert {piece for _, piece in taken} == {32, 8, 1}


def test_a_busy_moment_does_not_make_the_pieces_small() -> None:
    prompt = Task(pending=5000)
    scheduler = scheduler_of(prompt, *(answer() for _ in range(3)))
    run(scheduler, 200, 0.002)
    while (step := scheduler.next_step()) and step.tasks != (prompt,):
        scheduler.charge(step, 0.002, was_read=False)
    assert step is not None
    scheduler.charge(step, 10.0, was_read=True)
    pieces = [piece for tasks, piece in run(scheduler, 20_000, 0.002) if tasks == (prompt,) and piece > 1]
    assert pieces[0] > 35


@pytest.mark.parametrize("prompts", [1, 2, 7])
@pytest.mark.parametrize("answers", [1, 3])
def test_never_two_pieces_of_prompts_in_a_row_while_an_answer_is_written(prompts: int, answers: int) -> None:
    reading = [Task(pending=10_000) for _ in range(prompts)]
    taken = run(scheduler_of(*reading, *(answer() for _ in range(answers))), 400)
    is_read = [tasks[0] in reading for tasks, _ in taken]
    assert any(is_read)
    assert not any(first and second for first, second in pairwise(is_read))


def test_a_prompt_and_answers_get_equal_time() -> None:
    prompt = Task(pending=100_000)
    taken = run(scheduler_of(prompt, *(answer() for _ in range(3))), 1000)
    read = sum(piece for tasks, piece in taken if tasks == (prompt,))
    written = sum(piece for tasks, piece in taken if tasks != (prompt,))
    assert abs(read - written) <= PREFILL_CHUNK


def test_many_prompts_get_more_time_than_few_answers() -> None:
    prompts = [Task(pending=100_000) for _ in range(7)]
    taken = run(scheduler_of(*prompts, answer()), 1000)
    read = sum(piece for tasks, piece in taken if tasks[0] in prompts)
    assert read > 0.85 * sum(piece for _, piece in taken)


def test_prompts_that_come_at_once_are_read_before_most_of_the_writing() -> None:
    prompts = [Task(pending=70) for _ in range(8)]
    taken = run(scheduler_of(*prompts), 1000)
    last = max(number for number, (_, piece) in enumerate(taken) if piece > 1)
    assert sum(piece for _, piece in taken[:last] if piece > 1) == 7 * 70
    assert sum(piece for _, piece in taken[:last] if piece == 1) < 0.15 * 7 * 70


@pytest.mark.parametrize("answers", [1, 7])
def test_short_prompts_that_come_one_after_the_other_leave_the_answers_their_time(answers: int) -> None:
    scheduler = scheduler_of(*(answer() for _ in range(answers)))
    read = written = 0
    for _ in range(1000):
        prompt = Task(pending=100)
        scheduler.add(prompt)
        while prompt.pending > 1:
            ((tasks, piece),) = run(scheduler, 1)
            read, written = (read + piece, written) if tasks == (prompt,) else (read, written + 1)
        scheduler.remove(prompt)
        run(scheduler, 1)  # before the next one comes
        written += 1
    assert written >= read * (0.49 if answers == 1 else 0.95)


def test_all_answers_are_written_at_once() -> None:
    tasks = [answer() for _ in range(3)]
    assert run(scheduler_of(*tasks), 2) == [(tuple(tasks), 1)] * 2


def test_a_short_prompt_does_not_wait_for_a_long_one_which_gets_on_too() -> None:
    long, short = Task(pending=10_000), Task(pending=400)
    taken = [tasks[0] for tasks, _ in run(scheduler_of(long, short), 6)]
    assert taken[:4] == [short, long, short, long]


def test_background_work_waits_for_everything_else() -> None:
    background = Task(pending=400, is_background=True)
    scheduler = scheduler_of(background)
    run(scheduler, 1)
    other = Task(pending=100)
    scheduler.add(other)
    assert all(tasks == (other,) for tasks, _ in run(scheduler, 50))
    scheduler.remove(other)
    assert run(scheduler, 1)[0][0] == (background,)


def test_a_removed_task_does_not_run() -> None:
    first, second = Task(pending=500), Task(pending=500)
    scheduler = scheduler_of(first, second)
    scheduler.remove(first)
    assert {tasks for tasks, _ in run(scheduler, 3)} == {(second,)}


def test_pieces_alone_are_as_large_as_said() -> None:
    assert run(scheduler_of(Task(pending=10_000)), 1)[0][1] == PREFILL_CHUNK


@pytest.mark.parametrize("least", [2, 17, 97, 4097])
def test_a_piece_that_must_not_be_smaller(least: int) -> None:
    for pending in range(least, least + 300):
        piece = piece_of(pending, 128, least=least)
        assert least <= piece <= pending
        assert piece == pending or pending - piece > 1
    scheduler = Scheduler(tasks=[Task(5000, least)])
    step = scheduler.next_step()
    assert step is not None
    assert step.piece >= least

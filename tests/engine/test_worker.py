"""The worker step by step, over a runtime of bytes: everything here happens in an order that can be counted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from foundry_cli.engine.request import Usage
from foundry_cli.engine.sampling import Logits, SamplingDefaults
from tests.engine.fakes import END, Bench, FakeRuntime, certain, reply, request

SMILE = "😀"


def bench(answer: bytes | Callable[[list[int]], Logits] = b"hello", *, memory_budget: int = 1 << 20, **options: Any) -> Bench:
    runtime = FakeRuntime(reply(answer) if isinstance(answer, bytes) else answer, **options)
    return Bench(runtime, memory_budget=memory_budget)


def letters(tokens: list[int]) -> Logits:
    """Logits under which sampling chooses among many letters, depending on the last one."""
    logits = np.full(END + 1, -np.inf, dtype=np.float32)
    logits[ord("a") : ord("z") + 1] = np.random.default_rng(tokens[-1]).normal(size=26)
    return logits


def test_an_answer() -> None:
    text, end = bench(b"hello").answer(request("hi"))
    assert text == "hello"
    assert end["reason"] == "stop"
    assert end["usage"] == vars(Usage(3, 6, 0))
    assert end["timing"].keys() == {"queue", "prefill", "decode"}


def test_an_empty_answer() -> None:
    worker = bench(b"")
    text, end = worker.answer(request())
    assert (text, end["reason"], end["usage"]["completion_tokens"]) == ("", "stop", 1)
    assert [frame["op"] for frame in worker.frames] == ["finish"]


@pytest.mark.parametrize(
    ("most", "text", "reason"), [(1, "h", "length"), (4, "hell", "length"), (5, "hello", "length"), (6, "hello", "stop")]
)
def test_most_tokens(most: int, text: str, reason: str) -> None:
    shown, end = bench(b"hello").answer(request(max_tokens=most))
    assert (shown, end["reason"], end["usage"]["completion_tokens"]) == (text, reason, most)


@pytest.mark.parametrize(
    ("stop", "text", "tokens"),
    [(("h",), "", 1), (("lo",), "hel", 5), (("ell", "o"), "h", 4), (("hellox",), "hello", 6), (("hello",), "", 5),
     (("", "e"), "h", 2)],
)  # fmt: skip
def test_stop_sequences(stop: tuple[str, ...], text: str, tokens: int) -> None:
    shown, end = bench(b"hello").answer(request(stop=stop))
    assert (shown, end["reason"], end["usage"]["completion_tokens"]) == (text, "stop", tokens)


def test_a_stop_sequence_that_is_only_begun_at_the_limit_is_shown() -> None:
    shown, end = bench(b"hello").answer(request(stop=("lox",), max_tokens=5))
    assert (shown, end["reason"]) == ("hello", "length")


def test_a_stop_sequence_at_the_limit_is_a_stop() -> None:
    shown, end = bench(b"hello").answer(request(stop=("lo",), max_tokens=5))
    assert (shown, end["reason"]) == ("hel", "stop")


def test_characters_come_whole_and_tokens_are_counted() -> None:
    worker = bench(f"a{SMILE}é".encode())
    text, end = worker.answer(request())
    assert text == f"a{SMILE}é"
    chunks = [(frame["text"], frame["tokens"]) for frame in worker.frames if frame["op"] == "text"]
    assert chunks == [("a", 1), (SMILE, 4), ("é", 2)]
    assert end["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize("most", [2, 3, 4])
def test_half_a_character_is_never_sent(most: int) -> None:
    assert bench(f"a{SMILE}".encode()).answer(request(max_tokens=most))[0] == "a"


@pytest.mark.parametrize(("length", "text"), [(99, "h"), (98, "he"), (95, "hello")])
def test_the_context_ends(length: int, text: str) -> None:
    shown, end = bench(b"hello there", context_length=100).answer(request("x" * (length - 1)))
    assert (shown, end["reason"]) == (text, "length")


@pytest.mark.parametrize(("length", "most", "field"), [(100, None, "messages"), (101, 1, "messages"), (90, 11, "max_tokens")])
def test_what_does_not_fit_is_refused_with_counts(length: int, most: int | None, field: str) -> None:
    runtime = FakeRuntime(reply(b"x"), context_length=100)
    error = Bench(runtime).answer(request("x" * (length - 1), max_tokens=most))[1]
    assert (error["code"], error["param"]) == ("context_length_exceeded", field)
    assert f"is 100 tokens. The request needs {length + (most or 1)} ({length} in the messages" in error["message"]
    assert runtime.steps == []


def test_an_answer_that_fills_the_context_exactly() -> None:
    text, end = bench(b"x" * 90, context_length=100).answer(request("y" * 9, max_tokens=90))
    assert (len(text), end["reason"]) == (90, "length")


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 5, "frequency_penalty": 0.5, "max_tokens": 3000}])
def test_an_answer_that_outgrows_its_context_goes_on(options: dict[str, Any]) -> None:
    long = bytes(97 + index * index % 26 for index in range(3000))
    growing = bench(letters if options else long, context_length=8192)
    text, end = growing.answer(request(**options))
    assert len({context.max_length for context in growing.runtime.contexts}) > 1
    assert end["usage"] == vars(Usage(6, 3001 - len(options and "x"), 0))
    fixed = bench(letters if options else long, context_length=8192)
    assert text == fixed.answer(request(messages=({"role": "user", "content": "hello"},), **options))[0]
    if not options:
        assert text == long.decode()


def test_answers_go_on_while_another_one_moves() -> None:
    worker = bench(b"x" * 2500, context_length=8192)
    worker.ask(1, request("a"))
    worker.ask(2, request("b"))
    worker.run()
    assert worker.text(1) == worker.text(2) == "x" * 2500


def during(worker: Bench, number: int, action: Callable[[], None]) -> None:
    """Do something while the step `number` runs."""
    worker.runtime.on_step = lambda step: action() if step == number else None


def test_cancel_while_writing_takes_effect_after_the_step() -> None:
    worker = bench(b"x" * 100)
    during(worker, 10, lambda: worker.cancel(1))
    worker.ask(1, request())
    worker.run()
    assert worker.end(1)["reason"] == "cancelled"
    assert len(worker.runtime.steps) == 10
    assert worker.end(1)["usage"]["completion_tokens"] == len(worker.text(1)) == 10


def test_cancel_while_reading_the_prompt_takes_effect_after_the_piece() -> None:
    worker = bench()
    during(worker, 2, lambda: worker.cancel(1))
    worker.ask(1, request("x" * 1000))
    worker.run()
    assert worker.end(1)["reason"] == "cancelled"
    assert [count for _, count in worker.runtime.steps] == [128, 128]


def test_what_was_read_before_a_cancel_is_used_again() -> None:
    worker = bench()
    during(worker, 2, lambda: worker.cancel(1))
    worker.ask(1, request("x" * 1000))
    worker.run()
    worker.ask(2, request("x" * 1000))
    worker.run()
    assert worker.end(2)["usage"]["cached_tokens"] == 256


def test_cancel_before_anything_was_done() -> None:
    worker = bench()
    worker.ask(1, request())
    worker.cancel(1)
    worker.ask(2, request())
    worker.run()
    assert worker.end(1)["reason"] == "cancelled"
    assert worker.text(2) == "hello"
    assert worker.runtime.encoded == ["hello>"]


def test_cancel_while_waiting_for_a_place() -> None:
    worker = bench()
    during(worker, 15, lambda: worker.cancel(10))
    for identity in range(1, 12):
        worker.ask(identity, request(chr(96 + identity)))
    worker.run()
    assert worker.end(10)["reason"] == "cancelled"
    assert not any(letter == "j" for letter, _ in worker.runtime.steps)
    assert all(worker.text(identity) == "hello" for identity in range(1, 12) if identity != 10)


def test_cancel_while_moving_to_a_larger_context() -> None:
    worker = bench(b"x" * 3000, context_length=8192)
    steps_of_first = 1 + 1024 - len("a>")  # the prompt, then one by one until the context is full
    during(worker, steps_of_first + 2, lambda: worker.cancel(1))
    worker.ask(1, request("a"))
    worker.run()
    assert worker.end(1)["reason"] == "cancelled"
    assert worker.runtime.steps[-1][1] > 1, "a piece of what had to be read again"
    assert worker.text(1) == "x" * 1023


def test_cancel_of_an_unknown_or_finished_answer_is_nothing() -> None:
    worker = bench()
    worker.answer(request())
    worker.cancel(1)
    worker.cancel(99)
    assert worker.answer(request())[0] == "hello"


def test_a_place_is_free_after_a_cancel() -> None:
    worker = bench(b"x" * 50)
    during(worker, 20, lambda: worker.cancel(*range(1, 9)))
    for identity in range(1, 11):
        worker.ask(identity, request(chr(96 + identity)))
    worker.run()
    assert [worker.end(identity)["reason"] for identity in range(1, 11)] == ["cancelled"] * 8 + ["stop"] * 2


def test_a_long_prompt_never_holds_a_running_answer_for_two_pieces() -> None:
    worker = bench(b"x" * 200)
    during(worker, 20, lambda: worker.ask(2, request("b" * 2000)))
    worker.ask(1, request("a"))
    worker.run()
    ops = [frame["id"] for frame in worker.frames if frame["op"] == "text"]
    steps = worker.runtime.steps
    last_of_first = max(index for index, (letter, _) in enumerate(steps) if letter == "a")
    pieces = [index for index, (letter, count) in enumerate(steps) if letter == "b" and count > 1]
    during_first = [index for index in pieces if index < last_of_first]
    assert during_first
    assert all(second - first > 1 for first, second in pairwise(during_first))
    assert {steps[index][1] for index in during_first} == {8}  # a token takes a second here
    assert worker.text(1) == worker.text(2) == "x" * 200
    assert ops[0] == 1


def test_two_answers_take_turns() -> None:
    worker = bench(b"x" * 50)
    worker.ask(1, request("a"))
    worker.ask(2, request("b"))
    worker.run()
    order = [frame["id"] for frame in worker.frames if frame["op"] == "text"]
    assert order[10:90] in ([1, 2] * 40, [2, 1] * 40)


def prepared_per_step(worker: Bench, number: int) -> list[int]:
    """How many requests have been prepared by each step; most of them come during step `number`."""
    prepared: list[int] = []

    def on_step(step: int) -> None:
        prepared.append(len(worker.runtime.encoded))
        if step == number:
            for identity in range(2, 7):
                worker.ask(identity, request(chr(96 + identity)))

    worker.runtime.on_step = on_step
    worker.ask(1, request("a" * 1000))
    worker.run()
    return prepared


def test_a_running_answer_waits_for_one_preparation_only() -> None:
    prepared = prepared_per_step(bench(b"x" * 100), 20)
    assert (prepared[0], prepared[-1]) == (1, 6)
    assert all(after - before <= 1 for before, after in pairwise(prepared))


def test_while_a_prompt_is_read_all_that_arrive_are_prepared() -> None:
    assert prepared_per_step(bench(b"x" * 100), 2)[:4] == [1, 1, 6, 6]


def test_only_so_many_run_and_the_others_wait_in_order() -> None:
    worker = bench(b"x" * 30)
    for identity in range(1, 13):
        worker.ask(identity, request(chr(96 + identity)))
    worker.run()
    first_tokens = list(dict.fromkeys(frame["id"] for frame in worker.frames if frame["op"] == "text"))
    assert first_tokens == list(range(1, 13))
    ninth = next(index for index, frame in enumerate(worker.frames) if frame["id"] == 9)
    assert any(frame["op"] == "finish" for frame in worker.frames[:ninth])


def test_without_memory_for_two_the_second_waits() -> None:
    worker = bench(b"x" * 30, memory_budget=530)
    worker.ask(1, request("a", max_tokens=40))
    worker.ask(2, request("b", max_tokens=40))
    worker.run()
    order = [frame["id"] for frame in worker.frames if frame["op"] == "text"]
    assert order == [1] * 30 + [2] * 30


def test_a_conversation_that_never_fits_is_refused_and_the_next_one_runs() -> None:
    worker = bench(memory_budget=600)
    worker.ask(1, request("a" * 1000))
    worker.ask(2, request("b", max_tokens=9))
    worker.run()
    assert worker.end(1)["code"] == "insufficient_memory"
    assert worker.text(2) == "hello"


def test_an_answer_that_cannot_grow_any_more_says_so() -> None:
    worker = bench(b"x" * 3000, memory_budget=1100)
    end = worker.answer(request("a"))[1]
    assert end["code"] == "insufficient_memory"
    assert worker.answer(request("b", max_tokens=3))[0] == "xxx"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_logits_end_one_answer_only(bad: float) -> None:
    def answer(tokens: list[int]) -> Logits:
        if tokens[0] == ord("b") and len(tokens) > 4:
            return np.full(END + 1, bad, dtype=np.float32)
        return reply(b"hello")(tokens)

    worker = bench(answer)
    worker.ask(1, request("a"))
    worker.ask(2, request("b"))
    worker.run()
    assert worker.text(1) == "hello"
    assert (worker.text(2), worker.end(2)["code"]) == ("hel", "engine_error")


def test_a_defect_ends_one_answer_only(capfd: pytest.CaptureFixture[str]) -> None:
    def answer(tokens: list[int]) -> Logits:
        if tokens[0] == ord("s"):
            raise ZeroDivisionError(bytes(tokens))
        return reply(b"hello")(tokens)

    worker = bench(answer)
    worker.ask(1, request("a"))
    worker.ask(2, request("s-e-c-r-e-t"))
    worker.ask(3, request(messages=({"role": "user"},)))
    worker.run()
    assert worker.text(1) == "hello"
    assert worker.end(2)["message"] == "The engine failed: ZeroDivisionError."
    assert worker.end(3)["message"] == "The engine failed: KeyError."
    assert "s-e-c-r-e-t" not in capfd.readouterr().err


def test_a_template_that_refuses() -> None:
    worker = bench(template="{{ raise_exception('no system role') }}")
    end = worker.answer(request())[1]
    assert (end["code"], end["param"]) == ("invalid_value", "messages")


def test_the_next_turn_is_continued() -> None:
    worker = bench(b"hello", template="{% for m in messages %}{{ m.content }}>{% endfor %}")
    worker.answer(request("hi"))
    turns = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "more"})
    worker.ask(7, request(messages=turns))
    worker.run()
    # `hi>` and the answer; the second `>` was never computed
    assert worker.end(7)["usage"] == vars(Usage(14, 6, 8))


SEEDED: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "seed": 42, "max_tokens": 60, "repetition_penalty": 1.1}


def test_a_seed_gives_the_same_text_with_and_without_the_prompt_cache() -> None:
    worker = bench(letters)
    first, again = worker.answer(request(**SEEDED)), worker.answer(request(**SEEDED))
    assert first[0] == again[0]
    assert (first[1]["usage"]["cached_tokens"], again[1]["usage"]["cached_tokens"]) == (0, 5)


def test_a_seed_gives_the_same_text_beside_other_requests() -> None:
    alone = bench(letters).answer(request(**SEEDED))[0]
    worker = bench(letters)
    during(worker, 7, lambda: worker.ask(9, request("late" * 200, temperature=1.0, max_tokens=20)))
    for identity in range(1, 5):
        worker.ask(identity, request(**{**SEEDED, "seed": 42 if identity == 3 else identity}))
    worker.run()
    assert worker.text(3) == alone
    assert worker.text(1) != alone


def test_defaults_of_the_model_are_used() -> None:
    greedy, sampled = bench(letters), bench(letters, defaults=SamplingDefaults(temperature=1.0))
    assert greedy.answer(request(max_tokens=40))[0] == greedy.answer(request(max_tokens=40))[0]
    assert sampled.answer(request(max_tokens=40))[0] != sampled.answer(request(max_tokens=40))[0]


def test_a_worker_at_work_is_not_silent() -> None:
    worker = bench()
    worker.answer(request("x" * 1000))  # 1,000 s on the fake clock
    assert [frame["op"] for frame in worker.frames].count("busy") >= 7
    assert worker.text(1) == "hello"


def test_an_answer_without_text_is_not_silent() -> None:
    def endless(tokens: list[int]) -> Logits:
        return certain(0xFF if tokens[-1] == ord(">") else 0x80)

    worker = bench(endless)
    worker.answer(request(max_tokens=3, stop=("x",)))
    assert worker.frames[-1]["reason"] == "length"


def test_background_work_comes_last_and_never_takes_all_places() -> None:
    worker = bench(b"x" * 20)
    for identity in range(1, 11):
        worker.ask(identity, request(chr(96 + identity), priority="background"))
    during(worker, 12, lambda: [worker.ask(identity, request(chr(64 + identity))) for identity in (20, 21)])
    worker.run()
    ends = [frame["id"] for frame in worker.frames if frame["op"] == "finish"]
    assert set(ends) == {*range(1, 11), 20, 21}
    assert max(ends.index(20), ends.index(21)) < 4
    waiting = [worker.end(identity)["timing"]["queue"] for identity in (20, 21)]
    assert max(waiting) < max(worker.end(identity)["timing"]["queue"] for identity in range(1, 11))


def test_progress_for_who_wants_it() -> None:
    worker = bench(most_running=1)
    for identity, wants in ((1, False), (2, True), (3, True)):
        worker.ask(identity, request(str(identity) * 300, tells_progress=wants))
    worker.run()

    def told(identity: int) -> list[tuple[int, int, int]]:
        frames = [frame for frame in worker.frames if frame.get("id") == identity and frame["op"] != "finish"]
        progress = [frame for frame in frames if frame["op"] == "progress"]
        assert frames[: len(progress)] == progress  # all of it before the answer
        return [tuple(frame["progress"].values()) for frame in progress]

    assert told(1) == []
    assert told(2)[0] == (1, 0, 301)
    assert told(3)[:2] == [(2, 0, 301), (1, 0, 301)]
    for identity in (2, 3):
        waiting, read, size = told(identity)[-1]
        assert (waiting, read, size) == (0, 301, 301)


def test_a_question_is_prepared_before_background_work_that_came_earlier() -> None:
    worker = bench(b"x" * 20)
    for identity in range(1, 9):
        worker.ask(identity, request(chr(96 + identity), priority="background"))
    worker.ask(20, request("t"))
    worker.ask(21, request("u"))
    worker.run()
    assert worker.runtime.encoded[:2] == ["t>", "u>"]


def test_background_work_without_memory_is_in_nobodys_way() -> None:
    worker = bench(b"x" * 100, memory_budget=1200)
    worker.runtime.on_step = lambda step: {
        5: lambda: worker.ask(2, request("b" * 700, max_tokens=50, priority="background")),
        9: lambda: worker.ask(3, request("c", max_tokens=5)),
    }.get(step, lambda: None)()
    worker.ask(1, request("a", max_tokens=100))
    worker.run()
    ends = [frame["id"] for frame in worker.frames if frame["op"] == "finish"]
    assert ends == [3, 1, 2]

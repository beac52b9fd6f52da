"""Chats that are read before the next question comes: what is read, and that nobody waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from foundry_cli.engine.chat_template import ChatTemplate
from foundry_cli.engine.prompt import PromptBuilder
from foundry_cli.engine.request import GenerationRequest, Usage
from tests.engine.fakes import FakeRuntime, reply, request
from tests.engine.test_worker import bench, during

HISTORY = ({"role": "user", "content": "hi>"}, {"role": "assistant", "content": "hello"})
QUESTION = {"role": "user", "content": "and?"}


def reading(*messages: dict[str, Any]) -> GenerationRequest:
    return request(messages=messages or HISTORY, max_tokens=0, priority="background")


def test_what_was_read_is_not_read_again() -> None:
    worker = bench()
    text, end = worker.answer(reading())
    assert (text, end["reason"]) == ("", "length")
    assert end["usage"] == vars(Usage(8, 0, 0))
    text, end = worker.answer(request(messages=(*HISTORY, QUESTION)))
    assert text == "hello"
    assert end["usage"]["cached_tokens"] == 8


def test_what_is_there_is_hardly_read_again() -> None:
    worker = bench()
    for _ in range(2):
        text, end = worker.answer(reading())
        assert (text, end["reason"], end["usage"]["completion_tokens"]) == ("", "length", 0)
    assert [count for _, count in worker.runtime.steps] == [8, 1]


def test_after_an_answer_only_what_the_template_adds_is_read() -> None:
    worker = bench(template="{% for m in messages %}<{{ m.content }}>{% endfor %}")
    worker.answer(request("hi"))
    history = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"})
    assert worker.answer(reading(*history))[1]["usage"]["cached_tokens"] == len("<hi>")
    assert worker.answer(request(messages=(*history, QUESTION)))[1]["usage"]["cached_tokens"] == len("<hi><hello><")


def test_a_question_does_not_wait_for_it() -> None:
    worker = bench()
    long = ({"role": "user", "content": ">" + "x" * 1000},)
    during(worker, 2, lambda: worker.ask(2, request(messages=(*long, QUESTION))))
    worker.ask(1, reading(*long))
    worker.run()
    assert worker.end(1)["reason"] == "cancelled"
    assert worker.end(2)["usage"]["cached_tokens"] == 256
    assert worker.text(2) == "hello"


def test_it_waits_until_all_others_are_answered() -> None:
    worker = bench(b"x" * 50)
    during(worker, 5, lambda: worker.ask(3, reading()))
    worker.ask(1, request("a"))
    worker.ask(2, request("b"))
    worker.run()
    assert [frame["id"] for frame in worker.frames if frame["op"] == "finish"] == [1, 2, 3]
    assert worker.runtime.steps[-1] == ("h", 8)


def test_one_that_waits_is_given_up_for_the_next_question() -> None:
    worker = bench(b"x" * 50)
    worker.runtime.on_step = lambda step: {5: lambda: worker.ask(2, reading()), 9: lambda: worker.ask(3, request("b"))}.get(
        step, lambda: None
    )()
    worker.ask(1, request("a"))
    worker.run()
    assert worker.end(2)["reason"] == "cancelled"
    assert len(worker.text(3)) == 50
    assert not any(letter == "h" for letter, _ in worker.runtime.steps)


def test_several_chats_are_read_one_after_the_other() -> None:
    worker = bench()
    for identity, letter in enumerate("abc", 1):
        worker.ask(identity, reading({"role": "user", "content": f"{letter}>{letter}"}))
    worker.cancel(2)
    worker.run()
    assert [worker.end(identity)["reason"] for identity in (1, 2, 3)] == ["length", "cancelled", "length"]
    assert worker.runtime.steps == [("a", 3), ("c", 3)]


def test_a_template_that_begins_with_the_question_leaves_nothing_to_read() -> None:
    worker = bench(template="{{ messages[-1].content }}{% for m in messages %}{{ m.content }}{% endfor %}>")
    assert worker.answer(reading())[1]["reason"] == "length"
    assert worker.runtime.steps == []


def test_a_chat_that_the_template_refuses_is_an_error() -> None:
    worker = bench(template="{{ raise_exception('no') }}")
    assert worker.answer(reading())[1]["code"] == "invalid_value"
    assert worker.answer(reading({"role": "user", "content": "x" * 5000}))[1]["code"] == "context_length_exceeded"


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACKETS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}"
)
SYSTEM_IN_THE_LAST_QUESTION = (
    "{% for m in messages %}{% if loop.last %}{{ messages[0]['content'] }}: {% endif %}"
    "{% if not loop.first %}[{{ m['content'] }}]{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "prefix"),
    [
        (CHATML, "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
                 "<|im_start|>user\n"),
        (BRACKETS, "s</s>[INST] q [/INST]a</s>[INST] "),
        (SYSTEM_IN_THE_LAST_QUESTION, "[q][a]s: ["),
    ],
)  # fmt: skip
def test_the_prefix_of_every_next_question(template: str, prefix: str) -> None:
    builder = PromptBuilder(FakeRuntime(reply(b""), template=template))
    messages = [{"role": role, "content": role[0]} for role in ("system", "question", "assistant")]
    messages[1]["role"] = "user"
    read = bytes(builder.build_prefix(GenerationRequest(messages=tuple(messages))).tokens).decode()
    assert read == prefix
    for text in ("Hello", "7", "\n", "\N{GRINNING FACE}"):
        whole = ChatTemplate(template, {}).render([*messages, {"role": "user", "content": text}])
        assert whole.startswith(read)

"""The checks of `foundry model test`, each on partners that behave and that misbehave in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.errors import ContextLengthError, EngineDiedError, ServiceUnreachableError, UnsupportedFieldError
from foundry_cli.own_models.conformance import CHECKS, Answer, Message, Result, Status, Subject, run_checks, verdict_of
from tests.own_models.folders import facts_of

RENDERED = "<s>alpha system</s><u>bravo question</u><a>charlie answer</a><u>delta question</u><a>"
CALL = {"function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


@dataclass
class Partner:
    """Answers with what the last message asks for; `spoil` gets every answer and gives the one that is told."""

    supports: frozenset[str] = frozenset({"response_format", "tools"})
    spoil: Callable[[Answer], Answer] = lambda answer: answer
    spoil_streamed: Callable[[Answer], Answer] = lambda answer: answer
    error: Exception | None = None
    limit: int | None = 2048  # words; None: takes everything
    asked: list[str] = field(default_factory=list)

    def complete(self, messages: list[Message], **options: Any) -> Answer:
        if self.error:
            raise self.error
        for name in ("response_format", "tools"):
            if name in options and name not in self.supports:
                raise UnsupportedFieldError(f"{name}: not supported", param=name)
        count = sum(len(message["content"].split()) + 4 for message in messages)
        if self.limit and count > self.limit:
            raise ContextLengthError(f"{count} are too many. Shorten it.")
        self.asked.append(messages[-1]["content"])
        text = '{"capital": "Paris"}' if "response_format" in options else f"You said: {messages[-1]['content']}"
        calls = (CALL,) if "tools" in options else ()
        return self.spoil(Answer(text, "stop", count, 5, tool_calls=calls))

    def stream(self, messages: list[Message], **options: Any) -> Answer:
        answer = self.complete(messages, **options)
        return self.spoil_streamed(replace(answer, pieces=tuple(answer.text)))


def results(partner: Partner, *, tools: bool = True, **facts: Any) -> dict[str, tuple[Status, str]]:
    found = {"rendered": RENDERED, "control_tokens": ("<|im_end|>",), **facts}
    subject = Subject(partner, facts_of(Path("model"), **found), supports_tool_calling=tools)
    return {result.name: (result.status, result.detail) for result in run_checks(subject)}


def failed(partner: Partner, **facts: Any) -> set[str]:
    return {name for name, (status, _) in results(partner, **facts).items() if status is Status.failed}


def answering(**changes: Any) -> Partner:
    return Partner(spoil=lambda answer: replace(answer, **changes))


def test_a_model_that_behaves_passes_everything() -> None:
    assert {status for status, _ in results(Partner()).values()} == {Status.passed}
    assert len(CHECKS) == len(results(Partner())) == 9


def test_what_this_version_or_the_model_does_not_have_is_neither_passed_nor_failed() -> None:
    found = results(Partner(supports=frozenset()), rendered=None)
    assert found["JSON mode"] == (Status.skipped, "not supported by this version: response_format")
    assert found["tool calls"] == (Status.skipped, "not supported by this version: tools")
    assert found["chat template"][0] is Status.not_shown
    assert results(Partner(), tools=False)["tool calls"][0] is Status.skipped
    assert results(Partner(), context_length=10_000_000)["context limit"][0] is Status.not_shown


@pytest.mark.parametrize(
    "rendered",
    [
        RENDERED.replace("charlie answer", ""),
        RENDERED + "delta question",
        "<u>delta question</u><a>charlie answer</a><u>bravo question</u>",
        "alpha system bravo question charlie answer delta question",
    ],
)
def test_a_template_that_loses_repeats_turns_around_or_does_not_mark_messages_fails(rendered: str) -> None:
    assert failed(Partner(), rendered=rendered) == {"chat template"}


@pytest.mark.parametrize(
    "rendered",
    [
        "<u>bravo question</u><a>charlie answer</a><u>delta question</u><a>",  # Gemma takes no system message
        "[INST]bravo question[/INST]charlie answer[INST]alpha system\n\ndelta question[/INST]",  # Mistral puts it last
    ],
)
def test_templates_that_do_unusual_things_with_the_system_message_pass(rendered: str) -> None:
    assert failed(Partner(), rendered=rendered) == set()


@pytest.mark.parametrize(
    ("partner", "names"),
    [
        (answering(prompt_tokens=7), {"history"}),
        (answering(text="fine<|im_end|>"), {"stop tokens", "JSON mode"}),
        (answering(text="gr\N{REPLACEMENT CHARACTER}n"), {"Unicode", "JSON mode"}),
        (answering(text="<0xE6><0x9D>"), {"Unicode", "JSON mode"}),
        (answering(text="[1]"), {"JSON mode"}),
        (answering(tool_calls=()), {"tool calls"}),
        (answering(tool_calls=({"function": {"name": "other", "arguments": "{}"}},)), {"tool calls"}),
        (answering(tool_calls=({"function": {"name": "get_weather", "arguments": "{city"}},)), {"tool calls"}),
        (answering(tool_calls=({"function": {"name": "get_weather", "arguments": "{}"}},)), {"tool calls"}),
        (Partner(spoil_streamed=lambda answer: replace(answer, text=answer.text[:-1])), {"streaming"}),
        (Partner(spoil_streamed=lambda answer: replace(answer, finish_reason="length")), {"streaming"}),
        (Partner(spoil_streamed=lambda answer: replace(answer, completion_tokens=4)), {"streaming"}),
        (Partner(limit=None), {"context limit"}),
    ],
)
def test_each_misbehaviour_fails_the_check_that_is_meant_for_it(partner: Partner, names: set[str]) -> None:
    assert failed(partner) == names


def test_answers_that_change_fail() -> None:
    numbers = iter(range(1000))
    changing = Partner(spoil=lambda answer: replace(answer, text=f"{answer.text} {next(numbers)}"))
    assert failed(changing) == {"streaming", "determinism", "JSON mode"}


def test_of_a_model_that_never_ends_nothing_is_shown_about_its_end() -> None:
    endless = answering(finish_reason="length")
    status, detail = results(endless)["stop tokens"]
    assert (status, "no answer ended" in detail) == (Status.not_shown, True)
    assert failed(endless) == set()
    assert failed(endless, eos_token_ids=()) == {"stop tokens"}


def test_an_engine_that_dies_fails_and_a_service_that_is_gone_ends_the_test() -> None:
    dying = results(Partner(error=EngineDiedError("The worker ended.")))
    assert dying["history"] == (Status.failed, "The worker ended.")
    with pytest.raises(ServiceUnreachableError):
        results(Partner(error=ServiceUnreachableError("gone")))


def test_the_verdict_names_what_failed_and_when() -> None:
    subject = Subject(answering(text="[1]"), facts_of(Path("model"), rendered=RENDERED))
    verdict = verdict_of(list(run_checks(subject)), now=lambda: 1767323045.7)
    assert (verdict.verdict, verdict.failed, verdict.date) == ("failed", ("JSON mode",), "2026-01-02T03:04:05+00:00")


@pytest.mark.parametrize("name", ["chat template", "streaming", "Unicode"])
def test_without_a_check_of_the_core_no_model_passes(name: str) -> None:
    passed = [Result(each, Status.passed) for each in CHECKS if each != name]
    assert verdict_of(passed).verdict == "undecided"
    assert verdict_of([*passed, Result(name, Status.not_shown)]).verdict == "undecided"
    assert verdict_of([*passed, Result(name, Status.passed)]).verdict == "passed"
    assert verdict_of([*passed, Result(name, Status.failed)]).verdict == "failed"


def test_what_is_not_of_the_core_may_stay_open() -> None:
    core = [Result(name, Status.passed) for name in ("chat template", "streaming", "Unicode")]
    assert verdict_of([*core, Result("stop tokens", Status.not_shown)]).verdict == "passed"

"""The measuring behind `foundry model bench`, on scripted models behind a real service."""

from __future__ import annotations

import pytest

from foundry_cli.client.benchmark import Benchmark, Plan, Report, _AbortableClient
from foundry_cli.errors import FoundryError, ModelNotFoundError
from tests.conftest import RunningService, add_model
from tests.models.conversational import write_thinking_model

PLAN = Plan(depths=(0, 256), prompt=64, answer=16, clients=(1, 3), chat=400)


def _run(service: RunningService, model: str, plan: Plan = PLAN, context: int | None = None) -> tuple[Report, list[str]]:
    steps: list[str] = []
    return Benchmark(service.client, model, plan, context).run(steps.append), steps


def test_every_figure_is_there_and_steps_are_said(service: RunningService) -> None:
    report, steps = _run(service, "long:1")
    assert [speed.depth for speed in report.speeds] == [0, 256]
    assert [load.clients for load in report.loads] == [1, 3]
    assert all(speed.prefill > 0 and speed.decode for speed in report.speeds)
    assert all(load.rate > 0 and load.first_ms > 0 for load in report.loads)
    assert report.skipped == []
    assert steps == [
        "Warming up",
        "Prefill and decode at depth 0",
        "Prefill and decode at depth 256",
        "1 client",
        "3 clients",
        "Second turn of a chat",
    ]


def test_prompts_are_as_long_as_planned_and_only_what_is_new_is_prefilled(service: RunningService) -> None:
    report, _ = _run(service, "long:1")
    start, deep = report.speeds
    assert start.cached_tokens < 64  # the template; no question begins like another
    assert 256 <= deep.cached_tokens + 100 < 400
    assert 64 <= deep.prompt_tokens - deep.cached_tokens < 256
    assert report.second_turn is not None
    assert report.second_turn.prompt_tokens > report.second_turn.cached_tokens > 300


def test_short_answers_are_asked_for_again_and_tell_nothing_when_they_are_one_token(fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "short:1", ["Four"])
    add_model(fresh_service.paths, "single:1", [[b"One"]])
    report, _ = _run(fresh_service, "short:1")
    assert all(speed.decode for speed in report.speeds)
    report, _ = _run(fresh_service, "single:1", Plan(depths=(0,), prompt=64, answer=16, clients=(1,), chat=100))
    assert report.loads[0].rate > 0


def test_thoughts_are_written_too(fresh_service: RunningService) -> None:
    directory = fresh_service.paths.default_cache / "Tests" / "thinking-1"
    write_thinking_model(directory, "thinking:1", "abcdefghij" * 6, "Four")
    measured = Benchmark(fresh_service.client, "thinking:1", Plan((0,), 64, 40, (1,), 100), None)
    answer = measured._ask([{"role": "user", "content": "hi"}], 100)
    assert answer.text.strip() == "Four"
    cut = measured._ask([{"role": "user", "content": "hi"}], 30)
    assert (cut.text, cut.end.completion_tokens) == ("", 30)
    assert cut.first < cut.total  # from the first thought on, as all tokens are counted


def test_a_depth_beyond_the_context_is_left_out_with_the_reason(fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "small:1", ["abcdefghij" * 10], context_length=1200)
    plan = Plan(depths=(0, 1400), prompt=64, answer=16, clients=(1,), chat=5000)
    for context in (1200, None):  # known beforehand, or said by the service
        report, _ = _run(fresh_service, "small:1", plan if context else Plan((0, 1400), 64, 16, (1,), 400), context)
        assert [speed.depth for speed in report.speeds] == [0]
        (reason,) = report.skipped
        assert reason.startswith("depth 1400: ")
        assert report.second_turn is not None


def test_an_unknown_model_is_an_error(service: RunningService) -> None:
    with pytest.raises(ModelNotFoundError):
        _run(service, "no-such-model")


def test_when_one_client_fails_all_end_and_the_error_is_raised(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = Benchmark(service.client, "slow:1", Plan((), 8, 500, (3,), 100, requests=1_000_000), None)
    ask, calls = measuring._ask, []

    def fail_once(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise FoundryError("the third one fails")
        return ask(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "_ask", fail_once)
    with pytest.raises(FoundryError):
        measuring._load(3)


def test_after_an_abort_no_answer_begins(service: RunningService) -> None:
    client = _AbortableClient(service.client)
    client.abort()
    with pytest.raises(FoundryError):
        list(client.chat("slow:1", [{"role": "user", "content": "hi"}], max_tokens=2))

"""`foundry complete`: one question, one answer, for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.in_process import Command
from tests.conftest import Foundry, RunningService


def test_standard_output_holds_nothing_but_the_answer(foundry: Foundry, service: RunningService) -> None:
    output = foundry("complete", "echo", "hello", home=service.paths.home)
    assert (output.stdout, output.code) == ("The first answer.\n", 0)


def test_the_prompt_comes_on_standard_input(here: Command, service: RunningService) -> None:
    output = here("complete", "echo", input="hello\n", home=service.paths.home)
    assert (output.stdout, output.code) == ("The first answer.\n", 0)


def test_every_answer_is_the_first_of_its_chat(here: Command, service: RunningService) -> None:
    for _ in range(2):
        assert here("complete", "echo", "hello", home=service.paths.home).stdout == "The first answer.\n"


def test_the_answer_as_json(here: Command, service: RunningService) -> None:
    output = here("complete", "echo", "hello", "-o", "json", home=service.paths.home)
    assert output.stdout.count("\n") == 1
    answer = json.loads(output.stdout)
    usage = answer.pop("usage")
    assert answer == {"model": "echo:1", "text": "The first answer.", "finish_reason": "stop"}
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_options_reach_the_model(here: Command, service: RunningService) -> None:
    options = ["--max-tokens", "9", "--temperature", "0.5", "--top-p", "0.9", "--seed", "1", "--system", "Be kind."]
    answer = json.loads(here("complete", "echo", "hello", *options, "--output", "json", home=service.paths.home).stdout)
    assert (answer["text"], answer["finish_reason"]) == ("The first", "length")
    assert answer["usage"]["completion_tokens"] == 9


def test_other_models_stay_loaded(here: Command, service: RunningService) -> None:
    service.client.load("long:1")
    here("complete", "echo", "hello", home=service.paths.home)
    assert {"long:1", "echo:1"} <= set(service.client.loaded_models())


@pytest.mark.parametrize("arguments", [["  \n"], []])
def test_an_empty_prompt_is_refused_before_anything_starts(here: Command, arguments: list[str], tmp_path: Path) -> None:
    output = here("complete", "foundry-guide", *arguments)
    assert output.code == 2
    assert output.stderr.startswith("Exception: Prompt cannot be empty.")
    assert not (tmp_path / "home" / "run").exists()


def test_exit_codes(here: Command, service: RunningService) -> None:
    unknown = here("complete", "no-such-model", "hello", "-o", "json", home=service.paths.home)
    assert (unknown.code, unknown.stdout) == (4, "")
    long = here("complete", "echo", "word " * 3000, "-o", "json", home=service.paths.home)
    assert (long.code, long.stdout) == (1, "")
    assert "maximum context length is 2048 tokens" in long.stderr.splitlines()[-1]

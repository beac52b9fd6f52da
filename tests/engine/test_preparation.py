"""Requests made ready: those with a grammar later than others, and nobody waits for them."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.engine.preparation import Preparation
from foundry_cli.engine.request import GenerationRequest, Grammar, Tool, ToolUse
from foundry_cli.errors import ContextLengthError, InvalidRequestError, UnenforceableSchemaError
from tests.engine.fakes import FakeRuntime, reply, request

MODEL = Path(__file__).parents[1] / "models" / "qwen2-random"


class RealFiles(FakeRuntime):
    """A model whose tokenizer is on the disk, for the grammars."""

    @property
    def files(self) -> ModelFiles:
        return read_model_files(MODEL)


class Bench:
    def __init__(self) -> None:
        self.told: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.preparation = Preparation(RealFiles(reply(b"")), self.told.put)

    def begin(self, identity: int, asked: GenerationRequest) -> Any:
        return self.preparation.begin(identity, asked, 0.0)


def with_schema(schema: str) -> GenerationRequest:
    return request(grammar=Grammar("json_schema", schema))


def test_without_a_grammar_it_is_ready_at_once() -> None:
    bench = Bench()
    sequence = bench.begin(1, request("hi"))
    assert sequence.identity == 1
    assert not bench.preparation.give_up(1)


def test_with_a_grammar_it_comes_later() -> None:
    bench = Bench()
    assert bench.begin(1, with_schema('{"type": "object"}')) is None
    assert bench.begin(2, request("hi")) is not None  # it does not wait for the first
    assert bench.told.get(timeout=30) == 1
    sequence = bench.preparation.take(1)
    assert sequence is not None
    assert sequence.identity == 1
    assert bench.preparation.take(1) is None


def test_one_that_is_given_up() -> None:
    bench = Bench()
    assert bench.begin(1, with_schema('{"type": "object"}')) is None
    assert bench.preparation.give_up(1)
    assert bench.told.get(timeout=30) == 1
    assert bench.preparation.take(1) is None


@pytest.mark.parametrize(
    ("asked", "error", "param"),
    [
        (with_schema('{"type": "nothing"}'), UnenforceableSchemaError, "response_format"),
        (request(grammar=Grammar("regex", "(")), InvalidRequestError, "response_format"),
        (request(tools=ToolUse((Tool("f", "", {"not": {}}, strict=True),))), UnenforceableSchemaError, "tools"),
    ],
)
def test_what_is_wrong_with_a_grammar_is_told_when_it_is_taken(asked: GenerationRequest, error: type, param: str) -> None:
    bench = Bench()
    assert bench.begin(1, asked) is None
    bench.told.get(timeout=30)
    with pytest.raises(error) as caught:
        bench.preparation.take(1)
    assert caught.value.param == param
    assert bench.begin(2, with_schema("true")) is None  # the thread goes on
    bench.told.get(timeout=30)


def test_a_prompt_that_does_not_fit_is_told_before_a_grammar_is_compiled() -> None:
    bench = Bench()
    with pytest.raises(ContextLengthError) as caught:
        bench.begin(1, GenerationRequest(prompt="x " * 3000, grammar=Grammar("json_object")))
    assert caught.value.param == "prompt"
    assert bench.told.empty()

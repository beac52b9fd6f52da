"""Requests made ready: those with a grammar later than others, and nobody waits for them."""

from __future__ import annotations

import io
import queue
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.frames import Frame, FrameReader
from foundry_cli.engine.grammar import GrammarFactory
from foundry_cli.engine.messages import GAVE_UP
from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.engine.preparation import Preparation
from foundry_cli.engine.request import GenerationRequest, Grammar, Tool, ToolUse
from foundry_cli.engine.worker_loop import Worker
from foundry_cli.errors import ContextLengthError, InvalidRequestError, UnenforceableSchemaError
from tests.engine.fakes import FakeRuntime, reply, request

MODEL = Path(__file__).parents[1] / "models" / "qwen2-random"


class RealFiles(FakeRuntime):
    """A model whose tokenizer is on the disk, for the grammars."""

    @property
    def files(self) -> ModelFiles:
        return read_model_files(MODEL)


class Bench:
    def __init__(self, **options: Any) -> None:
        self.told: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.overdue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.preparation = Preparation(RealFiles(reply(b"")), self.told.put, self.overdue.put, **options)

    def begin(self, identity: int, asked: GenerationRequest) -> Any:
        return self.preparation.begin(identity, asked, 0.0)


class Stuck(GrammarFactory):
    """Compiles until it is let go."""

    def __init__(self) -> None:
        super().__init__(MODEL, {2})
        self.goes_on = threading.Event()

    def enforceable(self, grammar: Grammar, param: str = "response_format") -> Grammar:
        assert self.goes_on.wait(30)
        return grammar


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


def test_a_grammar_that_is_compiled_for_too_long_is_told_of() -> None:
    grammars = Stuck()
    bench = Bench(patience=0.01, grammars=grammars)
    assert bench.begin(7, with_schema("{}")) is None
    assert bench.overdue.get(timeout=30) == 7
    assert bench.preparation.is_overdue(7)
    assert not bench.preparation.is_overdue(8)
    grammars.goes_on.set()
    assert bench.told.get(timeout=30) == 7
    assert not bench.preparation.is_overdue(7)
    assert bench.preparation.take(7) is not None


def test_a_worker_that_compiles_for_too_long_refuses_the_request_and_ends() -> None:
    grammars, inbox, sink, codes = Stuck(), queue.SimpleQueue[Frame | None](), io.BytesIO(), list[int]()

    def end(code: int) -> None:
        codes.append(code)
        grammars.goes_on.set()
        inbox.put(None)

    preparation = partial(Preparation, patience=0.01, grammars=grammars)
    worker = Worker(RealFiles(reply(b"")), inbox, sink, memory_budget=1 << 20, end_process=end, new_preparation=preparation)
    inbox.put({"op": "generate", "id": 3, "request": with_schema("{}").to_frame()})
    worker.run()
    assert codes == [GAVE_UP]
    (frame,) = FrameReader().feed(sink.getvalue())
    assert (frame["op"], frame["id"], frame["code"]) == ("error", 3, "invalid_value")

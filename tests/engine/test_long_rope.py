"""LongRoPE: whatever is kept, moved or read in pieces, a text gets the rotary factors of its length."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from foundry_cli.engine.conversation_files import SUFFIX
from foundry_cli.engine.decoder_graph import UnusualGraphError, edit_graph
from foundry_cli.engine.detokenizer import Detokenizer
from foundry_cli.engine.long_rope import IS_LONG, short_length, with_chosen_table
from foundry_cli.engine.model_files import read_model_files
from foundry_cli.engine.process import EngineProcess, WorkerOptions
from foundry_cli.engine.request import Finish, GenerationRequest, SamplingParameters, TextChunk
from foundry_cli.engine.runtime_choice import EngineChoice, open_runtime
from foundry_cli.engine.tokenizer import Tokenizer
from tests.engine.workers import engine, needs_batches
from tests.models.small_decoder import Shape, write_small_decoder
from tests.models.test_qwen2_reference import DIRECTORY

pytestmark = needs_batches

SHORT, COUNT = 96, 24
MASK = "attention_mask"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_decoder(tmp_path_factory.mktemp("long"), Shape(short_length=SHORT, head_size=32))


@pytest.fixture(scope="module")
def reference(directory: Path) -> Reference:
    return Reference(directory)


class Reference:
    """Every token from a pass over the whole text before it, with nothing kept."""

    def __init__(self, directory: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
        self._eos = read_model_files(directory).eos_token_ids

    def answer(self, prompt: Sequence[int]) -> list[int]:
        """Without the end token."""
        text = list(prompt)
        while len(text) < len(prompt) + COUNT:
            token = int(np.argmax(self._logits(text)))
            if token in self._eos:
                break
            text.append(token)
        return text[len(prompt) :]

    def _logits(self, text: list[int]) -> Any:
        inputs = {"input_ids": np.array([text]), MASK: np.ones((1, len(text)), dtype=np.int64)}
        empty = np.zeros((1, 2, 0, 32), dtype=np.float32)
        past = {value.name: empty for value in self._session.get_inputs() if value.name.startswith("past")}
        return self._session.run(["logits"], {**inputs, **past})[0][0, -1]


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 250, length).tolist()


def text_of(directory: Path, tokens: list[int]) -> str:
    detokenizer = Detokenizer(Tokenizer(read_model_files(directory)).decode)
    return "".join(map(detokenizer.add, tokens)) + detokenizer.flush()


async def ask(process: EngineProcess, text: Sequence[int]) -> tuple[str, int]:
    """A greedy answer, and how many tokens of the prompt were there already."""
    said = ""
    sampling = SamplingParameters(temperature=0.0)
    async for event in process.generate(GenerationRequest((), prompt=tuple(text), max_tokens=COUNT, sampling=sampling)):
        if isinstance(event, Finish):
            return said, event.usage.cached_tokens
        assert isinstance(event, TextChunk)
        said += event.text
    raise AssertionError("the answer has no end")


ENGINES = get_args(EngineChoice)[1:]


@pytest.mark.parametrize("choice", ENGINES)
def test_answers_one_after_the_other(directory: Path, reference: Reference, choice: EngineChoice) -> None:
    """Within the short table, across its end, beyond it; then what begins as something kept, in the other table or the same."""
    long = prompt(300)
    asked = [prompt(10, 1), long[:90], long[:95], long[:96], long[:97], long[:200], long[:80], long[:97] + prompt(70, 2)]

    async def run() -> list[tuple[str, int]]:
        async with engine(directory, options=WorkerOptions(choice)) as process:
            assert process.engine == choice
            return [await ask(process, text) for text in asked]

    answers = asyncio.run(run())
    assert [answer for answer, _ in answers] == [text_of(directory, reference.answer(text)) for text in asked]
    assert answers[-1][1] >= 80, "what was computed with the same table is used again"


@pytest.mark.slow
@pytest.mark.parametrize("choice", ENGINES)
def test_answers_at_the_same_time(directory: Path, reference: Reference, choice: EngineChoice) -> None:
    asked = [prompt(length, seed) for seed, length in enumerate((5, 90, 150, 20, 95, 96, 97, 250, 60, 91, 120, 94))]

    async def run() -> list[str]:
        async with engine(directory, options=WorkerOptions(choice)) as process:
            answers = await asyncio.gather(*(ask(process, text) for text in [*asked, *asked[::-1]]))
            return [answer for answer, _ in answers]

    expected = [text_of(directory, reference.answer(text)) for text in asked]
    assert asyncio.run(run()) == [*expected, *expected[::-1]]


@pytest.mark.slow
def test_a_conversation_on_disk_goes_on_with_its_own_table_only(directory: Path, reference: Reference, tmp_path: Path) -> None:
    long = prompt(400, 7)
    options = WorkerOptions("batch", tmp_path, 1 << 30)

    async def run(*asked: list[int]) -> list[tuple[str, int]]:
        async with engine(directory, options=options) as process:
            answers = [await ask(process, text) for text in asked]
            while not list(tmp_path.rglob("*" + SUFFIX)):
                await asyncio.sleep(0.01)
            return answers

    asyncio.run(run(long[:300]))
    (short, known), (longer, known_then) = asyncio.run(run(long[:94], long))
    assert (short, known) == (text_of(directory, reference.answer(long[:94])), 0)
    assert (longer, known_then) == (text_of(directory, reference.answer(long)), 300)


def test_the_graph_is_told_which_table(directory: Path) -> None:
    model = (directory / "model.onnx").read_bytes()
    assert short_length(model, MASK) == SHORT
    edited, length = with_chosen_table(model, MASK) or (b"", 0)
    assert length == SHORT
    read = onnx.load_model_from_string(edited)
    onnx.checker.check_model(read)
    assert [list(node.input) for node in read.graph.node if node.op_type == "If"] == [[IS_LONG]]


@pytest.mark.parametrize("change", ["operator", "length", "limit", "second"])
def test_branches_of_another_kind(directory: Path, tmp_path: Path, change: str) -> None:
    model = onnx.load(directory / "model.onnx")
    condition = next(node for node in model.graph.node if node.op_type == "Greater")
    if change == "operator":
        condition.op_type = "Less"
    elif change == "length":
        condition.input[0] = "input_ids"
    elif change == "limit":
        constant = next(each for each in model.graph.initializer if each.name == condition.input[1])
        constant.CopyFrom(numpy_helper.from_array(np.array([1, 2]), constant.name))
    else:
        branch = next(node for node in model.graph.node if node.op_type == "If")
        outputs = [helper.make_tensor_value_info(f"other_{i}", 1, None) for i in range(2)]
        copies = [helper.make_node("Identity", [branch.output[i]], [outputs[i].name]) for i in range(2)]
        graph = helper.make_graph(copies, "other", [], outputs)
        model.graph.node.append(helper.make_node("If", ["other"], ["a", "b"], then_branch=graph, else_branch=graph))
    data = model.SerializeToString()
    assert (short_length(data, MASK), with_chosen_table(data, MASK)) == (None, None)
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(UnusualGraphError, match="branches"):
        edit_graph(tmp_path / "model.onnx", read_model_files(directory))


def test_graphs_without_branches_stay_as_they_are() -> None:
    model = (DIRECTORY / "model.onnx").read_bytes()
    assert (short_length(model, MASK), with_chosen_table(model, MASK)) == (None, None)
    assert short_length(b"no model", MASK) is None
    assert open_runtime(read_model_files(DIRECTORY), threads=1).name == "batch"

"""Which graphs the batched engine takes, why it refuses others, and who runs them then."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from foundry_cli.engine.batch_runtime import BatchRuntime
from foundry_cli.engine.decoder_graph import DecoderGraph, UnusualGraphError, edit_graph, read_graph
from foundry_cli.engine.genai_runtime import GenAIRuntime
from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.engine.runtime_choice import open_runtime
from foundry_cli.errors import EngineError, ModelInvalidError
from tests.engine.workers import needs_batches
from tests.models.scripted import write_scripted_model
from tests.models.small_decoder import Shape, write_small_decoder
from tests.models.test_qwen2_reference import DIRECTORY

pytestmark = needs_batches


def graph_of(directory: Path) -> DecoderGraph:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    return read_graph(session, read_model_files(directory))


def refusal(files: ModelFiles) -> str:
    with pytest.raises(UnusualGraphError) as caught:
        BatchRuntime(files, threads=1)
    return str(caught.value)


def edit(directory: Path, *path: str, value: object) -> None:
    """Set something in genai_config.json; None removes it."""
    config = json.loads((directory / "genai_config.json").read_text(encoding="utf-8"))
    place: Any = config
    for key in path[:-1]:
        place = place.setdefault(key, {})
    if value is None:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    (directory / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")


def test_what_a_usual_graph_has() -> None:
    graph = graph_of(DIRECTORY)
    assert (graph.ids, graph.mask, graph.positions, graph.logits) == ("input_ids", "attention_mask", None, "logits")
    types = (graph.cache_type, graph.integer_type, graph.logits_type)
    assert types == tuple(map(np.dtype, ("float32", "int64", "float32")))
    assert len(graph.tensors) == 6
    assert (graph.tensors[1].past, graph.tensors[1].present) == ("past_key_values.0.value", "present.0.value")
    assert {(tensor.heads, tensor.head_size) for tensor in graph.tensors} == {(2, 16)}
    assert graph.bytes_per_token == 3 * 2 * 2 * 16 * 4


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(has_positions=True), ("position_ids", np.float32, np.int64, 256)),
        (Shape(kind=TensorProto.FLOAT16), (None, np.float16, np.int64, 128)),
        (Shape(integer=TensorProto.INT32, kv_heads=1), (None, np.float32, np.int32, 128)),
    ],
)
def test_kinds_of_graphs(tmp_path: Path, shape: Shape, expected: tuple[object, ...]) -> None:
    graph = graph_of(write_small_decoder(tmp_path, shape))
    assert (graph.positions, graph.cache_type, graph.integer_type) == expected[:3]
    assert graph.bytes_per_token == 2 * expected[3]  # type: ignore[operator]


def test_names_come_from_the_configuration(tmp_path: Path) -> None:
    directory = write_small_decoder(tmp_path, Shape(cache_name="memory"))
    assert graph_of(directory).tensors[-1].past == "memory.1.value"
    assert isinstance(open_runtime(read_model_files(directory), threads=1), BatchRuntime)


def test_usual_models_run_in_batches(tmp_path: Path) -> None:
    scripted = write_scripted_model(tmp_path / "scripted", ["hello"])
    for directory in (DIRECTORY, scripted, write_small_decoder(tmp_path / "small")):
        runtime = open_runtime(read_model_files(directory), threads=1)
        assert (type(runtime), runtime.name) == (BatchRuntime, "batch")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("model", "vision"), {"filename": "model.onnx"}, "'vision'"),
        (("model", "speech"), {"filename": "model.onnx"}, "'speech'"),
        (("model", "encoder"), {"filename": "model.onnx"}, "'encoder'"),
        (("model", "decoder", "sliding_window"), {"window_size": 8}, "'sliding_window'"),
        (("model", "decoder", "pipeline"), [], "'pipeline'"),
        (("search", "past_present_share_buffer"), False, "do not share memory"),
        (("search", "past_present_share_buffer"), None, "do not share memory"),
        (("search",), None, "do not share memory"),
        (("model", "decoder", "num_hidden_layers"), 3, "no 'past_key_values.2.key'"),
        (("model", "decoder", "num_hidden_layers"), 1, "the graph has 'past_key_values.1.key'"),
        (("model", "decoder", "inputs", "input_ids"), "ids", "no 'ids'"),
        (("model", "decoder", "outputs", "logits"), "scores", "no 'scores'"),
        (("model", "decoder", "inputs", "past_key_names"), "k.%d", "no 'k.0'"),
    ],
)
def test_unusual_configurations(tmp_path: Path, path: tuple[str, ...], value: object, reason: str) -> None:
    directory = write_small_decoder(tmp_path)
    edit(directory, *path, value=value)
    assert reason in refusal(read_model_files(directory))


def test_unusual_graphs(tmp_path: Path) -> None:
    directory = write_small_decoder(tmp_path / "other", Shape(other_input="more"))
    assert "the graph has 'more'" in refusal(read_model_files(directory))
    damaged = write_small_decoder(tmp_path / "damaged")
    files = read_model_files(damaged)
    (damaged / "model.onnx").write_bytes((damaged / "model.onnx").read_bytes()[:-200])
    assert "does not load" in refusal(files)
    with pytest.raises(ModelInvalidError):
        open_runtime(files, threads=1)


def test_a_graph_that_branches(tmp_path: Path) -> None:
    directory = write_small_decoder(tmp_path)
    files = read_model_files(directory)
    with pytest.raises(UnusualGraphError, match="branches"):
        edit_graph(files.directory / "model.onnx", ModelFiles(**{**vars(files), "operators": files.operators | {"If"}}))


def test_a_graph_that_takes_all_rows_for_as_long_as_the_longest(tmp_path: Path) -> None:
    """Whatever it is by name: that a batch gives the same values is tried before it is used."""
    directory = write_small_decoder(tmp_path)
    model = onnx.load(directory / "model.onnx")
    (mask,) = [node for node in model.graph.node if node.op_type == "ReduceSum"]
    mask.input[0] = "ones"
    shape = onnx.helper.make_node("Shape", ["attention_mask"], ["mask_shape"])
    ones = onnx.helper.make_node("ConstantOfShape", ["mask_shape"], ["ones"])
    ones.attribute.append(onnx.helper.make_attribute("value", onnx.helper.make_tensor("one", TensorProto.INT64, [1], [1])))
    nodes = [shape, ones, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, directory / "model.onnx")
    assert "gives other values" in refusal(read_model_files(directory))


def test_genai_runs_what_is_unusual_and_the_log_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = read_model_files(write_scripted_model(tmp_path, ["hello"], share_buffer=False))
    with caplog.at_level(logging.WARNING, "foundry.engine"):
        assert isinstance(open_runtime(files, threads=1), GenAIRuntime)
    assert "past and present do not share memory" in caplog.text


def test_an_engine_that_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    usual, unusual = read_model_files(DIRECTORY), read_model_files(write_scripted_model(tmp_path, ["a"], share_buffer=False))
    assert isinstance(open_runtime(usual, threads=1, choice="batch"), BatchRuntime)
    assert isinstance(open_runtime(usual, threads=1, choice="genai"), GenAIRuntime)
    assert caplog.text == ""
    with pytest.raises(EngineError, match="cannot run this model: past and present do not share memory") as caught:
        open_runtime(unusual, threads=1, choice="batch")
    assert caught.value.hint
    with pytest.raises(EngineError, match="it runs on CUDAExecutionProvider"):
        open_runtime(usual, threads=1, provider="CUDAExecutionProvider", choice="batch")

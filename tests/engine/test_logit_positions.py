"""Graphs that are edited to give the logits of chosen positions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from foundry_cli.engine.logit_positions import POSITIONS, with_chosen_positions
from tests.models.test_qwen2_reference import DIRECTORY


def graph(*nodes: onnx.NodeProto, output: str = "logits") -> bytes:
    """A model from float `x` (rows, tokens, 3) to `output`, with a product with `w` (3, 5) somewhere."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "tokens", 3])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", "tokens", 5])]
    weight = onnx.numpy_helper.from_array(np.arange(15, dtype=np.float32).reshape(3, 5), "w")
    scale = onnx.numpy_helper.from_array(np.array(0.5, dtype=np.float32), "scale")
    made = helper.make_graph(list(nodes), "test", inputs, outputs, [weight, scale])
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())


HIDDEN = helper.make_node("Relu", ["x"], ["hidden"])
PRODUCT = helper.make_node("MatMul", ["hidden", "w"], ["logits"])


def run(model: bytes, x: np.ndarray[Any, Any], **inputs: Any) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"x": x, **inputs})
    return np.asarray(values)


@pytest.mark.parametrize(
    "end",
    [
        [PRODUCT],
        [
            helper.make_node("MatMul", ["hidden", "w"], ["product"]),
            helper.make_node("Mul", ["scale", "product"], ["scaled"]),
            helper.make_node("Tanh", ["scaled"], ["capped"]),
            helper.make_node("Div", ["capped", "scale"], ["logits"]),
        ],
    ],
    ids=["a product", "a product that is scaled and capped"],
)
def test_chosen_positions_are_what_they_were(end: list[onnx.NodeProto]) -> None:
    model = graph(HIDDEN, *end)
    edited = with_chosen_positions(model, "logits")
    assert edited is not None
    onnx.checker.check_model(onnx.load_from_string(edited))
    for tokens in (1, 4):
        x = np.random.default_rng(tokens).normal(size=(2, tokens, 3)).astype(np.float32)
        for chosen in ([-1], list(range(tokens)), [0, -1]):
            got = run(edited, x, **{POSITIONS: np.array(chosen)})
            assert np.array_equal(got, run(model, x)[:, chosen])


@pytest.mark.parametrize(
    ("model", "logits"),
    [
        (graph(HIDDEN, PRODUCT), "other"),
        (graph(helper.make_node("MatMul", ["x", "w"], ["logits"])), "logits"),
        (
            graph(HIDDEN, helper.make_node("MatMul", ["hidden", "w"], ["p"]), helper.make_node("Softmax", ["p"], ["logits"])),
            "logits",
        ),
        (b"", "logits"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "logits"),
        (b"no model at all", "logits"),
    ],
    ids=["no such output", "nothing in front", "another end", "empty", "hostile length", "no model"],
)
def test_what_is_not_usual_is_left_alone(model: bytes, logits: str) -> None:
    assert with_chosen_positions(model, logits) is None


def test_every_cut_of_a_model_is_refused_or_left_whole() -> None:
    model = graph(HIDDEN, PRODUCT)
    for end in range(len(model)):
        edited = with_chosen_positions(model[:end], "logits")
        assert edited is None or edited.endswith(model[end - 5 : end])


def test_a_decoder_of_the_model_builder_is_edited() -> None:
    edited = with_chosen_positions((Path(DIRECTORY) / "model.onnx").read_bytes(), "logits")
    assert edited is not None
    operators = [node.op_type for node in onnx.load_from_string(edited).graph.node]
    assert operators[-2:] == ["Gather", "MatMulNBits"] or operators[-2:] == ["Gather", "MatMul"]

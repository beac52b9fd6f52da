"""Small decoders with random weights and real attention: every kind of graph that the batched engine must run or refuse.

Two layers of rotary attention and a gate, as the model builder of ONNX Runtime GenAI writes them, from text of one byte per
token. The weights depend on the seed only; nothing useful is said, but always the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .scripted_tokenizer import END_OF_TEXT, END_OF_TURN, MARKERS, make_vocabulary, write_tokenizer

_MICROSOFT = "com.microsoft"
_BLOCK = 32  # weights of one scale


@dataclass(frozen=True)
class Shape:
    """What differs between the graphs. `kind` and `integer` are ONNX types; `hidden` is a multiple of 32.

    `short_length`: tokens up to which other rotary factors are used; 0: there is one kind of them.
    """

    context_length: int = 1024
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    hidden: int = 64
    kind: int = TensorProto.FLOAT
    integer: int = TensorProto.INT64
    has_positions: bool = False
    only_last_logits: bool = False
    is_int4: bool = False
    short_length: int = 0
    other_input: str = ""
    cache_name: str = "past_key_values"
    gives: tuple[str, ...] = ("logits",)  # of `logits` and `hidden_states`
    seed: int = 5


class _Graph:
    def __init__(self, shape: Shape) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape = shape
        self._random = np.random.default_rng(shape.seed)

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def real(self, value: NDArray[Any]) -> str:
        return self.constant(value.astype(helper.tensor_dtype_to_np_dtype(self.shape.kind)))

    def op(self, kind: str, *inputs: str, outputs: Sequence[str] = (), domain: str = "", **attributes: Any) -> str:
        names = list(outputs) or [f"{kind.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0]

    def normal(self, *sizes: int) -> NDArray[np.float32]:
        return self._random.normal(size=sizes).astype(np.float32)

    def linear(self, x: str, rows: int, columns: int, **options: Any) -> str:
        if not self.shape.is_int4:
            return self.op("MatMul", x, self.real(self.normal(rows, columns) / np.sqrt(rows)), **options)
        weights = self.constant(self._random.integers(0, 256, (columns, rows // _BLOCK, _BLOCK // 2), dtype=np.uint8))
        scales = self.real(np.full(columns * rows // _BLOCK, 0.25 / np.sqrt(rows)))
        sizes: dict[str, Any] = {"K": rows, "N": columns, "bits": 4, "block_size": _BLOCK, "accuracy_level": 4}
        return self.op("MatMulNBits", x, weights, scales, domain=_MICROSOFT, **sizes, **options)


def write_small_decoder(directory: Path, shape: Shape | None = None, *, config: dict[str, Any] | None = None) -> Path:
    """Write the model; `config` changes the configuration of its decoder."""
    shape = shape or Shape()
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = make_vocabulary([], MARKERS, (), ())
    graph = _Graph(shape)
    _decoder(graph, vocabulary.size)
    proto = helper.make_graph(graph.nodes, "small", _inputs(shape), _outputs(shape, vocabulary.size), graph.constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_MICROSOFT, 1)]
    onnx.save(helper.make_model(proto, opset_imports=opsets, ir_version=8), directory / "model.onnx")
    write_tokenizer(directory, vocabulary, "{{ messages[0].content }}", shape.context_length)
    special = vocabulary.special
    model = {
        "type": "qwen2", "context_length": shape.context_length, "vocab_size": vocabulary.size,
        "bos_token_id": special[END_OF_TEXT], "eos_token_id": [special[END_OF_TURN]], "pad_token_id": special[END_OF_TEXT],
        "decoder": {**_config(shape), **(config or {})},
    }  # fmt: skip
    search = {"do_sample": False, "max_length": shape.context_length, "past_present_share_buffer": True}
    (directory / "genai_config.json").write_text(json.dumps({"model": model, "search": search}), encoding="utf-8")
    return directory


def _decoder(graph: _Graph, vocabulary: int) -> None:
    shape = graph.shape
    x = graph.op("Gather", graph.real(graph.normal(vocabulary, shape.hidden)), "input_ids")
    length = graph.op("ReduceSum", "attention_mask", graph.constant(np.array([1])), keepdims=0)
    one = graph.constant(np.array(1, dtype=helper.tensor_dtype_to_np_dtype(shape.integer)))
    last = graph.op("Cast", graph.op("Sub", length, one), to=TensorProto.INT32)
    tokens = graph.op("Gather", graph.op("Shape", "attention_mask"), graph.constant(np.array(1)), axis=0)
    total = graph.op("Cast", tokens, to=TensorProto.INT32)
    rotation = _chosen_rotation(graph, tokens) if shape.short_length else _rotation(graph)
    for layer in range(shape.layers):
        x = graph.op("Add", x, _attention(graph, x, layer, (last, total, *rotation)))
        x = graph.op("Add", x, graph.op("Tanh", graph.linear(x, shape.hidden, shape.hidden)))
    if shape.only_last_logits:
        end = graph.constant(np.array([-1])), graph.constant(np.array([np.iinfo(np.int64).max])), graph.constant(np.array([1]))
        x = graph.op("Slice", x, *end)
    if shape.other_input:
        x = graph.op("Add", x, shape.other_input)
    if "hidden_states" in shape.gives:
        graph.op("Identity", x, outputs=["hidden_states"])
    if "logits" in shape.gives:
        graph.linear(x, shape.hidden, vocabulary, outputs=["logits"])


def _rotation(graph: _Graph, factor: float = 1.0, length: int | None = None) -> tuple[str, str]:
    """Cosines and sines by position and number of a head."""
    shape = graph.shape
    positions = np.arange(length or shape.context_length)[:, None]
    angles = factor * positions / 100 ** (np.arange(shape.head_size // 2) * 2 / shape.head_size)
    return graph.real(np.cos(angles)), graph.real(np.sin(angles))


def _chosen_rotation(graph: _Graph, tokens: str) -> tuple[str, str]:
    """Those of one of two tables, by the number of tokens, as the model builder writes it for LongRoPE."""
    length = graph.shape.short_length
    branches = {}
    for name, names in (("then", _rotation(graph, 0.3)), ("else", _rotation(graph, 1.0, length))):
        outputs = [helper.make_tensor_value_info(f"{name}_{part}", graph.shape.kind, None) for part in ("cos", "sin")]
        copies = [helper.make_node("Identity", [source], [output.name]) for source, output in zip(names, outputs, strict=True)]
        branches[f"{name}_branch"] = helper.make_graph(copies, name, [], outputs)
    is_long = graph.op("Greater", tokens, graph.constant(np.array(length)))
    graph.op("If", is_long, outputs=["cos_cache", "sin_cache"], **branches)
    return "cos_cache", "sin_cache"


def _attention(graph: _Graph, x: str, layer: int, others: Sequence[str]) -> str:
    shape = graph.shape
    projected = graph.linear(x, shape.hidden, (shape.heads + 2 * shape.kv_heads) * shape.head_size)
    past = f"{shape.cache_name}.{layer}.key", f"{shape.cache_name}.{layer}.value"
    positions = ("position_ids",) if shape.has_positions else ()
    outputs = [f"attended_{layer}", f"present.{layer}.key", f"present.{layer}.value"]
    attended = graph.op(
        "GroupQueryAttention", projected, "", "", *past, *others, *positions, domain=_MICROSOFT, num_heads=shape.heads,
        kv_num_heads=shape.kv_heads, do_rotary=1, outputs=outputs,
    )  # fmt: skip
    return graph.linear(attended, shape.heads * shape.head_size, shape.hidden)


def _inputs(shape: Shape) -> list[onnx.ValueInfoProto]:
    names = ["input_ids", *(["position_ids"] if shape.has_positions else [])]
    values = [helper.make_tensor_value_info(name, shape.integer, ["batch", "new"]) for name in names]
    values.append(helper.make_tensor_value_info("attention_mask", shape.integer, ["batch", "total"]))
    if shape.other_input:
        values.append(helper.make_tensor_value_info(shape.other_input, shape.kind, [1]))
    return values + _cache_values(shape, shape.cache_name, "past")


def _outputs(shape: Shape, vocabulary: int) -> list[onnx.ValueInfoProto]:
    tokens = 1 if shape.only_last_logits else "new"
    sizes = {"logits": vocabulary, "hidden_states": shape.hidden}
    given = [helper.make_tensor_value_info(name, shape.kind, ["batch", tokens, sizes[name]]) for name in shape.gives]
    return [*given, *_cache_values(shape, "present", "present")]


def _cache_values(shape: Shape, name: str, length: str) -> list[onnx.ValueInfoProto]:
    sizes: list[int | str] = ["batch", shape.kv_heads, length, shape.head_size]
    names = [f"{name}.{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value")]
    return [helper.make_tensor_value_info(each, shape.kind, sizes) for each in names]


def _config(shape: Shape) -> dict[str, Any]:
    names = {"past_key_names": f"{shape.cache_name}.%d.key", "past_value_names": f"{shape.cache_name}.%d.value"}
    inputs = {"input_ids": "input_ids", "attention_mask": "attention_mask", **names}
    outputs = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
    if "logits" in shape.gives:  # hidden states are never named by the builder
        outputs = {"logits": "logits", **outputs}
    return {
        "session_options": {"provider_options": []}, "filename": "model.onnx", "head_size": shape.head_size,
        "hidden_size": shape.hidden, "num_attention_heads": shape.heads, "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads, "outputs": outputs,
        "inputs": {**inputs, **({"position_ids": "position_ids"} if shape.has_positions else {})},
    }  # fmt: skip

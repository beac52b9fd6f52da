"""Small models that make embeddings, with random weights, and what their vectors must be: computed by numpy alone.

The graph is that of `small_decoder.py`, in the form in which the model builder of ONNX Runtime GenAI leaves the logits out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .scripted_tokenizer import END_OF_TEXT
from .small_decoder import Shape, write_small_decoder

SHAPE = Shape(gives=("hidden_states",), context_length=2048)
MODES = {"lasttoken": "pooling_mode_lasttoken", "mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}


def write_embedding_model(
    directory: Path,
    shape: Shape = SHAPE,
    *,
    name: str = "embedder:1",
    pooling: str | None = None,
    modules: Sequence[str] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a model whose texts end with `END_OF_TEXT`; their tokens are their bytes.

    `pooling`: that of 1_Pooling/config.json, one of `MODES`. `modules`: the kinds of parts in modules.json.
    """
    write_small_decoder(directory, shape, config=config)
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    end = next(entry["id"] for entry in tokenizer["added_tokens"] if entry["content"] == END_OF_TEXT)
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    last = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [sequence, last],
        "pair": [sequence, {"Sequence": {"id": "B", "type_id": 0}}, last],
        "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [end], "tokens": [END_OF_TEXT]}},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (directory / "inference_model.json").write_text(json.dumps({"Name": name, "PromptTemplate": None}), encoding="utf-8")
    if pooling is not None:
        (directory / "1_Pooling").mkdir(exist_ok=True)
        flags = {key: mode == pooling for mode, key in MODES.items()}
        (directory / "1_Pooling" / "config.json").write_text(json.dumps(flags), encoding="utf-8")
    if modules is not None:
        entries = [{"idx": i, "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(modules)]
        (directory / "modules.json").write_text(json.dumps(entries), encoding="utf-8")
    return directory


def tokens_of(directory: Path, text: str) -> list[int]:
    """The tokens of `text` as the model has to get them."""
    config = json.loads((directory / "genai_config.json").read_text(encoding="utf-8"))
    return [*text.encode(), config["model"]["pad_token_id"]]


class Reference:
    """The model of a directory that `write_embedding_model` has written with `shape`, without any runtime."""

    def __init__(self, directory: Path, shape: Shape = SHAPE) -> None:
        self._shape = shape
        graph = onnx.load(directory / "model.onnx").graph
        arrays = [numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer if tensor.data_type == 1]
        self._embedding, self._cosines, self._sines, *rest = arrays
        self._layers = [rest[place : place + 3] for place in range(0, len(rest), 3)][: shape.layers]

    def vector(self, tokens: Sequence[int], pooling: str = "lasttoken", dimensions: int | None = None) -> NDArray[np.float64]:
        """The embedding of `tokens`, of length 1."""
        states = self.states(tokens)
        pooled = {"lasttoken": states[-1], "mean": states.mean(axis=0), "cls": states[0]}[pooling][:dimensions]
        return np.asarray(pooled / np.linalg.norm(pooled))

    def states(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """The hidden states: (tokens, size)."""
        x = self._embedding[list(tokens)]
        for projection, output, gate in self._layers:
            x = x + self._attend(x @ projection) @ output
            x = x + np.tanh(x @ gate)
        return np.asarray(x)

    def _attend(self, projected: NDArray[np.float64]) -> NDArray[np.float64]:
        shape, count = self._shape, len(projected)
        parts = projected.reshape(count, shape.heads + 2 * shape.kv_heads, shape.head_size).transpose(1, 0, 2)
        queries, keys, values = np.split(parts, [shape.heads, shape.heads + shape.kv_heads])
        shared = shape.heads // shape.kv_heads
        keys, values = (np.repeat(each, shared, axis=0) for each in (self._turn(keys), values))
        scores = self._turn(queries) @ keys.transpose(0, 2, 1) / np.sqrt(shape.head_size)
        scores = np.where(np.tril(np.ones((count, count), dtype=bool)), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = weights / weights.sum(axis=-1, keepdims=True) @ values
        return np.asarray(attended.transpose(1, 0, 2).reshape(count, -1))

    def _turn(self, heads: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rotary positions, half against half."""
        first, second = np.split(heads, 2, axis=-1)
        cosines, sines = (table[: heads.shape[1]] for table in (self._cosines, self._sines))
        return np.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)


def half_precision(shape: Shape = SHAPE) -> Shape:
    """The same in float16."""
    return replace(shape, kind=onnx.TensorProto.FLOAT16)

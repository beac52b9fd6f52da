"""What the graph of a decoder takes and gives, and whether it is one that is run here.

Usual graphs (those of the model builder of ONNX Runtime GenAI) take `input_ids`, `attention_mask`, perhaps `position_ids`,
and keys and values of the past of every layer; they give the logits and keys and values of past and present. A row's ones
in the mask are its past and new tokens, from which the attention operator derives the positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundry_cli.engine.logit_positions import POSITIONS, with_chosen_positions
from foundry_cli.engine.long_rope import IS_LONG, with_chosen_table
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.own_kernels import LARGEST_EDITED

if TYPE_CHECKING:
    import onnxruntime

_TYPES: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}
_INTEGERS: dict[str, np.dtype[Any]] = {"tensor(int64)": np.dtype(np.int64), "tensor(int32)": np.dtype(np.int32)}
_OTHER_PARTS = ("vision", "speech", "embedding", "encoder", "encoder_decoder_init")


class UnusualGraphError(Exception):
    """Neither the batched engine nor that for embeddings can run the model; the text says why."""


@dataclass(frozen=True)
class CacheTensor:
    """Keys or values of one layer: names of input and output; shape (rows, heads, tokens, head_size)."""

    past: str
    present: str
    heads: int
    head_size: int


@dataclass(frozen=True)
class DecoderGraph:
    """Names, shapes and types of a usual graph. `logits`: of what it gives, also where that are the hidden states."""

    ids: str
    mask: str
    positions: str | None
    logits: str
    tensors: tuple[CacheTensor, ...]
    cache_type: np.dtype[Any]
    integer_type: np.dtype[Any]  # of ids, mask and positions
    logits_type: np.dtype[Any]
    chosen: str | None = None  # the new tokens whose logits are wanted; None: the graph gives those of all, or of the last
    is_long: str | None = None  # which rotary factors are used, see `long_rope.py`; None: there are only one kind

    @property
    def bytes_per_token(self) -> int:
        """Of keys and values."""
        return sum(tensor.heads * tensor.head_size for tensor in self.tensors) * self.cache_type.itemsize


def check_config(files: ModelFiles) -> str:
    """The file name of the graph. Raises `UnusualGraphError` for what is no plain decoder, before anything is loaded."""
    name = check_parts(files)
    if "sliding_window" in files.decoder:
        raise UnusualGraphError("the decoder has 'sliding_window'")
    if not shares_memory(files):
        raise UnusualGraphError("past and present do not share memory")
    return name


def check_parts(files: ModelFiles) -> str:
    """The file name of the graph. Raises `UnusualGraphError` when there are further ones."""
    model = files.config["model"]
    for part in _OTHER_PARTS:
        if part in model:
            raise UnusualGraphError(f"the model has a part {part!r}")
    if "pipeline" in model["decoder"]:
        raise UnusualGraphError("the decoder has 'pipeline'")
    return str(model["decoder"]["filename"])


def shares_memory(files: ModelFiles) -> bool:
    """Whether past and present may be the same memory."""
    return bool((files.config.get("search") or {}).get("past_present_share_buffer"))


@dataclass(frozen=True)
class BatchGraph:
    """A graph with the inputs that the batched engine would like; None: it is used as it is in its file.

    `short_length`: see `long_rope.py`.
    """

    model: bytes | None
    short_length: int | None = None


def edit_graph(path: Path, files: ModelFiles) -> BatchGraph:
    """The graph at `path` with logits of chosen positions, and with a choice of rotary factors, where it has these.

    Raises `UnusualGraphError` when it branches otherwise: by the longest row, so that the others would depend on it.
    """
    model = path.read_bytes() if path.stat().st_size <= LARGEST_EDITED else None
    length = None
    if "If" in files.operators:
        chosen = with_chosen_table(model, files.mask_name) if model else None
        if chosen is None:
            raise UnusualGraphError("its graph branches")
        model, length = chosen
    logits = str((files.decoder.get("outputs") or {}).get("logits", "logits"))
    return BatchGraph(model and (with_chosen_positions(model, logits) or model), length)


def read_graph(session: onnxruntime.InferenceSession, files: ModelFiles, gives: str = "logits") -> DecoderGraph:
    """The graph of `session`, of which `gives` is wanted; it may give the logits, too. Raises `UnusualGraphError`."""
    decoder = files.decoder
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    ids, mask = _name(decoder, "inputs", "input_ids", inputs), _name(decoder, "inputs", "attention_mask", inputs)
    logits = _name(decoder, "outputs", gives, outputs)
    positions = str((decoder.get("inputs") or {}).get("position_ids", "position_ids"))
    tensors = _cache_tensors(decoder, inputs, outputs)
    caches = {name for tensor in tensors for name in (tensor.past, tensor.present)}
    used = {ids, mask, positions, POSITIONS, IS_LONG, logits, *caches, *(["logits"] if gives != "logits" else [])}
    for name in (*inputs, *outputs):
        if name not in used:
            raise UnusualGraphError(f"the graph has {name!r}")
    integers = {inputs[name].type for name in (ids, mask, positions) if name in inputs}
    cache_types = {inputs[tensor.past].type for tensor in tensors} | {outputs[tensor.present].type for tensor in tensors}
    return DecoderGraph(
        ids=ids,
        mask=mask,
        positions=positions if positions in inputs else None,
        logits=logits,
        tensors=tensors,
        cache_type=_one_of(_TYPES, cache_types, "keys and values"),
        integer_type=_one_of(_INTEGERS, integers, "ids"),
        logits_type=_one_of(_TYPES, {outputs[logits].type}, "logits"),
        chosen=POSITIONS if POSITIONS in inputs else None,
        is_long=IS_LONG if IS_LONG in inputs else None,
    )


def _name(decoder: dict[str, Any], section: str, meaning: str, found: dict[str, Any]) -> str:
    """What the configuration calls an input or output, if the graph has it."""
    name = str((decoder.get(section) or {}).get(meaning, meaning))
    if name not in found:
        raise UnusualGraphError(f"the graph has no {name!r}")
    return name


def _cache_tensors(decoder: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any]) -> tuple[CacheTensor, ...]:
    named_inputs, named_outputs = decoder.get("inputs") or {}, decoder.get("outputs") or {}
    tensors = []
    for layer in range(int(decoder["num_hidden_layers"])):
        for kind in ("key", "value"):
            past = _layer_name(named_inputs.get(f"past_{kind}_names", f"past_key_values.%d.{kind}"), layer)
            present = _layer_name(named_outputs.get(f"present_{kind}_names", f"present.%d.{kind}"), layer)
            if past not in inputs or present not in outputs:
                raise UnusualGraphError(f"the graph has no {past!r} or {present!r}")
            shape = inputs[past].shape
            if len(shape) != 4:
                raise UnusualGraphError(f"{past!r} has {len(shape)} dimensions")
            tensors.append(
                CacheTensor(
                    past, present, _size(shape[1], decoder["num_key_value_heads"]), _size(shape[3], decoder["head_size"])
                )
            )
    return tuple(tensors)


def _layer_name(pattern: object, layer: int) -> str:
    return str(pattern).replace("%d", str(layer))


def _size(in_graph: object, in_config: object) -> int:
    """A dimension: the graph's own number, or a name for that of the configuration."""
    return in_graph if isinstance(in_graph, int) else int(in_config)  # type: ignore[call-overload]


def _one_of(known: dict[str, np.dtype[Any]], found: set[str], what: str) -> np.dtype[Any]:
    if len(found) != 1 or next(iter(found)) not in known:
        raise UnusualGraphError(f"{what} have the type {', '.join(sorted(found))}")
    return known[next(iter(found))]

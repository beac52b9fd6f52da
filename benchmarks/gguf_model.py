"""Write a GGUF file with the shape and tokenizer of a model of `perf_model.py`, and random weights in Q4_0.

usage: gguf_model.py MODEL_DIR OUT; runs in the environment of `llama_cpp.py`, which has `gguf`. All layers have the same
weights, which costs a runtime as much as different ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

INTERMEDIATE_SIZES = {896: 4864, 64: 128}
"""By hidden size, as in `perf_model.py`; the model's configuration does not say it."""

_Q4 = GGMLQuantizationType.Q4_0


def main() -> None:
    """Write the file."""
    model, target = Path(sys.argv[1]), sys.argv[2]
    config = json.loads((model / "genai_config.json").read_text())["model"]
    decoder = config["decoder"]
    hidden = decoder["hidden_size"]
    if hidden not in INTERMEDIATE_SIZES:
        raise SystemExit(f"{model} is not a model of perf_model.py: its hidden size is {hidden}")
    writer = GGUFWriter(target, "qwen2")
    writer.add_name("perf-model")
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(config["context_length"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(decoder["num_hidden_layers"])
    writer.add_feed_forward_length(INTERMEDIATE_SIZES[hidden])
    writer.add_head_count(decoder["num_attention_heads"])
    writer.add_head_count_kv(decoder["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    add_vocabulary(writer, model, config)
    add_weights(writer, decoder, config["vocab_size"], INTERMEDIATE_SIZES[hidden])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: GGUFWriter, model: Path, config: dict[str, Any]) -> None:
    """The byte-level BPE of `tokenizer.json`."""
    tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    special = {entry["id"]: entry["content"] for entry in tokenizer["added_tokens"]}
    names = {number: name for name, number in tokenizer["model"]["vocab"].items()} | special
    count = config["vocab_size"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(count)])
    writer.add_token_types(
        [
            TokenType.CONTROL if number in special else TokenType.NORMAL if number in names else TokenType.UNUSED
            for number in range(count)
        ]
    )
    writer.add_token_merges(merges)
    end = config["eos_token_id"]
    writer.add_eos_token_id(end[0] if isinstance(end, list) else end)
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((model / "chat_template.jinja").read_text(encoding="utf-8"))


def add_weights(writer: GGUFWriter, decoder: dict[str, Any], vocabulary: int, intermediate: int) -> None:
    """All tensors; the output shares the embedding."""
    hidden, head = decoder["hidden_size"], decoder["head_size"]
    queries, keys = decoder["num_attention_heads"] * head, decoder["num_key_value_heads"] * head
    chance = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray[Any, Any]:
        return quantize(chance.normal(0, 0.02, (rows, columns)).astype(np.float32), _Q4)

    writer.add_tensor("token_embd.weight", matrix(vocabulary, hidden), raw_dtype=_Q4)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    layer = {
        "attn_q": matrix(queries, hidden),
        "attn_k": matrix(keys, hidden),
        "attn_v": matrix(keys, hidden),
        "attn_output": matrix(hidden, queries),
        "ffn_gate": matrix(intermediate, hidden),
        "ffn_up": matrix(intermediate, hidden),
        "ffn_down": matrix(hidden, intermediate),
    }
    for number in range(decoder["num_hidden_layers"]):
        for name, values in layer.items():
            writer.add_tensor(f"blk.{number}.{name}.weight", values, raw_dtype=_Q4)
        for name, size in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
            writer.add_tensor(f"blk.{number}.{name}.bias", np.zeros(size, np.float32))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{number}.{name}.weight", np.ones(hidden, np.float32))


main()

"""What an idle conversation that is kept costs: memory of the worker per conversation over the size of its KV tensors.

usage: memory.py MODEL_DIR [--conversations 6] [--tokens 1000] [--settle 2]

Distinct conversations are held one after the other; the slope of the worker's resident memory is the cost of each. The first
one is left out, because it also pays for working memory. At the end every conversation is asked again: the ratio stands only
if all were still there (`kept` is 1).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import onnx
from measuring import BenchService, Messages, Prompts, ask, note, parser, run


def arguments() -> argparse.Namespace:
    """The command line."""
    result = parser(__doc__, rounds=1)
    result.add_argument("--conversations", type=int, default=6)
    result.add_argument("--tokens", type=int, default=1000)
    result.add_argument("--settle", type=float, default=2.0, help="idle seconds before memory is read")
    return result.parse_args()


OPTIONS = arguments()


def kv_bytes_per_token(model: Path) -> int:
    """Keys and values of one token in all layers, in the type that the graph has for them."""
    decoder = json.loads((model / "genai_config.json").read_text())["model"]["decoder"]
    graph = onnx.load(model / decoder["filename"], load_external_data=False).graph
    name = decoder["inputs"]["past_key_names"] % 0
    kind = next(entry.type.tensor_type.elem_type for entry in graph.input if entry.name == name)
    item = onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
    return 2 * int(decoder["num_hidden_layers"]) * int(decoder["num_key_value_heads"]) * int(decoder["head_size"]) * int(item)


def slope(values: list[float]) -> float:
    """Least squares: growth from one value to the next."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    above = sum((index - middle) * (value - mean) for index, value in enumerate(values))
    return above / sum((index - middle) ** 2 for index in range(len(values)))


async def measure(service: BenchService) -> dict[str, Any]:
    """Hold the conversations, and look at the memory after each."""
    prompts = await Prompts.create(service.endpoint)
    worker = service.worker()
    memory: list[float] = []
    lengths: list[int] = []
    conversations: list[Messages] = []
    for _ in range(OPTIONS.conversations + 1):
        messages = [prompts.message(OPTIONS.tokens)]
        answer = await ask(service.endpoint, messages, 4)
        await asyncio.sleep(OPTIONS.settle)
        memory.append(worker.memory_info().rss)
        lengths.append(answer.prompt_tokens + answer.completion_tokens)
        conversations.append(messages)
        note(f"{answer.prompt_tokens} tokens, {memory[-1] / 2**20:.1f} MiB")
    again = [await ask(service.endpoint, messages, 1) for messages in conversations[:0:-1]]  # the newest first
    kept = sum((answer.cached_tokens or 0) >= 0.9 * answer.prompt_tokens for answer in again) / len(again)
    size = kv_bytes_per_token(OPTIONS.model) * sum(lengths[1:]) / len(lengths[1:])
    grown = slope(memory) if len(memory) < 4 else slope(memory[1:])
    return {
        "ratios": {"memory_over_kv": grown / size, "kept": kept},
        "figures": {
            "conversation_mib": grown / 2**20,
            "kv_mib": size / 2**20,
            "tokens": sum(lengths[1:]) / len(lengths[1:]),
            "rss_mib": [value / 2**20 for value in memory],
            "engine": service.described(),
        },
    }


async def work() -> dict[str, Any]:
    """Start the service, and measure it."""
    with BenchService(OPTIONS.model, OPTIONS.engine) as service:
        return await measure(service)


run(work, "memory", OPTIONS.model)

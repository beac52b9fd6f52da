"""The yardstick of `overhead.py` and `single_stream.py`: a bare ONNX Runtime GenAI loop in a process of its own.

Reads one JSON line per run (`text`, `tokens`, and `depth`: how many of the prompt's tokens are there before the clock
starts) and answers with one (`first_s`, `decode_s`, `prompt_tokens`, `rss_mib`).
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime_genai as og
import psutil


def main() -> None:
    """Load the model in argv[1] with argv[2] threads and serve runs."""
    config = og.Config(sys.argv[1])
    config.clear_providers()
    threads = {"model": {"decoder": {"session_options": {"intra_op_num_threads": int(sys.argv[2])}}}}
    config.overlay(json.dumps(threads))
    model = og.Model(config)
    tokenizer = og.Tokenizer(model)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        run = json.loads(line)
        print(json.dumps(answer(model, tokenizer, run["text"], run["tokens"], run.get("depth", 0))), flush=True)


def answer(model: og.Model, tokenizer: og.Tokenizer, text: str, count: int, depth: int) -> dict[str, float]:
    """Greedy tokens after `text`; time to the first one, and for the others."""
    began = time.perf_counter()
    stream = tokenizer.create_stream()
    prompt = tokenizer.encode(text)
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + count, do_sample=False)
    generator = og.Generator(model, parameters)
    if depth:
        generator.append_tokens(prompt[:depth])
        began = time.perf_counter()
    generator.append_tokens(prompt[depth:])
    first = 0.0
    for _ in range(count):
        generator.generate_next_token()
        stream.decode(generator.get_next_tokens()[0])
        first = first or time.perf_counter()
    ended = time.perf_counter()
    rss = psutil.Process().memory_info().rss / 2**20
    return {"first_s": first - began, "decode_s": ended - first, "prompt_tokens": len(prompt), "rss_mib": rss}


main()

"""What the service costs over a bare ONNX Runtime GenAI loop: decode speed, time to first token, memory.

usage: overhead.py MODEL_DIR [--runs 5] [--tokens 128]

MODEL_DIR holds a GenAI model with a chat template, big enough that a token takes milliseconds. Both sides have the model
loaded, use the same number of threads and the same prompt, and run in turns; every figure is a median of the ratios (or
differences) of neighbouring runs, so that a machine whose speed drifts does not matter. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
from measuring import MODEL, BareLoop, template

from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import start_service, stop_service
from foundry_cli.hardware.processors import usable_cores
from foundry_cli.paths import Paths

LINE = "import os, sys\nfor x in range(10): print(x)\n"


def ask(client: ServiceClient, messages: list[dict[str, str]], tokens: int) -> dict[str, Any]:
    """One streamed answer over TCP, as an application gets it."""
    body = {"model": MODEL, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}
    connection = HTTPConnection("127.0.0.1", client.record.port)
    began = time.perf_counter()
    payload = json.dumps({**body, "stream_options": {"include_usage": True}})
    connection.request("POST", "/v1/chat/completions", payload, {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    first, last, text, usage = 0.0, 0.0, "", {}
    for line in response:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                if piece := choice["delta"].get("content"):
                    first = first or time.perf_counter()
                    text += piece
                if choice["finish_reason"]:
                    last = time.perf_counter()
    connection.close()
    return {"first_s": first - began, "decode_s": last - first, "text": text, **usage}


def conversation(number: int, lines: int) -> list[dict[str, str]]:
    """A first question that shares no beginning with the others."""
    return [{"role": "user", "content": f"{number} # request\n" + LINE * lines}]


def measure(client: ServiceClient, bare: BareLoop, runs: int, tokens: int) -> dict[str, float]:
    """Pairs of runs, bare and through the service."""
    speed, added, ratio = [], [], []
    for number in range(runs + 1):
        messages = conversation(1000 + number, 8)
        one = bare.run(template(messages), tokens)
        two = ask(client, messages, tokens)
        if number == 0:
            continue  # both warm up
        generated = two["completion_tokens"]
        speed.append(((generated - 1) / two["decode_s"]) / ((tokens - 1) / one["decode_s"]))
        added.append(1000 * (two["first_s"] - one["first_s"]))
        ratio.append(two["first_s"] / one["first_s"])
        print(
            f"  bare {(tokens - 1) / one['decode_s']:6.1f} tok/s {1000 * one['first_s']:7.1f} ms   service "
            f"{(generated - 1) / two['decode_s']:6.1f} tok/s {1000 * two['first_s']:7.1f} ms",
            flush=True,
        )
    middle = statistics.median
    return {"decode_ratio": middle(speed), "added_first_token_ms": middle(added), "first_token_ratio": middle(ratio)}


def measure_turns(client: ServiceClient, runs: int) -> float:
    """Time to first token of the second turn of a conversation of 1,000 tokens, over that of its first turn."""
    ratios = []
    for number in range(runs):
        messages = conversation(5000 + number, 44)
        one = ask(client, messages, 32)
        messages += [{"role": "assistant", "content": one["text"]}, {"role": "user", "content": LINE}]
        two = ask(client, messages, 32)
        ratios.append(two["first_s"] / one["first_s"])
        cached = two["prompt_tokens_details"]["cached_tokens"]
        print(
            f"  turn 1: {one['prompt_tokens']} tokens {1000 * one['first_s']:.0f} ms   turn 2: {two['prompt_tokens']} tokens, "
            f"{cached} cached, {1000 * two['first_s']:.0f} ms",
            flush=True,
        )
    return statistics.median(ratios)


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        paths = Paths(Path(home))
        directory = paths.default_cache / "Bench" / "perf-model"
        shutil.copytree(arguments.model, directory)
        (directory / "inference_model.json").write_text(json.dumps({"Name": MODEL}))
        client, _ = start_service(paths)
        try:
            idle = psutil.Process(client.record.pid).memory_info().rss / 2**20
            bare = BareLoop(directory)
            result = measure(client, bare, arguments.runs, arguments.tokens)
            worker = client.status()["loadedModels"][0]["pid"]
            worker_rss = psutil.Process(worker).memory_info().rss / 2**20
            bare_rss = bare.run(template(conversation(9999, 8)), arguments.tokens)["rss_mib"]
            bare.close()
            result["second_turn_ratio"] = measure_turns(client, arguments.runs)
        finally:
            stop_service(paths)
    result |= {"idle_service_mib": idle, "worker_above_bare_mib": worker_rss - bare_rss, "threads": usable_cores()}
    print(json.dumps({name: round(value, 3) for name, value in result.items()}, indent=2))


main()

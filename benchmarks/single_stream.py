"""One client: prefill and decode through the service over a bare ONNX Runtime GenAI loop with the right threads.

usage: single_stream.py MODEL_DIR [--llama-cpp [server|python]] [--depths 0,512,2048] [--prompt 256] [--tokens 64]
       [--temperature 0] [--rounds 5]

At each depth so many tokens are there already (the service finds them in its prompt cache, the loop puts them there before
the clock starts), then `--prompt` new ones are read and `--tokens` are written. Prefill is the new tokens over the time to
the first token, with tokenizing and HTTP. With `--temperature 1` the service samples (the bare loop stays greedy).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from llama_cpp import add_option, llama_server
from measuring import (
    BareLoop,
    BenchService,
    Endpoint,
    Messages,
    Prompts,
    ask,
    count_tokens,
    median,
    note,
    parser,
    run,
    template,
)


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=5)
    result.add_argument("--depths", type=lambda text: [int(part) for part in text.split(",")], default=[0, 512, 2048])
    result.add_argument("--prompt", type=int, default=256)
    result.add_argument("--tokens", type=int, default=64)
    result.add_argument("--temperature", type=float, default=0)
    add_option(result)
    return result.parse_args()


OPTIONS = arguments()


def conversation(prompts: Prompts, depth: int) -> tuple[Messages, Messages]:
    """A prompt of about `depth` tokens, and one that goes on from there."""
    base = prompts.message(depth)["content"] if depth else ""
    return [{"role": "user", "content": base}], [
        {"role": "user", "content": f"{base} {prompts.text(OPTIONS.prompt)}" if base else prompts.text(OPTIONS.prompt)}
    ]


async def served(endpoint: Endpoint, before: Messages, messages: Messages) -> dict[str, Any]:
    """Both rates through a server."""
    options = {"temperature": OPTIONS.temperature, "seed": 1} if OPTIONS.temperature else {}
    depth = await count_tokens(endpoint, before) if before[0]["content"] else 0
    answer = await ask(endpoint, messages, OPTIONS.tokens, **options)
    prompt = answer.prompt_tokens or await count_tokens(endpoint, messages)
    cached = depth if answer.cached_tokens is None else answer.cached_tokens
    return {
        "prefill": (prompt - cached) / answer.first_s,
        "decode": answer.decode_rate,
        "new_tokens": prompt - cached,
        "cached_tokens": cached,
    }


def bare(loop: BareLoop, messages: Messages, depth: int) -> dict[str, Any]:
    """Both rates without a service."""
    result = loop.run(template(messages), OPTIONS.tokens, depth)
    new = result["prompt_tokens"] - depth
    return {"prefill": new / result["first_s"], "decode": (OPTIONS.tokens - 1) / result["decode_s"], "new_tokens": new}


async def measure(service: Endpoint, loop: BareLoop, peers: list[Endpoint]) -> dict[str, Any]:
    """All depths; in every round one after the other on the same prompt."""
    prompts = await Prompts.create(service)
    for peer in peers:
        await Prompts.create(peer)  # warms it up
    loop.run(template([prompts.message(64)]), 4)
    ratios: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    for depth in OPTIONS.depths:
        rounds: list[dict[str, dict[str, Any]]] = []
        for _ in range(OPTIONS.rounds):
            before, messages = conversation(prompts, depth)
            results = {"service": await served(service, before, messages)}
            results["bare"] = bare(loop, messages, results["service"]["cached_tokens"])
            results |= {peer.name: await served(peer, before, messages) for peer in peers}
            rounds.append(results)
            shown = "   ".join(f"{name} {rates['prefill']:7.1f} {rates['decode']:6.1f}" for name, rates in results.items())
            note(f"depth {depth:5}   {shown} tok/s")
        for other in ("bare", *(peer.name for peer in peers)):
            ratios[f"service over {other} at {depth}"] = {
                rate: median([each["service"][rate] / each[other][rate] for each in rounds]) for rate in ("prefill", "decode")
            }
        figures[str(depth)] = {
            name: {key: median([each[name][key] for each in rounds]) for key in rounds[0][name]} for name in rounds[0]
        }
    return {"ratios": ratios, "figures": figures}


async def work() -> dict[str, Any]:
    """Start what is compared, and compare it."""
    with ExitStack() as stack:
        service = stack.enter_context(BenchService(OPTIONS.model, OPTIONS.engine))
        loop = stack.enter_context(BareLoop(service.directory))
        peers = [stack.enter_context(llama_server(OPTIONS.model, OPTIONS.llama_cpp, 1))] if OPTIONS.llama_cpp else []
        result = await measure(service.endpoint, loop, peers)
        result["figures"]["engine"] = service.described()
        return result


run(work, "single_stream", OPTIONS.model)

"""What several clients at once get: tokens per second in total over those of one client, and the time to the first token.

usage: clients.py MODEL_DIR [--engine auto|batch|genai|both] [--llama-cpp [server|python]] [--original]
       [--clients 1,2,4,8,16] [--tokens 64] [--prompt 64] [--requests 2] [--rounds 3]

Every ratio is of loads that ran next to each other: with `both`, `--llama-cpp` and `--original` the servers take turns at
every number of clients. A client sends its next request when its last one was answered; no two prompts begin alike.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import Any

from llama_cpp import add_option, llama_server
from measuring import BenchService, Endpoint, Prompts, ask, median, note, parser, run
from original import add_original_option, original_server


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=3, engines=("auto", "batch", "genai", "both"))
    result.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 4, 8, 16])
    result.add_argument("--tokens", type=int, default=64)
    result.add_argument("--prompt", type=int, default=64)
    result.add_argument("--requests", type=int, default=2, help="per client; the fewest altogether are four")
    add_option(result)
    add_original_option(result)
    return result.parse_args()


OPTIONS = arguments()


async def load(endpoint: Endpoint, prompts: Prompts, clients: int) -> dict[str, Any]:
    """One load: `clients` clients at once."""
    requests = max(OPTIONS.requests, -(-4 // clients))
    began = time.perf_counter()

    async def client() -> list[Any]:
        return [await ask(endpoint, [prompts.message(OPTIONS.prompt)], OPTIONS.tokens) for _ in range(requests)]

    answers = [answer for series in await asyncio.gather(*(client() for _ in range(clients))) for answer in series]
    wall = time.perf_counter() - began
    first = [answer.first_s for answer in answers]
    rate = sum(answer.completion_tokens for answer in answers) / wall
    return {"tokens_per_s": rate, "first_s": median(first), "longest_first_s": max(first)}


async def measure(endpoints: list[Endpoint]) -> dict[str, Any]:
    """All loads, the servers in turns."""
    prompts = {endpoint.name: await Prompts.create(endpoint) for endpoint in endpoints}
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {e.name: {n: [] for n in OPTIONS.clients} for e in endpoints}
    for number in range(OPTIONS.rounds):
        for clients in OPTIONS.clients:
            for endpoint in endpoints[:: 1 if number % 2 == 0 else -1]:
                result = await load(endpoint, prompts[endpoint.name], clients)
                runs[endpoint.name][clients].append(result)
                note(f"{endpoint.name:12} {clients:3} clients {result['tokens_per_s']:7.1f} tok/s {result['first_s']:6.2f} s")
    return {
        "ratios": {
            **{f"{name}: over {min(OPTIONS.clients)} client": over_one(loads) for name, loads in runs.items()},
            **{
                f"{one.name} over {two.name}": over_peer(runs[one.name], runs[two.name])
                for index, one in enumerate(endpoints)
                for two in endpoints[index + 1 :]
            },
        },
        "figures": {
            name: {
                clients: {key: median([each[key] for each in rounds]) for key in rounds[0]} for clients, rounds in loads.items()
            }
            for name, loads in runs.items()
        },
    }


def over_one(loads: dict[int, list[dict[str, Any]]]) -> dict[int, float]:
    """Tokens per second over those of the fewest clients, in the same round."""
    return {clients: over_peer({clients: rounds}, {clients: loads[min(loads)]})[clients] for clients, rounds in loads.items()}


def over_peer(one: dict[int, list[dict[str, Any]]], two: dict[int, list[dict[str, Any]]]) -> dict[int, float]:
    """Tokens per second of `one` over `two` with the same clients, in the same round."""
    return {
        clients: median([a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(one[clients], two[clients], strict=True)])
        for clients in one
    }


async def work() -> dict[str, Any]:
    """Start what is compared, and compare it."""
    engines = ["batch", "genai"] if OPTIONS.engine == "both" else [OPTIONS.engine]
    with ExitStack() as stack:
        services = [stack.enter_context(BenchService(OPTIONS.model, engine)) for engine in engines]
        endpoints = [service.endpoint for service in services]
        if OPTIONS.llama_cpp:
            slots = max(OPTIONS.clients)
            endpoints.append(stack.enter_context(llama_server(OPTIONS.model, OPTIONS.llama_cpp, slots)))
        if OPTIONS.original:
            endpoints.append(stack.enter_context(original_server(OPTIONS.model)))
        result = await measure(endpoints)
        result["figures"]["engines"] = {service.engine: service.described() for service in services}
        return result


run(work, "clients", OPTIONS.model)

"""What a long prompt does to others: the first token of a short request that arrives meanwhile, the stall of running answers.

usage: interference.py MODEL_DIR [--prompt 2000] [--short 20] [--streams 2] [--rounds 3]

In each round: the short request alone; then, while so many answers are being written, a long prompt is sent and a moment
later the short request again. A stall is the longest time without a piece of text while the long prompt was read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from measuring import BenchService, Endpoint, Prompts, ask, median, note, parser, run


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=3)
    result.add_argument("--prompt", type=int, default=2000)
    result.add_argument("--short", type=int, default=20)
    result.add_argument("--streams", type=int, default=2)
    result.add_argument("--stream-tokens", type=int, default=4000, help="they are ended when the round is over")
    result.add_argument("--delay", type=float, default=0.3, help="seconds between the long prompt and the short one")
    return result.parse_args()


OPTIONS = arguments()


async def one_round(endpoint: Endpoint, prompts: Prompts) -> dict[str, Any]:
    """One long prompt with running answers, a short request alone before."""
    alone = await ask(endpoint, [prompts.message(OPTIONS.short)], 8)
    is_over = asyncio.Event()
    streams = [
        asyncio.create_task(ask(endpoint, [prompts.message(32)], OPTIONS.stream_tokens, stop=is_over))
        for _ in range(OPTIONS.streams)
    ]
    await asyncio.sleep(max(1.0, 10 * alone.first_s))  # all of them are being written
    long = asyncio.create_task(ask(endpoint, [prompts.message(OPTIONS.prompt)], 8))
    await asyncio.sleep(OPTIONS.delay)
    short = await ask(endpoint, [prompts.message(OPTIONS.short)], 8)
    reader = await long
    is_over.set()
    running = await asyncio.gather(*streams)
    end = reader.began + reader.first_s
    quiet = [stream.longest_gap(before=reader.began) for stream in running]
    return {
        "short_first_s": short.first_s,
        "short_alone_first_s": alone.first_s,
        "long_first_s": reader.first_s,
        "longest_stall_s": max((stream.longest_gap(reader.began, end) for stream in running), default=0.0),
        "longest_gap_before_s": max(quiet, default=0.0),
        "is_valid": short.began < end and all(stream.stamps[-1] > end for stream in running),
    }


async def work() -> dict[str, Any]:
    """All rounds."""
    with BenchService(OPTIONS.model, OPTIONS.engine) as service:
        prompts = await Prompts.create(service.endpoint)
        rounds = []
        for _ in range(OPTIONS.rounds):
            rounds.append(await one_round(service.endpoint, prompts))
            note(", ".join(f"{name} {value:.3f}" for name, value in rounds[-1].items()))
        engine = service.described()
    valid = [each for each in rounds if each["is_valid"]]
    if not valid:
        raise SystemExit("The answers ended before the long prompt was read, or it was read too soon: nothing was measured.")
    return {
        "ratios": {
            "short_first_over_alone": median([each["short_first_s"] / each["short_alone_first_s"] for each in valid]),
            "short_first_over_long_first": median([each["short_first_s"] / each["long_first_s"] for each in valid]),
            "stall_over_gap_before": median([each["longest_stall_s"] / each["longest_gap_before_s"] for each in valid])
            if OPTIONS.streams
            else None,
        },
        "figures": {
            "short_first_s": median([each["short_first_s"] for each in valid]),
            "longest_short_first_s": max(each["short_first_s"] for each in valid),
            "longest_stall_s": max(each["longest_stall_s"] for each in valid),
            "long_first_s": median([each["long_first_s"] for each in valid]),
            "valid_rounds": len(valid),
            "engine": engine,
        },
    }


run(work, "interference", OPTIONS.model)

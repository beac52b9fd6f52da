"""What happens under far too many requests: the surplus is refused at once and politely, running answers go on.

usage: overload.py MODEL_DIR [--requests 200] [--tokens 16] [--prompt 32]

One answer is being written when all requests arrive together. `disturbance` is its longest pause from then on, over its
longest pause before; some is due, because it shares the machine with the requests that are taken. `refused_at_once` is the
time until the last refusal over that until the first of the others began to be answered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from measuring import Answer, BenchService, Endpoint, Prompts, Refused, ask, median, note, parser, run


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=1)
    result.add_argument("--requests", type=int, default=200)
    result.add_argument("--tokens", type=int, default=16)
    result.add_argument("--prompt", type=int, default=32)
    result.add_argument(
        "--stream-tokens", type=int, default=8000, help="of the running answer; it is ended with the last request"
    )
    return result.parse_args()


OPTIONS = arguments()
Outcome = Answer | Refused | Exception


async def attempt(endpoint: Endpoint, prompts: Prompts) -> Outcome:
    """One of the many requests."""
    try:
        return await ask(endpoint, [prompts.message(OPTIONS.prompt)], OPTIONS.tokens)
    except Exception as error:  # noqa: BLE001 - whatever happened is the result
        return error


async def measure(service: BenchService) -> dict[str, Any]:
    """The storm."""
    endpoint = service.endpoint
    prompts = await Prompts.create(endpoint)
    is_over = asyncio.Event()
    stream = asyncio.create_task(ask(endpoint, [prompts.message(32)], OPTIONS.stream_tokens, stop=is_over))
    await asyncio.sleep(2)
    loop_began = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(attempt(endpoint, prompts) for _ in range(OPTIONS.requests)))
    seconds = asyncio.get_running_loop().time() - loop_began
    is_over.set()
    running = await stream
    again = await ask(endpoint, [prompts.message(32)], 8)
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    began = min(answer.began for answer in answers)
    refused = [refusal.seconds for refusal in refusals if refusal.status == 429]
    until = began + max(refused, default=0.0)
    statuses = Counter(str(outcome.status) if isinstance(outcome, Refused) else "200" for outcome in [*answers, *refusals])
    others = [repr(outcome) for outcome in outcomes if not isinstance(outcome, (Answer, Refused))]
    note(f"{dict(statuses)}, {len(others)} failures, {seconds:.1f} s")
    return {
        "ratios": {
            "disturbance": running.longest_gap(began) / max(running.longest_gap(before=began), 1e-9),
            "refused_at_once": max(refused, default=0.0) / min(answer.first_s for answer in answers),
            "with_retry_after": sum("retry-after" in refusal.headers for refusal in refusals) / max(len(refusals), 1),
        },
        "figures": {
            "statuses": dict(statuses),
            "failures": others[:5],
            "failure_count": len(others),
            "retry_after": sorted({refusal.headers.get("retry-after", "none") for refusal in refusals}),
            "refusal_s": median(refused) if refused else None,
            "longest_refusal_s": max(refused) if refused else None,
            "stream_gap_before_s": running.longest_gap(before=began),
            "stream_gap_during_refusals_s": running.longest_gap(began, until),
            "stream_longest_gap_s": running.longest_gap(began),
            "stream_was_running": running.stamps[-1] > until,
            "first_s_afterwards": again.first_s,
            "longest_wait_s": max(answer.first_s for answer in answers),
            "engine": service.described(),
        },
    }


async def work() -> dict[str, Any]:
    """Start the service, and flood it."""
    with BenchService(OPTIONS.model, OPTIONS.engine) as service:
        return await measure(service)


run(work, "overload", OPTIONS.model)

"""What four answers to one prompt cost over one answer: the prompt must be read once.

usage: choices.py MODEL_DIR [--prompt 800] [--n 4] [--rounds 5]

The work is the time until the last of the choices has its first token; and, where the service says it, the time it spent on
the prompt. Every request has a prompt of its own, those with one and with several choices take turns.
"""

from __future__ import annotations

from typing import Any

from measuring import Answer, BenchService, Endpoint, Prompts, Refused, ask, median, note, parser, run


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=5)
    result.add_argument("--prompt", type=int, default=800)
    result.add_argument("--n", type=int, default=4)
    return result.parse_args()


OPTIONS = arguments()


def last_first_s(answer: Answer) -> float:
    """Time until every choice had its first token."""
    return max(stamps[0] for stamps in answer.stamps_by_choice.values()) - answer.began


async def one_round(endpoint: Endpoint, prompts: Prompts) -> dict[str, float]:
    """One request with one choice, one with several."""
    one, several = [
        await ask(endpoint, [prompts.message(OPTIONS.prompt)], 8, n=n, temperature=1, seed=7) for n in (1, OPTIONS.n)
    ]
    if len(several.stamps_by_choice) != OPTIONS.n:
        raise SystemExit(f"{len(several.stamps_by_choice)} of {OPTIONS.n} choices came.")
    prefill = [answer.timings.get("prefill_ms", 0.0) for answer in (one, several)]
    return {
        "one_s": one.first_s,
        "several_s": last_first_s(several),
        "first_token_ratio": last_first_s(several) / one.first_s,
        "prefill_ratio": prefill[1] / prefill[0] if all(prefill) else float("nan"),
    }


async def work() -> dict[str, Any]:
    """All rounds."""
    with BenchService(OPTIONS.model, OPTIONS.engine) as service:
        prompts = await Prompts.create(service.endpoint)
        rounds = []
        try:
            for _ in range(OPTIONS.rounds):
                rounds.append(await one_round(service.endpoint, prompts))
                note(", ".join(f"{name} {value:.3f}" for name, value in rounds[-1].items()))
        except Refused as error:
            raise SystemExit(f"The service gives no {OPTIONS.n} choices: {error}") from error
        middle = {name: median([each[name] for each in rounds]) for name in rounds[0]}
        return {
            "ratios": {name: middle.pop(name) for name in ("first_token_ratio", "prefill_ratio")},
            "figures": {**middle, "engine": service.described()},
        }


run(work, "choices", OPTIONS.model)

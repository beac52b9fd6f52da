"""Whether company changes an answer: texts of prompts that are asked alone, and eight at a time.

usage: agreement.py MODEL_DIR [--prompts 200] [--tokens 64] [--batch 8] [--temperature 0]

With a temperature the answers are sampled, every prompt with a seed of its own. Look at `distinct_texts`: random models may
say the same to everything, and then equal texts show little.

The prompts have different lengths, and the requests of a batch come a little apart, so that they join and leave it at
different steps. Each way has a fresh service, because what is cached from the one would change how the other is computed.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from measuring import BenchService, Messages, Prompts, ask, note, parser, run

_SHORTEST, _LONGEST = 16, 300  # tokens of a prompt
_SPREAD = 0.5  # seconds within which the requests of a batch come


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=1)
    result.add_argument("--prompts", type=int, default=200)
    result.add_argument("--tokens", type=int, default=64)
    result.add_argument("--batch", type=int, default=8)
    result.add_argument("--temperature", type=float, default=0)
    return result.parse_args()


OPTIONS = arguments()


async def texts(service: BenchService, questions: list[Messages], at_once: int) -> list[str]:
    """The answers, asked so many at once."""
    chance = random.Random(at_once)

    async def answer(number: int) -> str:
        await asyncio.sleep(chance.uniform(0, _SPREAD) if at_once > 1 else 0)
        options = {"temperature": OPTIONS.temperature, "seed": number}
        return (await ask(service.endpoint, questions[number], OPTIONS.tokens, **options)).text

    result: list[str] = []
    for begin in range(0, len(questions), at_once):
        result += await asyncio.gather(*(answer(number) for number in range(begin, min(begin + at_once, len(questions)))))
        if len(result) % (5 * OPTIONS.batch) == 0:
            note(f"{at_once} at once: {len(result)} of {len(questions)}")
    return result


async def work() -> dict[str, Any]:
    """Both ways."""
    chance = random.Random(0)
    with BenchService(OPTIONS.model, OPTIONS.engine) as service:
        prompts = await Prompts.create(service.endpoint)
        questions = [[prompts.message(chance.randint(_SHORTEST, _LONGEST))] for _ in range(OPTIONS.prompts)]
        alone = await texts(service, questions, 1)
        engine = service.described()
    with BenchService(OPTIONS.model, OPTIONS.engine) as service:
        together = await texts(service, questions, OPTIONS.batch)
    different = [index for index, (one, two) in enumerate(zip(alone, together, strict=True)) if one != two]
    return {
        "ratios": {"equal": 1 - len(different) / len(questions)},
        "figures": {
            "prompts": len(questions),
            "tokens": OPTIONS.tokens,
            "different": len(different),
            "distinct_texts": len(set(alone)),
            "first_difference_at": [first_difference(alone[index], together[index]) for index in different[:20]],
            "engine": engine,
        },
    }


def first_difference(one: str, two: str) -> int:
    """How many characters are equal."""
    return next((index for index, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


run(work, "agreement", OPTIONS.model)

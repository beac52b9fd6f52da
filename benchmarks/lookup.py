"""What drafts from the prompt bring an answer that says the prompt again, and what they cost one that does not.

usage: lookup.py MODEL_DIR [--engine auto|batch|genai] [--tokens 128] [--rounds 5]

A random model quotes nothing. But a word that is repeated makes it repeat another one, and with that behind it, it goes on
so: then all it says stands in its prompt, the most that a draft can bring. Beside it, in turns, it goes on with random words
of the same length, of which it says little. At temperature 1, both say little of their prompt: what looking costs.
Ratios are of tokens per second after the first token.
"""

from __future__ import annotations

from typing import Any

from measuring import Answer, BenchService, Endpoint, Prompts, complete, median, note, parser, run

_REPEATED, _BEFORE = 100, 150  # times of the word, and tokens of the answer to it


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=5)
    result.add_argument("--tokens", type=int, default=128)
    return result.parse_args()


OPTIONS = arguments()


async def said_before(endpoint: Endpoint, prompts: Prompts) -> tuple[str, int]:
    """A text that goes on as it ends, and its tokens.

    Most words are of no use: the text of the answer has other tokens than it had, or the model ends its loop.
    """
    while True:
        text = f" {prompts.text(1)}" * _REPEATED
        answer = await complete(endpoint, text, _BEFORE)
        following = await complete(endpoint, text + answer.text, OPTIONS.tokens)
        is_same = following.prompt_tokens == answer.prompt_tokens + _BEFORE and following.text[-20:] in answer.text[-100:]
        if answer.completion_tokens == _BEFORE and is_same:
            return text + answer.text, following.prompt_tokens


async def pair(endpoint: Endpoint, said: str, other: str, number: int, temperature: float) -> dict[str, Answer]:
    """Both answers; every second time in the other order."""
    texts = [("said before", said), ("new", other)]
    options = {"temperature": temperature, "seed": number}
    return {
        name: await complete(endpoint, text, OPTIONS.tokens, **options) for name, text in texts[:: 1 if number % 2 == 0 else -1]
    }


def ratio(pairs: list[dict[str, Answer]]) -> float:
    """Of the tokens per second."""
    return median([each["said before"].decode_rate / each["new"].decode_rate for each in pairs])


def figures(answers: list[Answer]) -> dict[str, Any]:
    """Of answers of one kind."""
    return {
        "tokens_per_s": median([answer.decode_rate for answer in answers]),
        "drafted": sum(answer.drafted_tokens for answer in answers),
        "accepted": sum(answer.accepted_tokens for answer in answers),
    }


async def work() -> dict[str, Any]:
    """All rounds."""
    pairs: dict[str, list[dict[str, Answer]]] = {"greedy": [], "temperature 1": []}
    with BenchService(OPTIONS.model, OPTIONS.engine) as service:
        prompts = await Prompts.create(service.endpoint)
        for number in range(OPTIONS.rounds):
            said, tokens = await said_before(service.endpoint, prompts)
            for name, temperature in (("greedy", 0.0), ("temperature 1", 1.0)):
                pairs[name].append(await pair(service.endpoint, said, prompts.text(tokens), number, temperature))
                rates = (f"{kind} {answer.decode_rate:.1f} tok/s" for kind, answer in sorted(pairs[name][-1].items()))
                note(f"{name}: {', '.join(rates)}")
        engine = service.described()
    return {
        "ratios": {name: ratio(both) for name, both in pairs.items()},
        "figures": {
            "engine": engine,
            **{f"{name}, {kind}": figures([each[kind] for each in both]) for name, both in pairs.items() for kind in both[0]},
        },
    }


run(work, "lookup", OPTIONS.model)

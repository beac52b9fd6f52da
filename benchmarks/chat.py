"""A chat that begins long: the time to the first token of every turn over that of the first, and after a restart.

usage: chat.py MODEL_DIR [--llama-cpp [server|python]] [--original] [--turns 4] [--start 1100] [--tokens 32] [--rounds 3]

After the last turn `foundry service restart`, and the next turn is asked at once (`restart`); then the model is unloaded and
the next turn waits for its load, too (`unload`).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from llama_cpp import add_option, llama_server
from measuring import MODEL, Answer, BenchService, Endpoint, Messages, Prompts, ask, median, note, parser, run
from original import add_original_option, original_server


def arguments() -> Any:
    """The command line."""
    result = parser(__doc__, rounds=3)
    result.add_argument("--turns", type=int, default=4)
    result.add_argument("--start", type=int, default=1100)
    result.add_argument("--tokens", type=int, default=32)
    add_option(result)
    add_original_option(result)
    return result.parse_args()


OPTIONS = arguments()


class Chat:
    """A conversation; every turn adds an answer and a question of some twenty tokens."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts
        self._messages: Messages = [prompts.message(OPTIONS.start)]
        self.answers: list[Answer] = []

    async def turn(self, endpoint: Endpoint) -> Answer:
        """The next turn."""
        answer = await ask(endpoint, self._messages, OPTIONS.tokens)
        question = {"role": "user", "content": self._prompts.text(20)}
        self._messages += [{"role": "assistant", "content": answer.text}, question]
        self.answers.append(answer)
        return answer


def summary(names: list[str], chats: list[Chat]) -> tuple[dict[str, float], dict[str, Any]]:
    """Ratios over the first turn of the same chat, and what was measured."""
    turns = {name: [chat.answers[index] for chat in chats] for index, name in enumerate(names)}
    ratios = {
        name: median([answer.first_s / chat.answers[0].first_s for answer, chat in zip(answers, chats, strict=True)])
        for name, answers in turns.items()
    }
    figures = {
        name: {
            "first_s": median([answer.first_s for answer in answers]),
            "prompt_tokens": median([answer.prompt_tokens for answer in answers]),
            "cached_tokens": median([answer.cached_tokens or 0 for answer in answers]),
        }
        for name, answers in turns.items()
    }
    return ratios, figures


async def measure(service: BenchService, peers: list[Endpoint]) -> dict[str, Any]:
    """All chats."""
    prompts = await Prompts.create(service.endpoint)
    for peer in peers:
        await Prompts.create(peer)  # warms it up
    chats: dict[str, list[Chat]] = {"service": [], **{peer.name: [] for peer in peers}}
    for _ in range(OPTIONS.rounds):
        for name, endpoint in [("service", service.endpoint), *((peer.name, peer) for peer in peers)]:
            chat = Chat(prompts)
            for _ in range(OPTIONS.turns):
                await chat.turn(endpoint)
            chats[name].append(chat)
        service.restart()
        await chats["service"][-1].turn(service.endpoint)
        service.client.unload(MODEL)
        await chats["service"][-1].turn(service.endpoint)
        for name, each in chats.items():
            note(f"{name:12} " + " ".join(f"{1000 * answer.first_s:7.0f}" for answer in each[-1].answers) + " ms")
    turns = [f"turn_{number}" for number in range(1, OPTIONS.turns + 1)]
    both = {name: summary([*turns, "restart", "unload"] if name == "service" else turns, each) for name, each in chats.items()}
    return {
        "ratios": {name: ratios for name, (ratios, _) in both.items()},
        "figures": {name: f for name, (_, f) in both.items()},
    }


async def work() -> dict[str, Any]:
    """Start what is measured, and measure it."""
    with ExitStack() as stack:
        service = stack.enter_context(BenchService(OPTIONS.model, OPTIONS.engine))
        peers = [stack.enter_context(llama_server(OPTIONS.model, OPTIONS.llama_cpp, 1))] if OPTIONS.llama_cpp else []
        if OPTIONS.original:
            peers.append(stack.enter_context(original_server(OPTIONS.model)))
        result = await measure(service, peers)
        result["figures"]["engine"] = service.described()
        return result


run(work, "chat", OPTIONS.model)

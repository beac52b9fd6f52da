"""Turns conversations into token sequences with labels and groups them into batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from corpus import Conversation
from tokenizers import Tokenizer
from vocabulary import END, PAD, START, plan_token

IGNORE = -100
DROPOUT = 0.1
KEPT_PLANS = 0.25


@dataclass
class Sample:
    """Input tokens and, per position, the token to be predicted there (or IGNORE)."""

    tokens: list[int]
    labels: list[int]


class Encoder:
    """Encodes conversations; the user's words are split at random now and then (BPE dropout)."""

    def __init__(self, tokenizer: Tokenizer, answers: dict[str, str], seed: int) -> None:
        self.rng = random.Random(seed)
        self.plain = tokenizer
        self.varied = Tokenizer.from_str(tokenizer.to_str())
        self.varied.model.dropout = DROPOUT
        self.end = tokenizer.token_to_id(END)
        self.pad = tokenizer.token_to_id(PAD)
        self.plan = {intent: tokenizer.token_to_id(plan_token(intent)) for intent in answers}
        self.answers = {intent: self._ids(text) for intent, text in answers.items()}
        self.opening = {role: self._ids(f"{START}{role}\n") for role in ("system", "user", "assistant")}
        self.closing = self._ids(f"{END}\n")

    def _ids(self, text: str) -> list[int]:
        return self.plain.encode(text, add_special_tokens=False).ids

    def _user_ids(self, text: str) -> list[int]:
        tokenizer = self.varied if self.rng.random() < 0.3 else self.plain
        return tokenizer.encode(text, add_special_tokens=False).ids

    def prompt(self, turns: list[tuple[str, str]], system: str = "") -> list[int]:
        """Tokens up to the point where the answer to the last question begins (no random splits)."""
        return self._encode(turns, system, self._ids, False).tokens

    def sample(self, conversation: Conversation, full: bool) -> Sample:
        """A training sample; ``full`` adds the text of the last answer to the plan token."""
        keep_plans = self.rng.random() < KEPT_PLANS  # a runtime that goes on in its cache leaves them in the history
        sample = self._encode(conversation.turns, conversation.system, self._user_ids, keep_plans)
        if full:
            intent = conversation.turns[-1][1]
            answer = [*self.answers[intent], self.end]
            sample.tokens += [self.plan[intent], *answer[:-1]]
            sample.labels += answer
        return sample

    def _encode(
        self, turns: list[tuple[str, str]], system: str, user_ids: Callable[[str], list[int]], keep_plans: bool
    ) -> Sample:
        tokens = [*self.opening["system"], *self._ids(system), *self.closing] if system else []
        labels = [IGNORE] * len(tokens)
        for number, (text, intent) in enumerate(turns):
            piece = [*self.opening["user"], *user_ids(text), *self.closing, *self.opening["assistant"]]
            tokens += piece
            labels += [IGNORE] * (len(piece) - 1) + [self.plan.get(intent, IGNORE)]
            if number < len(turns) - 1:
                plan = [self.plan[intent]] if keep_plans else []
                history = [*plan, *self.answers[intent], *self.closing]
                tokens += history
                labels += [IGNORE] * len(history)
        return Sample(tokens, labels)


def batches(samples: list[Sample], budget: int, pad: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of similar lengths with about ``budget`` tokens each, in random order."""
    rng = random.Random(seed)
    window = 6000
    for start in range(0, len(samples), window):
        chunk = sorted(samples[start : start + window], key=lambda sample: len(sample.tokens))
        groups: list[list[Sample]] = [[]]
        for sample in chunk:
            if (len(groups[-1]) + 1) * len(sample.tokens) > budget:
                groups.append([])
            groups[-1].append(sample)
        rng.shuffle(groups)
        for group in groups:
            if group:
                yield _tensors(group, pad)


def _tensors(group: list[Sample], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(sample.tokens) for sample in group)
    tokens = [sample.tokens + [pad] * (width - len(sample.tokens)) for sample in group]
    labels = [sample.labels + [IGNORE] * (width - len(sample.labels)) for sample in group]
    return torch.tensor(tokens), torch.tensor(labels)

"""Generates the training conversations from the grammars."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from followup import FollowUps
from grammar import Choice, Slots, parse, read_answers, read_sections, read_slots
from noise import gerund, noisy

HERE = Path(__file__).resolve().parent
OOS = "oos"
GRAMMARS = (
    "grammar_general.txt", "grammar_service.txt", "grammar_chat.txt", "grammar_api.txt", "grammar_more.txt",
    "grammar_catalog.txt",
)  # fmt: skip
# how often a line of a type is used, relative to the others
LINE_WEIGHTS = {"v": 1.6, "q": 1.0, "n": 0.9, "k": 1.8, "t": 1.0, "f": 1.0}
WRAPPERS = {"v": "verb", "n": "noun", "k": "keys", "t": "trouble"}
TURN_WEIGHTS = (66, 24, 6, 3, 1)
GERUNDS = 0.12
_NOT_WORDS = re.compile(r"[^\w]+")


@dataclass
class Conversation:
    """A training conversation: user texts with the intents of their answers."""

    turns: list[tuple[str, str]]
    system: str = ""


def normalise(text: str) -> str:
    """Lower case, only letters and digits: the form in which questions are compared."""
    return _NOT_WORDS.sub(" ", text.lower()).strip()


def held_out() -> set[str]:
    """Normalised judged questions of the evaluation files; they never occur in the training corpus."""
    found = set()
    for path in sorted((HERE / "evaluation").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found.add(normalise(json.loads(line)["messages"][-1]))
    return found


class Generator:
    """Draws random conversations from the grammars."""

    def __init__(self, seed: int, exclude: set[str]) -> None:
        self.rng = random.Random(seed)
        self.exclude = exclude
        self.answers = read_answers()
        self.slots: Slots = read_slots("slots.txt") | read_slots("oos_slots.txt")
        self.frames = read_slots("wrappers.txt")
        self.small = read_slots("repeat.txt")
        self.lines: dict[str, tuple[list[tuple[str, Choice]], list[float]]] = {}
        rows: dict[str, list[str]] = {}
        for name in (*GRAMMARS, "oos_grammar.txt"):
            for intent, found in read_sections(name).items():
                rows.setdefault(intent, []).extend(found)
        for intent, found in rows.items():
            self._add_intent(intent, found)
        self.in_scope = sorted(set(self.lines) - {OOS})
        if set(self.lines) != set(self.answers):
            raise ValueError(f"answers and grammars differ: {set(self.lines) ^ set(self.answers)}")
        self.follow_ups = FollowUps(set(self.answers))

    def _add_intent(self, intent: str, rows: list[str]) -> None:
        parsed = [(row[0], parse(row[2:])) for row in rows]
        weights = [LINE_WEIGHTS[kind] for kind, _ in parsed]
        if intent == OOS:  # rare kinds of nonsense must not crowd out the real questions
            weights = [1.2 if kind == "v" else 3.0 if kind in "nk" else weight
                       for (kind, _), weight in zip(parsed, weights, strict=True)]  # fmt: skip
        self.lines[intent] = (parsed, weights)

    def _draw(self, choice: Choice) -> str:
        return choice.sample(self.rng, self.slots)

    def phrase(self, intent: str) -> str:
        """A sentence for the intent, without noise."""
        parsed, weights = self.lines[intent]
        kind, choice = self.rng.choices(parsed, weights)[0]
        text = self._draw(choice)
        if kind in WRAPPERS:
            frame = self.frames[WRAPPERS[kind]]
            if kind == "v" and self.rng.random() < GERUNDS:
                text, frame = gerund(text), self.frames["ing"]
            text = frame.sample(self.rng, self.slots | {"x": Choice([[text]])})
        if kind != "f":
            text = self._fillers(text)
        return text

    def _fillers(self, text: str) -> str:
        if self.rng.random() < 0.14:
            text = f"{self.frames['pre'].sample(self.rng, self.slots)} {text}"
        if self.rng.random() < 0.10:
            text = f"{text} {self.frames['post'].sample(self.rng, self.slots)}"
        return text

    def _user(self, intent: str, prefix: bool = False) -> str:
        while True:
            text = self.phrase(intent)
            if prefix and self.rng.random() < 0.4:
                text = f"{self.small['join'].sample(self.rng, self.slots)} {text}"
            text = noisy(text, self.rng)
            if normalise(text) not in self.exclude and len(text) < 400:
                return text

    def _follow_up(self, previous: str) -> tuple[str, str]:
        while True:
            target, phrases = self.rng.choice(self.follow_ups.after[previous])
            text = self._draw(self.rng.choice(phrases))
            chance = self.rng.random()
            if chance < 0.45 and not text.startswith("and"):
                text = f"and {text}"
            elif chance < 0.6:
                text = f"{self.small['join'].sample(self.rng, self.slots)} {text}"
            if self.rng.random() < 0.06:
                text = f"{text} {self.frames['post'].sample(self.rng, self.slots)}"
            text = noisy(text, self.rng)
            if normalise(text) not in self.exclude:
                return text, target

    def _repeat(self, previous: str) -> tuple[str, str]:
        while True:
            text = noisy(self._draw(self.small["repeat"]), self.rng)
            if normalise(text) not in self.exclude:
                return text, previous

    def _first(self) -> tuple[str, str]:
        intent = OOS if self.rng.random() < 0.25 else self.rng.choice(self.in_scope)
        return self._user(intent), intent

    def _next(self, previous: str) -> tuple[str, str]:
        chance = self.rng.random()
        if chance < 0.06:
            return self._repeat(previous)
        if chance < 0.64 and previous in self.follow_ups.after and (previous != OOS or chance < 0.09):
            return self._follow_up(previous)
        intent = OOS if self.rng.random() < (0.4 if previous == OOS else 0.3) else self.rng.choice(self.in_scope)
        return self._user(intent, prefix=True), intent

    def conversation(self) -> Conversation:
        """A random conversation of one to five turns."""
        count = self.rng.choices(range(1, 6), TURN_WEIGHTS)[0]
        turns = [self._first()]
        while len(turns) < count:
            turns.append(self._next(turns[-1][1]))
        system = self._draw(self.small["system"]) if self.rng.random() < 0.12 else ""
        return Conversation(turns, system)

    def conversations(self, count: int) -> Iterator[Conversation]:
        """``count`` random conversations."""
        for _ in range(count):
            yield self.conversation()


def check_separation(conversations: list[Conversation], exclude: set[str]) -> None:
    """Raise when an evaluation question occurs in the corpus."""
    for conversation in conversations:
        for text, _ in conversation.turns:
            if normalise(text) in exclude:
                raise ValueError(f"evaluation question in the training corpus: {text}")

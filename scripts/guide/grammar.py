"""Reads the hand-written grammar files and turns their lines into random sentences.

Syntax: ``(a|b|)`` is a choice, ``{slot}`` refers to a slot, a backslash takes the next character literally.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"

Slots = dict[str, "Choice"]


@dataclass
class Choice:
    """Alternatives; each alternative is a sequence of text, slot references and nested choices."""

    options: list[list[object]] = field(default_factory=list)

    def sample(self, rng: random.Random, slots: Slots) -> str:
        """Return one random expansion."""
        return "".join(_expand(part, rng, slots) for part in rng.choice(self.options))


@dataclass
class Slot:
    """A reference to a named slot."""

    name: str


def _expand(part: object, rng: random.Random, slots: Slots) -> str:
    if isinstance(part, Choice):
        return part.sample(rng, slots)
    if isinstance(part, Slot):
        if part.name in GENERATED:
            return GENERATED[part.name](rng)
        return slots[part.name].sample(rng, slots)
    return str(part)


class _Parser:
    """Reads one grammar line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0

    def choice(self, closing: bool) -> Choice:
        """Parse alternatives up to the end, or up to the closing parenthesis."""
        choice = Choice([[]])
        while self.pos < len(self.text):
            char = self.text[self.pos]
            self.pos += 1
            if char == "|":
                choice.options.append([])
            elif char == ")" and closing:
                return choice
            else:
                choice.options[-1].append(self._part(char))
        if closing:
            raise ValueError(f"parenthesis not closed in: {self.text}")
        return choice

    def _part(self, char: str) -> object:
        if char == "(":
            return self.choice(True)
        if char == "{":
            end = self.text.index("}", self.pos)
            name, self.pos = self.text[self.pos : end], end + 1
            return Slot(name)
        if char == ")":
            raise ValueError(f"unbalanced parenthesis in: {self.text}")
        if char == "\\":
            self.pos += 1
            return self.text[self.pos - 1]
        end = self.pos
        while end < len(self.text) and self.text[end] not in "(|){\\":
            end += 1
        literal, self.pos = self.text[self.pos - 1 : end], end
        return literal


def parse(text: str) -> Choice:
    """Parse one grammar line."""
    return _Parser(text).choice(False)


def lines(name: str) -> list[str]:
    """The lines of a data file without blank lines and comments."""
    raw = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line.rstrip() for line in raw if line.strip() and not line.startswith("#")]


def read_slots(name: str) -> Slots:
    """Read ``name = alternatives`` lines."""
    slots: Slots = {}
    for line in lines(name):
        key, _, value = line.partition("=")
        slots[key.strip()] = parse(value.strip())
    return slots


def read_sections(name: str) -> dict[str, list[str]]:
    """Read a file with ``[section]`` headings."""
    sections: dict[str, list[str]] = {}
    for line in lines(name):
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1], [])
        else:
            current.append(line)
    return sections


def read_answers() -> dict[str, str]:
    """The canonical answer of every intent."""
    return {intent: "\n".join(text) for intent, text in read_sections("answers.txt").items()}


_ONSETS = (
    "b", "bl", "br", "c", "ch", "cl", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h", "j", "k", "kl", "kn", "l",
    "m", "n", "p", "pl", "pr", "qu", "r", "s", "sch", "sh", "sk", "sl", "sn", "sp", "st", "t", "th", "tr", "v", "w", "z",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "i", "o", "ou", "ea", "ai", "oo", "ee", "y")
_CODAS = ("", "", "", "b", "ck", "d", "ff", "g", "l", "m", "n", "nd", "nk", "p", "r", "rt", "s", "sh", "st", "t", "x")


def pseudo_word(rng: random.Random) -> str:
    """An invented word, so that unknown words do not look like a command."""
    count = rng.choice((1, 2, 2, 2, 3))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(count))


_WORDS: list[str] = []


def _word_list() -> list[str]:
    if not _WORDS:
        slots = read_slots("oos_slots.txt")
        found = {
            word
            for slot in slots.values()
            for choice in slot.options[0]
            if isinstance(choice, Choice)
            for option in choice.options
            for word in "".join(str(part) for part in option).split()
        }
        found -= set((DATA / "domain_words.txt").read_text(encoding="utf-8").split())
        found |= set((DATA / "everyday_words.txt").read_text(encoding="utf-8").split())
        _WORDS.extend(sorted(found))
    return _WORDS


def everyday_word(rng: random.Random) -> str:
    """A random everyday word that has nothing to do with the tool."""
    return rng.choice(_word_list())


GENERATED = {"pseudo": pseudo_word, "rword": everyday_word}

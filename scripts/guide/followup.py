"""Reads the table of follow-up questions: which phrase means what after which answer."""

from __future__ import annotations

from grammar import Choice, lines, parse


class FollowUps:
    """Follow-up phrases, indexed by the intent of the turn before."""

    def __init__(self, intents: set[str]) -> None:
        self._intents = intents
        self._groups: dict[str, set[str]] = {}
        self.after: dict[str, list[tuple[str, list[Choice]]]] = {}
        target, previous = "", set()
        for line in lines("followups.txt"):
            if line.startswith("group "):
                name, _, members = line[6:].partition("=")
                self._groups[name.strip()] = self._known(set(members.split()))
            elif " > " in line and not set("({|") & set(line):
                left, _, target = (part.strip() for part in line.partition(" > "))
                previous = self._members(left) - {target}
                self._known({target})
                for intent in previous:
                    self.after.setdefault(intent, []).append((target, []))
            else:
                self._add(previous, line)

    def _known(self, names: set[str]) -> set[str]:
        if names - self._intents:
            raise ValueError(f"unknown intents in followups.txt: {sorted(names - self._intents)}")
        return names

    def _members(self, text: str) -> set[str]:
        found: set[str] = set()
        for name in text.split(","):
            name = name.removeprefix("@")
            found |= self._groups.get(name, {name})
        return self._known(found)

    def _add(self, previous: set[str], line: str) -> None:
        options = parse(line).options
        phrases = [Choice([option]) for option in options]
        for intent in previous:
            self.after[intent][-1][1].extend(phrases)

"""Where in a text calls may begin: at a marker, or at a bracket that has no text before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


def overlap(text: str, marker: str) -> int:
    """How many characters at the end of `text` are the beginning of `marker`, without being all of it."""
    longest = min(len(text), len(marker) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(marker[:size])), 0)


def first_marker(text: str, markers: Iterable[str]) -> tuple[int, int] | None:
    """From where to where the first of `markers` stands in `text`."""
    found = [(start, start + len(marker)) for marker in markers if (start := text.find(marker)) >= 0]
    return min(found, default=None)


@dataclass(frozen=True)
class Openings:
    """What calls begin with. No marker may be contained in another one."""

    markers: tuple[str, ...] = ()
    brackets: str = ""  # characters that may begin a call where no text is before them
    is_by_line: bool = False  # no text in the same line is enough

    def find(self, text: str, is_beginning: bool) -> tuple[int, int] | None:
        """From where to where the first opening stands; the bracket itself belongs to the call.

        `is_beginning`: there is no text before `text`.
        """
        found = [place for place in (first_marker(text, self.markers), self._bracket(text, is_beginning)) if place]
        return min(found, default=None)

    def held(self, text: str) -> int:
        """How many characters at the end of `text`, in which there is no opening, may belong to one: with blanks before it."""
        partial = max((overlap(text, marker) for marker in self.markers), default=0)
        return len(text) - len(text[: len(text) - partial].rstrip())

    def _bracket(self, text: str, is_beginning: bool) -> tuple[int, int] | None:
        place = self._next_bracket(text, 0)
        while place is not None:
            line = text.rfind("\n", 0, place) + 1 if self.is_by_line else 0
            if (line or is_beginning) and not text[line:place].strip():
                return place, place
            place = self._next_bracket(text, place + 1)
        return None

    def _next_bracket(self, text: str, start: int) -> int | None:
        places = (text.find(bracket, start) for bracket in self.brackets)
        return min((place for place in places if place >= 0), default=None)

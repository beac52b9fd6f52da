"""Stop sequences in a stream of text: the text before the first one is let through, the rest is not.

Text that may be the beginning of a stop sequence is held back until that is decided, so a sequence that is cut
across tokens is found and never shown in part.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopSequences:
    """State machine over the text of one answer."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""
        self.matched: str | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether one was found; nothing comes out any more."""
        return self.matched is not None

    def add(self, text: str) -> str:
        """Text that may be shown now. After a match, `matched`, nothing more comes out."""
        if self.is_stopped or not self._sequences:
            return "" if self.is_stopped else text
        text = self._held + text
        found = [(start + len(s), start, s) for s in self._sequences if (start := text.find(s)) >= 0]
        if found:  # the one that was complete first, so that it does not matter how the text was cut
            _, start, self.matched = min(found)
            self._held = ""
            return text[:start]
        keep = max(_overlap(text, sequence) for sequence in self._sequences)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, when the answer ends without a stop sequence."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, sequence: str) -> int:
    """Length of the longest end of `text` that is a beginning of `sequence`, but not all of it."""
    for length in range(min(len(text), len(sequence) - 1), 0, -1):
        if text.endswith(sequence[:length]):
            return length
    return 0

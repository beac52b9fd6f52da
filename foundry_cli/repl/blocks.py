"""Cuts growing Markdown into blocks that can be shown one by one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a block is. An item is one entry of a list; code is one line of it."""

    BLANK = auto()
    PARAGRAPH = auto()
    HEADING = auto()
    ITEM = auto()
    QUOTE = auto()
    TABLE = auto()
    RULE = auto()
    FENCE = auto()
    FENCE_END = auto()
    CODE = auto()


@dataclass(frozen=True)
class Block:
    """Some lines of Markdown that belong together."""

    kind: Kind
    lines: tuple[str, ...]


ITEM = re.compile(r"(\s*)([-*+]|\d{1,9}[.)])\s+(.*)")
FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*([^`]*)")
_PATTERNS = (  # in this order: `* * *` is a rule, not an item
    (Kind.BLANK, re.compile(r"\s*")),
    (Kind.FENCE, FENCE),
    (Kind.HEADING, re.compile(r" {0,3}#{1,6}(\s.*)?")),
    (Kind.RULE, re.compile(r" {0,3}([-*_])(\s*\1){2,}\s*")),
    (Kind.ITEM, ITEM),
    (Kind.QUOTE, re.compile(r"\s*>.*")),
    (Kind.TABLE, re.compile(r"\s*\|.*")),
)
_JOINS = (  # the open block, and the line that belongs to it
    (Kind.PARAGRAPH, Kind.PARAGRAPH),
    (Kind.ITEM, Kind.PARAGRAPH),
    (Kind.QUOTE, Kind.QUOTE),
    (Kind.TABLE, Kind.TABLE),
)
_GROWING = (Kind.PARAGRAPH, Kind.ITEM, Kind.QUOTE, Kind.TABLE)


class BlockSplitter:
    """Takes whole lines and gives blocks, each as soon as it is complete."""

    def __init__(self) -> None:
        self.open: list[str] = []
        """Lines of the block that may still grow."""
        self._kind = Kind.BLANK
        self._fence: str | None = None
        self._is_in_list = False

    def add(self, line: str) -> list[Block]:
        """The blocks that are complete after one more line."""
        if self._fence is not None:
            return [self._code(line)]
        kind = self._classify(line)
        if self.open and self._belongs(kind, line):
            self.open.append(line)
            return []
        done = self.finish()
        self._follow_list(kind, line)
        if kind in _GROWING:
            self.open, self._kind = [line], kind
            return done
        if kind is Kind.FENCE and (match := FENCE.fullmatch(line)):
            self._fence = match[1]
        return [*done, Block(kind, (line,))]

    def finish(self) -> list[Block]:
        """The block that was still open, if any."""
        done = [Block(self._kind, tuple(self.open))] if self.open else []
        self.open = []
        return done

    def _belongs(self, kind: Kind, line: str) -> bool:
        """Whether a line continues the open block."""
        is_same_level = (
            kind is not Kind.PARAGRAPH or self._kind is Kind.ITEM or line[:1].isspace() == self.open[0][:1].isspace()
        )
        return (self._kind, kind) in _JOINS and is_same_level

    def _code(self, line: str) -> Block:
        assert self._fence is not None
        bare = line.strip()
        if len(bare) >= len(self._fence) and set(bare) == {self._fence[0]}:
            self._fence = None
            return Block(Kind.FENCE_END, (line,))
        return Block(Kind.CODE, (line,))

    def _classify(self, line: str) -> Kind:
        kind = next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(line)), Kind.PARAGRAPH)
        is_indented = line.startswith(("    ", "\t")) and not self._is_in_list and not self.open
        return Kind.CODE if is_indented and kind is not Kind.BLANK else kind

    def _follow_list(self, kind: Kind, line: str) -> None:
        if kind is Kind.ITEM:
            self._is_in_list = True
        elif kind is not Kind.BLANK and not line.startswith((" ", "\t")):
            self._is_in_list = False

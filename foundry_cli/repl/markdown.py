"""Shows an answer as Markdown while it arrives.

Text appears at once, as it is; a block that is complete is put in its place, rendered. Only text that is still on the
screen is ever replaced: a block that is taller than the screen, or stands in a window that was resized, stays as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement, TableElement
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from foundry_cli.repl.blocks import FENCE, ITEM, Block, BlockSplitter, Kind
from foundry_cli.repl.live_region import LiveRegion
from foundry_cli.repl.style import CODE_THEME

# What makes text disappear is off, and so are entities: they could hide control characters from the sanitizer.
_LOSSY = ["html_block", "html_inline", "reference", "image", "escape", "entity", "code", "lheading"]
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable(_LOSSY)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_REMEMBERED_LINES = 100  # of code, for a highlighter that knows of strings and comments over several lines


class MarkdownAnswer:
    """One answer on a terminal. Methods take clean text, and return what must be written."""

    def __init__(self, console: Console, prefix: str) -> None:
        self._console = console
        self._live = LiveRegion(lambda: (console.width, console.height))
        self._splitter = BlockSplitter()
        self._prefix = prefix  # until it has been shown for good
        self._line = ""
        self._code = _Code("")
        self._is_plain = False  # the open block cannot be taken back any more
        self.ends_blank = False
        """Whether the last line so far is an empty one."""

    def disturb(self) -> None:
        """The window has been resized, or something else written to it. May be called from a signal handler."""
        self._live.disturb()

    def begin(self) -> str:
        """What stands before the answer."""
        return self._live.add(self._prefix)

    def add(self, text: str) -> str:
        """The next piece."""
        *lines, rest = text.split("\n")
        out = [self._end_line(line) for line in lines]
        return "".join([*out, self._grow(rest)])

    def finish(self) -> str:
        """The end; the cursor is then in the first column."""
        blocks = [*(self._splitter.add(self._line) if self._line else []), *self._splitter.finish()]
        return self._settle(blocks, "" if self._live.is_at_line_start else "\n")

    def _grow(self, text: str) -> str:
        self._line += text
        return self._live.add(text)

    def _end_line(self, text: str) -> str:
        shown = self._grow(text)
        line, self._line = self._line, ""
        return shown + self._settle(self._splitter.add(line), "\n")

    def _settle(self, blocks: list[Block], line_end: str) -> str:
        """Replace what is shown by the finished blocks and what is still open; or leave it, where that cannot be."""
        if blocks and not self._is_plain and (taken_back := self._live.take_back()) is not None:
            rendered = "".join(map(self._render, blocks))
            return taken_back + rendered + self._live.add("".join(f"{line}\n" for line in self._splitter.open))
        out = self._live.add(line_end)
        if blocks:
            self._prefix = ""
            self.ends_blank = blocks[-1].kind is Kind.BLANK
            self._is_plain = bool(self._splitter.open)
            if not self._is_plain:
                self._live.restart()
        return out

    def _render(self, block: Block) -> str:
        if block.kind is Kind.BLANK:
            out = "" if self.ends_blank else "\n"
            self.ends_blank = True
            return out
        self.ends_blank = False
        prefix, self._prefix = self._prefix, ""
        if block.kind is Kind.FENCE:
            self._code = _Code(_language(block))
        if prefix and block.kind in (Kind.PARAGRAPH, Kind.HEADING):
            block, prefix = _with_prefix(block, prefix), ""
        with self._console.capture() as capture:
            if prefix:
                self._console.print(prefix.rstrip())
            self._console.print(self._renderable(block), soft_wrap=block.kind is Kind.CODE)
        lines = [_without_padding(line) for line in capture.get().removesuffix("\n").split("\n")]
        if block.kind is not Kind.CODE:  # rich puts empty lines around tables and quotes; those of the answer are enough
            lines = _without_empty_ends(lines)
        return "".join(f"{line}\n" for line in lines)

    def _renderable(self, block: Block) -> RenderableType:
        line = block.lines[0]
        if block.kind is Kind.CODE:
            return self._code.highlight(line)
        if block.kind is Kind.FENCE:
            return Rule(_language(block), align="left", style="note", characters="─")
        if block.kind in (Kind.FENCE_END, Kind.RULE):
            self._code = _Code("")
            return Rule(style="note", characters="─")
        indent = min(len(line) - len(line.lstrip()), self._console.width // 3)
        content = _item(block) if block.kind is Kind.ITEM else _ChatMarkdown("\n".join(text.strip() for text in block.lines))
        return Padding(content, (0, 0, 0, indent))


class _Heading(Heading):
    """A heading at the left, without a frame."""

    LEVEL_ALIGN: ClassVar = {}


class _Table(TableElement):
    """A table whose cells wrap, so that nothing is cut off."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            for column in part.columns if isinstance(part, Table) else ():
                column.overflow = "fold"
            yield part


class _ChatMarkdown(Markdown):
    """Markdown that keeps line breaks, shows addresses of links, and loses nothing."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": _Heading, "table_open": _Table}

    def __init__(self, text: str) -> None:
        super().__init__("", justify="default")
        self.parsed = _PARSER.parse(text)
        for token in self.parsed:
            token.children = list(_plain_tokens(token.children)) if token.children else token.children


class _Code:
    """Lines of code, highlighted one after the other."""

    def __init__(self, language: str) -> None:
        self._syntax = Syntax("", language or "text", theme=CODE_THEME, background_color="default")
        self._lines: list[str] = []

    def highlight(self, line: str) -> Text:
        """The next line."""
        self._lines = [*self._lines[-_REMEMBERED_LINES:], line]
        highlighted = self._syntax.highlight("\n".join(self._lines)).split("\n", allow_blank=True)
        return highlighted[len(self._lines) - 1]


def _plain_tokens(tokens: list[Token]) -> Iterator[Token]:
    """Inline tokens with line breaks kept, and links written as text and address."""
    address = written = ""
    for token in tokens:
        if token.type == "link_open":
            address, written = str(token.attrs.get("href", "")), ""
        elif token.type == "link_close":
            if address != written:
                yield Token("text", "", 0, content=f" ({address})")
        else:
            written += token.content
            if token.type == "softbreak":
                token.type = "hardbreak"
            yield token


def _item(block: Block) -> Table:
    match = ITEM.fullmatch(block.lines[0])
    assert match is not None
    marker = "•" if match[2] in "-*+" else match[2]
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="markdown.item.bullet", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(marker, _ChatMarkdown("\n".join([match[3], *(line.strip() for line in block.lines[1:])])))
    return grid


def _language(block: Block) -> str:
    match = FENCE.fullmatch(block.lines[0])
    return (match[2].split() or [""])[0] if match else ""


def _with_prefix(block: Block, prefix: str) -> Block:
    """`block` with `prefix` before its text, behind the marks of a heading."""
    first, *others = block.lines
    marks = re.match(r"\s*#{1,6}\s" if block.kind is Kind.HEADING else r"\s*", first)
    text = first[marks.end() :] if marks else first
    start = marks[0] if marks and block.kind is Kind.HEADING else ""
    return Block(block.kind, (f"{start}{prefix}{text}", *others))


def _without_empty_ends(lines: list[str]) -> list[str]:
    full = [index for index, line in enumerate(lines) if _ESCAPES.sub("", line)]
    return lines[full[0] : full[-1] + 1] if full else []


def _without_padding(line: str) -> str:
    """A rendered line without the blanks at its end, which would wrap in a narrower window."""
    return re.sub(rf"(?: |{_ESCAPES.pattern})+$", lambda match: match[0].replace(" ", ""), line)

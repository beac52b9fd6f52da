"""Everything the chat shows, except the prompt."""

from __future__ import annotations

import os
import sys
import textwrap
from contextlib import suppress
from typing import Protocol, TextIO

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from foundry_cli.errors import FoundryError
from foundry_cli.repl.live_region import LiveRegion
from foundry_cli.repl.sanitizer import Sanitizer, encodable, sanitize
from foundry_cli.repl.style import ANSWER_STYLE

__all__ = ["Printer", "TerminalGoneError", "console_for", "sanitize"]

_THINKING = "🧠 Thinking..."
_THOUGHT = "🧠 "
_ANSWER = "🤖 "
_NARROWEST_COLUMN = 30
_NARROWEST_WINDOW = 16  # for Markdown: bullets and indentation take their part


class TerminalGoneError(Exception):
    """Nothing can be written any more: the window was closed."""


class _AnswerView(Protocol):
    """How an answer is shown; methods return what must be written."""

    ends_blank: bool

    def disturb(self) -> None: ...
    def begin(self) -> str: ...
    def add(self, text: str) -> str: ...
    def finish(self) -> str: ...


class _PlainAnswer:
    """An answer as it comes; on a terminal broken between words."""

    def __init__(self, prefix: str, region: LiveRegion | None) -> None:
        self._prefix = prefix
        self._region = region
        self._last = prefix
        self.ends_blank = False

    def disturb(self) -> None:
        """The window has been resized, or something else written to it."""
        if self._region is not None:
            self._region.disturb()

    def begin(self) -> str:
        return self._placed(self._prefix)

    def add(self, text: str) -> str:
        self._last = (self._last + text)[-2:]
        return self._placed(text)

    def _placed(self, text: str) -> str:
        return text if self._region is None else self._region.add(text)

    def finish(self) -> str:
        self.ends_blank = self._last == "\n\n"
        return "" if self._last.endswith("\n") else "\n"


def console_for(stream: TextIO) -> Console:
    """A console on `stream`, which is a terminal only if it really is one, whatever the environment says."""
    is_terminal = None if stream.isatty() else False
    return Console(
        file=stream,
        force_terminal=is_terminal,
        highlight=False,
        emoji=False,
        markup=False,
        theme=Theme(ANSWER_STYLE),
        _environ=_environment(stream),
    )


def _environment(stream: TextIO) -> dict[str, str]:
    """Without the size of the window where that can be asked for: COLUMNS is as old as the shell."""
    variables = dict(os.environ)
    with suppress(OSError, ValueError):
        if os.get_terminal_size(stream.fileno()).columns > 0:
            variables.pop("COLUMNS", None)
            variables.pop("LINES", None)
    return variables


class Printer:
    """Writes to the console. Foreign text loses its control characters here, and what the encoding cannot write.

    With colours, answers are shown as Markdown; without (`NO_COLOR`, a dumb terminal, a file) as the text they
    are, broken between words on a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        has_colors = console.color_system is not None and not console.no_color and not console.legacy_windows
        self._is_rich = (
            console.is_terminal and not console.is_dumb_terminal and has_colors and console.encoding.startswith("utf")
        )
        self._sanitizer = Sanitizer()
        self._thought: _PlainAnswer | None = None
        self._view: _AnswerView | None = None
        self._waiting = ""  # shown until the answer begins

    @classmethod
    def for_stdout(cls) -> Printer:
        """The printer on standard output."""
        return cls(console_for(sys.stdout))

    def line(self, text: str = "", style: str = "") -> None:
        """A line, or more."""
        text = self._wrap(sanitize(text))
        if self._is_rich and style:
            with self._console.capture() as capture:
                self._console.print(Text(text, style=style), soft_wrap=True)
            self._write(capture.get())
        else:
            self._write(f"{text}\n")

    def pairs(self, rows: list[tuple[str, str]]) -> None:
        """Two columns; the second one wraps, or goes below the first where the window is narrow."""
        left = max(len(first) for first, _ in rows)
        width = self._size()[0] if self._console.is_terminal else sys.maxsize
        is_narrow = width - left < _NARROWEST_COLUMN
        for first, second in rows:
            start = f"  {first}\n      " if is_narrow else f"  {first:<{left}}  "
            self.line(start + _wrapped(second, width, indent=6 if is_narrow else left + 4))

    def note(self, text: str) -> None:
        """A line beside the conversation."""
        self.line(text, "note")

    def error(self, error: FoundryError) -> None:
        """What went wrong, and what to do about it."""
        self.line(f"Exception: {_one_line(error.message)}", "error")
        if error.hint:
            self.note(_one_line(error.hint))

    def wait(self, text: str = _THINKING) -> None:
        """Say that work is going on, until the answer begins or `end_wait`; only on a terminal."""
        text = encodable(text, self._console.encoding).strip()
        if self._console.is_terminal and cell_len(text) < self._size()[0]:
            self._waiting = text
            self._write(text)

    def end_wait(self) -> None:
        """Take back what `wait` showed."""
        if self._waiting:
            self._write(f"\r{' ' * cell_len(self._waiting)}\r")
        self._waiting = ""

    @property
    def is_answering(self) -> bool:
        """Whether a part of an answer, or of a thought, has been shown."""
        return self._view is not None or self._thought is not None

    def disturb(self) -> None:
        """The window has been resized, or something else written to it. May be called from a signal handler."""
        for view in (self._view, self._thought):
            if view is not None:
                view.disturb()

    def thought(self, text: str) -> None:
        """A piece of what the model thinks before it answers, shown at once; only on a terminal."""
        if not self._console.is_terminal:
            return
        text = self._sanitizer.feed(text)
        if self._thought is None:
            text = text.lstrip()
            if not text:
                return
            self.end_wait()
            self._thought = self._plain_answer(_THOUGHT)
            self._write(self._thought.begin())
        self._write(self._dimmed(self._thought.add(text)))

    def _end_thought(self) -> None:
        """Leave an empty line below what the model thought."""
        if self._thought is not None:
            self._write(self._thought.finish())
            self._write("" if self._thought.ends_blank else "\n")
            self._thought = None
            self._sanitizer = Sanitizer()

    def _dimmed(self, text: str) -> str:
        return self._console.get_style("note").render(text, color_system=ColorSystem.STANDARD) if self._is_rich else text

    def answer(self, text: str) -> None:
        """A piece of the answer, shown at once."""
        text = self._sanitizer.feed(text)
        if self._view is None:
            text = text.lstrip()
            if not text:
                return
            self.end_wait()
            self._end_thought()
            self._view = self._new_view()
            self._write(self._view.begin())
        self._write(self._view.add(text))

    def end_answer(self, *notes: str) -> None:
        """The end of the answer, and an empty line; notes stand between them."""
        self.end_wait()
        self._end_thought()
        view, self._view = self._view, None
        self._sanitizer = Sanitizer()
        if view is not None:
            self._write(view.finish())
        for note in notes:
            self.note(note)
        if notes or (view is not None and not view.ends_blank):
            self._write("\n")

    def _wrap(self, text: str) -> str:
        if not self._console.is_terminal:
            return text
        return "\n".join(_wrapped(line, self._size()[0]) for line in text.split("\n"))

    def _new_view(self) -> _AnswerView:
        if not self._is_rich or self._console.width < _NARROWEST_WINDOW:
            return self._plain_answer(_ANSWER)
        from foundry_cli.repl.markdown import MarkdownAnswer  # with its parser and lexers not needed for plain text

        return MarkdownAnswer(self._console, _ANSWER)

    def _plain_answer(self, prefix: str) -> _PlainAnswer:
        is_dumb = self._console.is_dumb_terminal or self._console.legacy_windows
        region = LiveRegion(self._size, is_dumb=is_dumb) if self._console.is_terminal else None
        return _PlainAnswer(_symbol(prefix, self._console.encoding), region)

    def _size(self) -> tuple[int, int]:
        """Columns and rows; rich takes a dumb terminal for one of 80 columns, whatever its width."""
        with suppress(OSError, ValueError):
            columns, rows = os.get_terminal_size(self._console.file.fileno())
            if columns:
                return columns, rows
        return self._console.width, self._console.height

    def _write(self, text: str) -> None:
        try:
            self._console.file.write(encodable(text, self._console.encoding))
            self._console.file.flush()
        except OSError as error:
            raise TerminalGoneError from error


def _symbol(text: str, encoding: str) -> str:
    return text if encodable(text, encoding) == text else ""


def _wrapped(text: str, width: int, indent: int = 0) -> str:
    """A line broken between words; what continues it stands behind `indent` blanks. Long words stay whole."""
    if indent + cell_len(text) <= width:
        return text
    space = max(width - indent, _NARROWEST_COLUMN // 3)
    lines = textwrap.wrap(text, space, replace_whitespace=False, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * indent}".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())

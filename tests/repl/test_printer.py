"""What reaches the terminal."""

from __future__ import annotations

import io
import os
import struct
import sys

import pytest
from rich.console import Console

from foundry_cli.errors import FoundryError
from foundry_cli.repl.printer import Printer, TerminalGoneError, console_for


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of POSIX")
def test_the_window_counts_and_not_what_the_shell_remembers_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import pty
    import termios

    monkeypatch.setenv("COLUMNS", "132")
    monkeypatch.setenv("LINES", "9")
    main, terminal = pty.openpty()
    with os.fdopen(main, "rb"), os.fdopen(terminal, "w") as stream:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        assert console_for(stream).width != 132
    assert console_for(io.StringIO()).width == 132


def answer(printer: Printer, *pieces: str) -> None:
    printer.wait()
    for piece in pieces:
        printer.answer(piece)
    printer.end_answer()


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_answer_replaces_thinking() -> None:
    stream = Terminal()
    answer(Printer(console_for(stream)), " \n", "one **two**")
    assert stream.text.startswith("🧠 Thinking...\r" + " " * 14 + "\r🤖 one **two**")
    assert stream.text.endswith("\x1b[J🤖 one \x1b[1mtwo\x1b[0m\n\n")


def _think_and_answer(stream: Terminal | io.StringIO, *thoughts: str) -> None:
    printer = Printer(console_for(stream))
    printer.wait()
    for thought in thoughts:
        printer.thought(thought)
    printer.answer("\n\nSo.")
    printer.end_answer()


def test_thoughts_stand_dim_above_the_answer() -> None:
    stream = Terminal()
    _think_and_answer(stream, "\n", "One \x1b[31m", "two.\n")
    assert stream.text.startswith("🧠 Thinking...\r" + " " * 14 + "\r🧠 \x1b[2mOne \x1b[0m\x1b[2mtwo.")
    assert "two.\n\x1b[0m\n🤖 So." in stream.text
    assert "\x1b[31m" not in stream.text


def test_thoughts_on_a_plain_terminal_and_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        _think_and_answer(stream, "One ", "two.")
    assert terminal.text.endswith("\r🧠 One two.\n\n🤖 So.\n\n")
    assert file.getvalue() == "🤖 So.\n\n"


def test_thoughts_without_an_answer_end_with_an_empty_line() -> None:
    stream = Terminal()
    printer = Printer(console_for(stream))
    printer.thought("Hm")
    assert printer.is_answering
    printer.end_answer("Cancelled.")
    assert stream.text.startswith("🧠 \x1b[2mHm\x1b[0m\n\n")
    assert not printer.is_answering


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_plain_terminals_get_plain_text(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    stream = Terminal()
    printer = Printer(console_for(stream))
    answer(printer, "one **two**\x1b[31m", " three")
    printer.error(FoundryError("It \x1b[2Jfailed\nhere.", hint="Do that."))
    assert "\x1b" not in stream.text
    assert stream.text.endswith("\r🤖 one **two** three\n\nException: It failed here.\nDo that.\n")


def test_a_file_gets_the_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    answer(Printer(console_for(stream)), "one **two**\n\n")
    assert stream.getvalue() == "🤖 one **two**\n\n"


@pytest.mark.parametrize("encoding", ["cp437", "latin-1", "ascii"])
def test_a_code_page_without_emoji(encoding: str) -> None:
    stream = Terminal(encoding)
    answer(Printer(console_for(stream)), "done 😀 \ud83d **now**")
    assert stream.text == "Thinking...\r" + " " * 11 + "\rdone   **now**\n\n"


def test_notes_stand_below_the_answer() -> None:
    stream = io.StringIO()
    printer = Printer(console_for(stream))
    printer.answer("text")
    printer.end_answer("Cancelled.")
    printer.end_answer()
    assert stream.getvalue() == "🤖 text\nCancelled.\n\n"


def test_an_escape_sequence_does_not_reach_into_the_next_answer() -> None:
    stream = io.StringIO()
    printer = Printer(console_for(stream))
    answer(printer, "a\x1b]0;")
    answer(printer, "b")
    assert stream.getvalue() == "🤖 a\n\n🤖 b\n\n"


@pytest.mark.parametrize(
    ("width", "explanation", "text"),
    [
        (60, "a text that explains it", "  name  a text that explains it\n  long  short\n"),
        (36, "a text in two rows that is longer", "  name  a text in two rows that is\n        longer\n"),
        (20, "a text that explains it", "  name\n      a text that\n      explains it\n  long\n      short\n"),
    ],
)
def test_columns_fit_the_window(width: int, explanation: str, text: str) -> None:
    stream = Terminal()
    console = Console(file=stream, width=width, legacy_windows=False)
    Printer(console).pairs([("name", explanation), ("long", "short")])
    assert stream.text.startswith(text)
    assert max(map(len, stream.text.split("\n"))) <= width


def test_a_closed_window_is_an_error_of_its_own() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    with pytest.raises(TerminalGoneError):
        Printer(console_for(Closed())).line("x")

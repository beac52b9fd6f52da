"""How a download shows itself."""

from __future__ import annotations

import io
import os
import re
import struct
import sys

import pytest

from foundry_cli.cli.progress import DownloadProgress, _bar_format, _rate
from foundry_cli.store.transfer import Progress

_MIB = 1 << 20
_LINE = re.compile(r" *\d+\.\d\d % \[Time remaining: about (\?|\d+[smh])\] +\d+\.\d MB/s")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _reports(stream: io.StringIO, *done: int, total: int = 100 * _MIB) -> str:
    with DownloadProgress(stream) as progress:
        for count in done:
            progress(Progress(count, total, "model.onnx", done[0]))
    return stream.getvalue()


def test_in_a_file_there_is_one_line_for_every_five_percent() -> None:
    text = _reports(io.StringIO(), *(percent * _MIB for percent in range(101)))
    lines = text.splitlines()
    assert [float(line.split()[0]) for line in lines] == [float(percent) for percent in range(0, 101, 5)]
    assert all(_LINE.fullmatch(line) for line in lines)


def test_a_transfer_that_goes_on_begins_where_it_was() -> None:
    lines = _reports(io.StringIO(), 43 * _MIB, 44 * _MIB, 100 * _MIB).splitlines()
    assert [line.split()[0] for line in lines] == ["43.00", "100.00"]


def test_an_empty_model_is_complete() -> None:
    assert _reports(io.StringIO(), 0, total=0).startswith("100.00 %")


def test_on_a_terminal_it_is_a_bar_of_36_characters() -> None:
    text = _reports(_Terminal(), 0, 50 * _MIB, 100 * _MIB)
    last = text.replace("\r", "\n").strip().splitlines()[-1]
    assert re.fullmatch(r"\[#{36}\] 100\.00 % \[Time remaining: about 0s\] +\d+\.\d MB/s", last)


def test_a_note_is_said_once() -> None:
    stream = io.StringIO()
    with DownloadProgress(stream) as progress:
        for _ in range(3):
            progress(Progress(0, 100, "", 0, note="another process is downloading this model"))
    assert stream.getvalue().count("Another process is downloading this model\n") == 1


@pytest.mark.parametrize("columns", [200, 96, 80, 60, 40, 20])
def test_the_line_fits_the_terminal_and_keeps_its_numbers(columns: int) -> None:
    form = _bar_format(columns)
    bar = re.search(r"{bar:(\d+)}", form)
    width = int(bar[1]) + 3 if bar else 0
    line = re.sub(r"\[{bar:\d+}\] ", "", form).format(percentage=99.994, remaining_about="59s", rate_text="1234.5 MB/s")
    assert "99.99 %" in line
    assert width + len(line) <= columns
    assert ("MB/s" in line) == (columns >= 60)
    assert (width == 39) == (columns >= 96)


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0.0 MB/s"), (20_000, "19.5 KB/s"), (60_000, "0.1 MB/s"), (3e9, "2861.0 MB/s")],
)
def test_a_slow_download_has_a_speed_other_than_zero(rate: float, text: str) -> None:
    assert _rate(rate) == text


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of POSIX")
def test_the_bar_follows_the_window() -> None:
    import fcntl
    import pty
    import termios

    main, terminal = pty.openpty()
    with os.fdopen(main, "rb", buffering=0) as screen, os.fdopen(terminal, "w") as stream:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        with DownloadProgress(stream) as progress:
            progress(Progress(0, 100 * _MIB, "", 0))
            assert b"[" in screen.read(1000)
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
            progress(Progress(100 * _MIB, 100 * _MIB, "", 0))
        assert screen.read(1000).replace(b"\r", b"").strip() == b"100.00 %"

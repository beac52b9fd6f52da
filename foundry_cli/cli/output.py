"""The one place that prints: results to standard output, as text or JSON; everything else to standard error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, TextIO


class Format(str, Enum):
    """Values of `--output`."""

    text = "text"
    json = "json"

    def __str__(self) -> str:
        """The value, as it is typed."""
        return self.value


def prepare_streams() -> None:
    """Never fail on a stream that is closed, nor on a character that the terminal's code page lacks (shown as `?`)."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, hence this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115 - as long as the process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def symbol(text: str, stream: TextIO | None = None) -> str:
    """`text` (an emoji, usually with a blank) where the stream can show it, nothing elsewhere."""
    encoding = (stream or sys.stdout).encoding or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ""
    return text


def shown(text: str, stream: TextIO) -> str:
    """`text` as it goes to `stream`: on a terminal without what would act on it, as names of files and models may."""
    if text.isprintable() or not stream.isatty():
        return text
    from foundry_cli.repl.sanitizer import sanitize

    return sanitize(text)


def line(text: str = "") -> None:
    """A line of the result."""
    print(shown(text, sys.stdout))  # noqa: T201


def note(text: str) -> None:
    """A line about what is going on; never part of the result."""
    print(shown(text, sys.stderr), file=sys.stderr)  # noqa: T201


def document(value: Any) -> None:
    """The result as JSON."""
    line(json.dumps(value, indent=2, ensure_ascii=False))


def record(value: Any) -> None:
    """The result as JSON on one line, for programs that read line by line."""
    line(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def flush() -> None:
    """Show what has been printed so far."""
    with contextlib.suppress(ValueError):
        sys.stdout.flush()


def gigabytes(size: int) -> str:
    """A size as the tables show it: GB with two decimals."""
    return f"{size / (1 << 30):.2f} GB"


Say = Callable[[str], None]
"""Where a command reports its progress: `line` or `note`."""

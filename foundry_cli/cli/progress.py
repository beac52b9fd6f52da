"""The progress of a download: a bar in the original's form on a terminal, one line for every five percent elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from foundry_cli.store.transfer import Progress

_STEP = 5  # percent
_FORM = "{percentage:.2f} % [Time remaining: about {remaining_about}]"
_BAR, _RATE = 36, 17  # columns, as in the original
_NARROWEST_BAR = 6
_FORM_COLUMNS = 37  # of `_FORM` with "100.00" and "59s", and some air
_MIB = 1 << 20


class DownloadProgress:
    """Shows what a transfer reports; used as a context manager, and called with every report, from any thread."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._first: int | None = None
        self._shown = -_STEP
        self._note = ""
        self._bar: Any = None
        self._is_terminal = self._stream.isatty()

    def __enter__(self) -> DownloadProgress:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __call__(self, progress: Progress) -> None:
        """Show `progress`."""
        with self._lock:
            if self._first is None:
                self._first = progress.done
            if progress.note and progress.note != self._note:
                self._say(progress.note[0].upper() + progress.note[1:])
            self._note = progress.note
            if self._is_terminal:
                self._draw(progress)
            else:
                self._print(progress)

    def check(self, done: int, total: int) -> None:
        """Show how many bytes of files that are here have been read; the end of that is the end of the bar."""
        from foundry_cli.store.transfer import Progress

        self(Progress(done, total, "", done, note="checking the files"))
        if done >= total:
            with self._lock:
                self._close()

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = _new_bar(progress, self._stream)
        self._bar.total = progress.total
        self._bar.update(progress.done - self._bar.n)

    def _print(self, progress: Progress) -> None:
        percent = 100 * progress.done / progress.total if progress.total else 100.0
        if percent < self._shown + _STEP and not (progress.done >= progress.total and self._shown < 100):
            return
        self._shown = int(percent // _STEP * _STEP)
        seconds = max(time.monotonic() - self._began, 1e-6)
        rate = (progress.done - (self._first or 0)) / seconds
        remaining = _duration((progress.total - progress.done) / rate if rate else None)
        text = f"{percent:6.2f} % [Time remaining: about {remaining}] {_rate(rate):>15}"
        self._stream.write(text + "\n")
        self._stream.flush()


def _new_bar(progress: Progress, stream: TextIO) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        @property
        def format_dict(self) -> dict[str, Any]:
            fields = super().format_dict
            rate = fields["rate"] or (fields["n"] - fields["initial"]) / max(fields["elapsed"], 1e-6)
            rest = (fields["total"] or 0) - fields["n"]
            left = rest / rate if rate else 0.0 if rest == 0 else None
            bar_format = _bar_format(_columns(stream))  # the window may have been resized
            return {**fields, "bar_format": bar_format, "remaining_about": _duration(left), "rate_text": _rate(rate)}

    return Bar(
        total=progress.total,
        initial=progress.done,
        file=stream,
        ascii=" #",
        mininterval=0.1,
        smoothing=0.1,
        dynamic_ncols=True,
        leave=True,
    )


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 120


def _bar_format(columns: int) -> str:
    """The line for a terminal of so many columns: the bar becomes shorter and goes before the numbers do."""
    rate = min(_RATE, max(columns - _FORM_COLUMNS - 1, 0))
    bar = min(_BAR, columns - _FORM_COLUMNS - _RATE - 3)
    form = f"{_FORM}{{rate_text:>{rate}}}" if rate >= 10 else "{percentage:.2f} %"
    return f"[{{bar:{bar}}}] {form}" if bar >= _NARROWEST_BAR else form


def _rate(bytes_per_second: float) -> str:
    """A speed in the original's unit; one that would be 0.0 there in a smaller one."""
    if 0 < bytes_per_second < 0.05 * _MIB:
        return f"{bytes_per_second / 1024:.1f} KB/s"
    return f"{bytes_per_second / _MIB:.1f} MB/s"


def _duration(seconds: float | None) -> str:
    """A time as people say it: `12s`, `5m`, `2h`; `?` when it is not known."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 5400 else f"{seconds / 3600:.0f}h"

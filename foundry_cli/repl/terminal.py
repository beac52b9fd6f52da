"""The terminal between two prompts: typed text waits unseen for the next one, and signals find everything in order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, TypeVar

from prompt_toolkit.application import Application, get_app_or_none

T = TypeVar("T")


class InterruptGate:
    """Lets Ctrl-C in only while the program waits: never in the middle of writing to the terminal."""

    def __init__(self) -> None:
        self._is_waiting = False
        self._is_pending = False
        self._previous: Any = None

    def __enter__(self) -> InterruptGate:
        if _is_main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def next(self, iterator: Iterator[T]) -> T | None:
        """The next item, or None at the end. Raises `KeyboardInterrupt`."""
        self._is_waiting = True
        try:
            if self._is_pending:
                raise KeyboardInterrupt
            return next(iterator, None)
        finally:
            self._is_waiting = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._is_pending = True
        if self._is_waiting:
            raise KeyboardInterrupt


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _leave(number: int, _frame: FrameType | None) -> None:
    exit_error = SystemExit(128 + number)
    app = get_app_or_none()
    if app is None or app.loop is None or not app.is_running:
        raise exit_error
    # A prompt must end by itself: raised in the middle of its event loop, the exception leaves it half shut down.
    app.loop.call_soon_threadsafe(_exit_prompt, app, exit_error)


def _exit_prompt(app: Application[Any], error: SystemExit) -> None:
    if not app.is_done:
        app.exit(exception=error)


if sys.platform == "win32":

    @contextmanager
    def quiet_terminal(descriptor: int) -> Iterator[None]:
        """As on other platforms."""
        yield

else:
    import termios

    _LOCAL_FLAGS = 3  # index in what tcgetattr returns

    @contextmanager
    def quiet_terminal(descriptor: int) -> Iterator[None]:
        """No echo and no line editing, so that what is typed early does not disturb the answer; signals still work.

        Whatever ends the block, and while the program is suspended, the terminal is as it was before.
        """
        if not os.isatty(descriptor):
            yield
            return
        before = termios.tcgetattr(descriptor)
        quiet = [*before]
        quiet[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)
        with ExitStack() as stack:
            stack.callback(_set, descriptor, before)
            _set(descriptor, quiet)
            if _is_main_thread():
                stack.enter_context(_handler(signal.SIGTERM, _leave))
                stack.enter_context(_suspension(descriptor, before))
            yield

    @contextmanager
    def _suspension(descriptor: int, before: list[Any]) -> Iterator[None]:
        def suspend(number: int, _frame: FrameType | None) -> None:
            current = termios.tcgetattr(descriptor)
            _set(descriptor, before)
            handler = signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)  # sleeps here until SIGCONT
            signal.signal(number, handler)
            _set(descriptor, current)
            os.kill(os.getpid(), signal.SIGWINCH)  # a prompt draws itself again

        with _handler(signal.SIGTSTP, suspend):
            yield

    @contextmanager
    def _handler(number: int, function: Any) -> Iterator[None]:
        previous = signal.signal(number, function)
        try:
            yield
        finally:
            signal.signal(number, previous)

    def _set(descriptor: int, attributes: list[Any]) -> None:
        try:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)
        except termios.error:  # the window has been closed
            return

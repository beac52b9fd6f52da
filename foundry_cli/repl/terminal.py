"""The terminal between two prompts: typed text waits unseen for the next one, and signals find everything in order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from prompt_toolkit.application import Application, get_app_or_none

T = TypeVar("T")


class InterruptGate:
    """Lets Ctrl-C in only while the program waits: never in the middle of writing to the terminal or of making a prompt."""

    def __init__(self) -> None:
        self._is_open = False
        self._is_pending = False
        self._previous: Any = None

    def __enter__(self) -> InterruptGate:
        if _is_main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def forget(self) -> None:
        """Nothing has been pressed so far."""
        self._is_pending = False

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Raise `KeyboardInterrupt` in the block for what is pressed in it, or has been pressed since `forget`."""
        self._is_open = True
        try:
            if self._is_pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_open = False

    def next(self, iterator: Iterator[T]) -> T | None:
        """The next item, or None at the end. Raises `KeyboardInterrupt`."""
        with self.opened():
            return next(iterator, None)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._is_pending = True
        if self._is_open:
            self._is_open = False  # once: what is done about it is not interrupted
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

    class Keyboard:
        """As on other platforms."""

        def __init__(self, descriptor: int | None = None) -> None:
            self.descriptor = descriptor

        @contextmanager
        def quiet(self) -> Iterator[None]:
            """As on other platforms."""
            yield

        @contextmanager
        def signals(self, on_change: Callable[[], None]) -> Iterator[None]:
            """As on other platforms."""
            yield

        def drop_keys(self) -> None:
            """As on other platforms."""

else:
    import termios

    _LOCAL_FLAGS = 3  # index in what tcgetattr returns

    class Keyboard:
        """The terminal's keys while no prompt reads them; with no terminal nothing is done."""

        def __init__(self, descriptor: int | None = None) -> None:
            self.descriptor = descriptor if descriptor is not None and os.isatty(descriptor) else None

        @contextmanager
        def quiet(self) -> Iterator[None]:
            """No echo, no line editing and no signals: what is typed early disturbs nothing and waits for the next prompt.

            Whatever ends the block, and while the program is suspended, the terminal is as it was before.
            """
            if self.descriptor is None:
                yield
                return
            before = termios.tcgetattr(self.descriptor)
            quiet = [*before]
            quiet[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
            with ExitStack() as stack:
                stack.callback(_set, self.descriptor, before)
                _set(self.descriptor, quiet)
                if _is_main_thread():
                    stack.enter_context(_handler(signal.SIGTERM, _leave))
                    stack.enter_context(_suspension(self.descriptor, before))
                yield

        @contextmanager
        def signals(self, on_change: Callable[[], None]) -> Iterator[None]:
            """Ctrl-C, Ctrl-Z and Ctrl-\\ act at once in the block, inside of `quiet`.

            `on_change` is called when the window has another size, or something else has been written to it: from a signal
            handler. It is set for each block, because a prompt leaves none behind.
            """
            if self.descriptor is None:
                yield
                return
            with ExitStack() as stack:
                if _is_main_thread():
                    stack.enter_context(_handler(signal.SIGWINCH, lambda _number, _frame: on_change()))
                stack.callback(self._switch_signals, is_on=False)
                self._switch_signals(is_on=True)
                yield

        def _switch_signals(self, *, is_on: bool) -> None:
            assert self.descriptor is not None
            with suppress(termios.error):  # the window has been closed
                attributes = termios.tcgetattr(self.descriptor)
                flags = attributes[_LOCAL_FLAGS]
                attributes[_LOCAL_FLAGS] = flags | termios.ISIG if is_on else flags & ~termios.ISIG
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, attributes)

        def drop_keys(self) -> None:
            """Forget what has been typed and not read."""
            if self.descriptor is not None:
                with suppress(termios.error):
                    termios.tcflush(self.descriptor, termios.TCIFLUSH)

    @contextmanager
    def _suspension(descriptor: int, before: list[Any]) -> Iterator[None]:
        def suspend(number: int, _frame: FrameType | None) -> None:
            current = termios.tcgetattr(descriptor)
            _set(descriptor, before)
            handler = signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)  # sleeps here until SIGCONT
            signal.signal(number, handler)
            _set(descriptor, current)
            os.kill(os.getpid(), signal.SIGWINCH)  # a prompt draws itself again, an answer goes on below

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
        with suppress(termios.error):  # the window has been closed
            termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)

"""Messages to prompt text, by the model's own template.

A template comes with the model, so it is a stranger's program: it runs in Jinja's immutable sandbox, in the worker,
with a time limit and without the operators that could eat the memory. The names it may use are those of Hugging
Face's `apply_chat_template`.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foundry_cli.errors import InvalidRequestError, ModelInvalidError

RENDER_SECONDS = 2.0
_LARGEST_REPEAT = 100_000  # characters or items that one multiplication may produce

Message = dict[str, Any]


class _RenderTimeoutError(Exception):
    pass


class _TemplateRefusalError(TemplateError):
    """The template called `raise_exception`: it cannot express this conversation."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with limits on the operators that make much out of little."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Called by Jinja for each intercepted operation."""
        if operator == "**" or not all(isinstance(side, (int, float)) for side in (left, right)):
            size = _repeat_size(left, right) if operator == "*" else _power_bits(left, right)
            if size > _LARGEST_REPEAT:
                raise TemplateError(f"an operation {operator!r} with a result too large")
        return super().call_binop(context, operator, left, right)


def _repeat_size(left: Any, right: Any) -> int:
    number, value = (left, right) if isinstance(left, int) else (right, left)
    return number * len(value) if isinstance(number, int) and hasattr(value, "__len__") else 0


def _power_bits(left: Any, right: Any) -> int:
    return left.bit_length() * right if isinstance(left, int) and isinstance(right, int) and right > 0 else 0


class ChatTemplate:
    """One model's template, compiled once."""

    def __init__(self, source: str, special_tokens: dict[str, str]) -> None:
        """Raises `ModelInvalidError` when `source` is not a template."""
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _time_now
        self._special_tokens = special_tokens
        try:
            self._template = environment.from_string(source)
        except (TemplateError, RecursionError) as error:
            raise ModelInvalidError(f"The chat template of the model is damaged: {error}") from error

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt, up to where the answer begins. Raises `ModelInvalidError` or `InvalidRequestError`."""
        names = {**self._special_tokens, "messages": list(messages), "tools": None, "documents": None}
        try:
            with _deadline(RENDER_SECONDS):
                return self._template.render(names, add_generation_prompt=True)
        except _TemplateRefusalError as error:
            message = f"The chat template of the model refuses these messages: {error}"
            raise InvalidRequestError(message, param="messages") from error
        except _RenderTimeoutError as error:
            raise ModelInvalidError(f"The chat template of the model ran longer than {RENDER_SECONDS:g} s.") from error
        except Exception as error:  # a template may raise anything: it is a program
            raise ModelInvalidError(f"The chat template of the model failed: {error}") from error


class PromptTemplate:
    """The older form: one text per role with `{Content}` in it, from inference_model.json."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def render(self, messages: Sequence[Message]) -> str:
        """All messages but the last by their role; the last one by `prompt`, which also opens the answer."""
        *earlier, last = messages
        parts = [self._texts.get(message["role"], "{Content}").replace("{Content}", message["content"]) for message in earlier]
        return "".join(parts) + self._texts.get("prompt", "{Content}").replace("{Content}", last["content"])


def _refuse(message: str) -> NoReturn:
    raise _TemplateRefusalError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _time_now(form: str) -> str:
    return datetime.now().strftime(form)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise `_RenderTimeoutError` after `seconds`, on platforms with timers and in the main thread."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_signal: int, _frame: object) -> NoReturn:
        raise _RenderTimeoutError

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

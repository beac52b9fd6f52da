"""Messages to prompt text, by the model's own template.

A template comes with the model, so it is a stranger's program: it runs in Jinja's immutable sandbox, in the worker,
with a limit on its time and memory. The names it may use are those of Hugging Face's `apply_chat_template`.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foundry_cli.errors import InvalidRequestError, ModelInvalidError, TemplateTimeoutError

RENDER_SECONDS = 2.0
_RENDER_BYTES = 256 * 1024 * 1024
_LARGEST_PRODUCT = 100_000  # characters, items or bits that one multiplication may produce

Message = dict[str, Any]


class _RenderTimeoutError(Exception):
    pass


class _TemplateRefusalError(TemplateError):
    """The template called `raise_exception`: it cannot express this conversation."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with limits on the operators that make much out of little in one step, which no timer interrupts."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Called by Jinja for each intercepted operation."""
        size = _product_size(left, right) if operator == "*" else _power_size(left, right)
        if size > _LARGEST_PRODUCT:
            raise TemplateError(f"an operation {operator!r} with a result too large")
        return super().call_binop(context, operator, left, right)


def _product_size(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() + right.bit_length()
    number, value = (left, right) if isinstance(left, int) else (right, left)
    return number * len(value) if isinstance(number, int) and hasattr(value, "__len__") else 0


def _power_size(left: Any, right: Any) -> int:
    return left.bit_length() * right if isinstance(left, int) and isinstance(right, int) and right > 0 else 0


class _Generation(Extension):
    """`{% generation %}`: marks the answers for training; here its content is all that counts."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Called by Jinja at the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """One model's template, compiled once."""

    def __init__(self, source: str, special_tokens: dict[str, str], seconds: float = RENDER_SECONDS) -> None:
        """Raises `ModelInvalidError` when `source` is not a template, or takes longer than `seconds`."""
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _time_now
        self._special_tokens = special_tokens
        self._seconds = seconds
        with _bounded("is damaged", seconds):  # compiling computes constant expressions
            self._template = environment.from_string(source)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Message] | None = None, options: Mapping[str, Any] | None = None
    ) -> str:
        """The prompt, up to where the answer begins; `options` are further names for the template.

        Raises `ModelInvalidError`, of it `TemplateTimeoutError`, or `InvalidRequestError`.
        """
        names = {**(options or {}), **self._special_tokens, "messages": list(messages), "documents": None}
        names["tools"] = list(tools) if tools else None
        with _bounded("failed", self._seconds):
            return self._template.render(names, add_generation_prompt=True)


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


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _time_now(form: str) -> str:
    return datetime.now().strftime(form)


@contextmanager
def _bounded(what: str, seconds: float) -> Iterator[None]:
    """Run a template's code within its limits; whatever it raises becomes an error that says that it `what`."""
    try:
        with _deadline(seconds), _memory_limit(_RENDER_BYTES):
            yield
    except _TemplateRefusalError as error:
        message = f"The chat template of the model refuses these messages: {error}"
        raise InvalidRequestError(message, param="messages") from error
    except _RenderTimeoutError as error:
        raise TemplateTimeoutError(f"The chat template of the model ran longer than {seconds:g} s.") from error
    except MemoryError as error:
        raise ModelInvalidError("The chat template of the model needs too much memory.") from error
    except Exception as error:  # a template may raise anything: it is a program
        raise ModelInvalidError(f"The chat template of the model {what}: {str(error) or type(error).__name__}") from error


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


@contextmanager
def _memory_limit(extra: int) -> Iterator[None]:
    """Let allocations fail that would make the process `extra` bytes larger than it is now (Linux)."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + extra
    except OSError:  # the kernel may forget that a confined process may read this
        size = soft
    resource.setrlimit(resource.RLIMIT_AS, (size if resource.RLIM_INFINITY in (size, hard) else min(size, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

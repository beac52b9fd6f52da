"""Finds out how a template wants earlier calls: conversations with known words are written, and the words looked for.

That a template refuses a conversation says nothing about the form of it, so each form is tried with several endings, and
the first one is taken in which all calls, their arguments and their results can be read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from foundry_cli.engine.chat_template import Message
from foundry_cli.engine.tool_history import HistoryForm, write_history
from foundry_cli.errors import FoundryError, TemplateTimeoutError

Render = Callable[[Sequence[Message]], str]

_SECONDS = 10.0  # a template is a stranger's program; usually all of it takes some milliseconds
_KEY, _TEXT, _THOUGHT = "probe_key", "probe_text", "probe_thought"
_NAMES, _VALUES, _RESULTS = ("call_a", "call_b"), ("probe_value_a", "probe_value_b"), ("probe_result_a", "probe_result_b")
_SHORT_IDS, _LONG_IDS = ("a1B2c3D4e", "f5G6h7I8j"), ("call_0123456789", "call_9876543210")
_USER: Message = {"role": "user", "content": "a"}
_FORMS = (  # best first
    HistoryForm(),
    HistoryForm(arguments="text"),
    HistoryForm(is_one_by_one=True),
    HistoryForm(is_one_by_one=True, arguments="text"),
)
_ENDINGS: tuple[tuple[Message, ...], ...] = ((), ({"role": "assistant", "content": "b"}, _USER), (_USER,))


def find_history_form(render: Render) -> HistoryForm:
    """The form for the template behind `render`, which may raise any `FoundryError`."""
    probe = _Probe(render)
    for count in (2, 1):
        form = _first_form(probe, count)
        if form is not None:
            return _refined(probe, replace(form, is_single=count == 1), count)
    return HistoryForm(is_native=False)


def _first_form(probe: _Probe, count: int) -> HistoryForm | None:
    for form in _FORMS:
        written = [(text, other) for other in _contents(form) if (text := probe.write(other, count)) is not None]
        if written:  # the shortest: "None" is no text of a message, and neither is an empty message beside the calls
            return min(written, key=lambda pair: len(pair[0]))[1]
    return None


def _contents(form: HistoryForm) -> Iterator[HistoryForm]:
    yield form
    yield replace(form, without_text="null")
    yield replace(form, without_text="absent")


def _refined(probe: _Probe, form: HistoryForm, count: int) -> HistoryForm:
    """With what does not decide whether the calls can be written at all."""
    if probe.write(form, count, ids=_LONG_IDS) is None:
        form = replace(form, has_short_ids=True)
    if probe.write(form, count, content=_TEXT) is None:
        before = replace(form, text="before")
        form = before if probe.write(before, count, content=_TEXT) else replace(form, text="dropped")
    return _with_thought(probe, form, count)


def _with_thought(probe: _Probe, form: HistoryForm, count: int) -> HistoryForm:
    thinking = replace(form, thought="thinking")
    if _THOUGHT in (probe.write(form, count, reasoning_content=_THOUGHT) or ""):
        return form
    if _THOUGHT not in (probe.write(thinking, count, reasoning_content=_THOUGHT) or ""):
        return form
    both = probe.write(thinking, count, reasoning_content=_THOUGHT, content=_TEXT)
    return thinking if both is not None else replace(form, thought="joined")


class _Probe:
    """Writes conversations until the time for them is over."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._end = time.monotonic() + _SECONDS

    def write(self, form: HistoryForm, count: int, *, ids: Sequence[str] = _SHORT_IDS, **fields: str) -> str | None:
        """The text of a conversation with `count` calls in that form, if they and their results can be read in it."""
        conversation = write_history(_conversation(ids[:count], fields), form)
        for ending in _ENDINGS:
            text = self._rendered([*conversation, *ending])
            if text is not None:
                return text if all(_shows(text, form, number) for number in range(count)) else None
        return None

    def _rendered(self, messages: Sequence[Message]) -> str | None:
        if time.monotonic() > self._end:
            return None
        try:
            return self._render(messages)
        except TemplateTimeoutError:
            raise
        except FoundryError:
            return None


def _conversation(ids: Sequence[str], fields: dict[str, str]) -> list[Message]:
    calls = [_call(identity, number) for number, identity in enumerate(ids)]
    results = [
        {"role": "tool", "content": _RESULTS[number], "tool_call_id": identity, "name": _NAMES[number]}
        for number, identity in enumerate(ids)
    ]
    return [_USER, {"role": "assistant", "content": "", **fields, "tool_calls": calls}, *results]


def _call(identity: str, number: int) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": _NAMES[number], "arguments": {_KEY: _VALUES[number]}}}


def _shows(text: str, form: HistoryForm, number: int) -> bool:
    """Whether a call can be read, with its result."""
    return _NAMES[number] in text and _RESULTS[number] in text and _shows_arguments(text, form, _VALUES[number])


def _shows_arguments(text: str, form: HistoryForm, value: str) -> bool:
    """As JSON that was encoded once, or in a form that the template makes of the object."""
    if f'"{_KEY}":"{value}"' in text.replace('": "', '":"'):
        return True
    is_damaged = f"'{_KEY}'" in text or f'\\"{_KEY}' in text  # as Python writes it; encoded twice
    return form.arguments == "object" and not is_damaged and _KEY in text and value in text

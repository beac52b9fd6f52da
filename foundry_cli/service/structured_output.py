"""The last word on answers that must have a form: the grammar made them so, and here that is checked once more.

The checker is imported with the first such request: the service starts sooner without it. It works in a thread, in a
number of steps that is limited: it is written in Python, and a small schema can have it work for ever.

It fails closed: whoever asked for JSON of a schema gets it, an answer that was cut (by the number of tokens, which `length`
says, or by a stop sequence of the request), or an error: what the grammar leaves out of a schema that is not strict is decided
here. What it cannot judge (patterns, too much, too deep, or a schema it does not understand) is left to the grammar.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from foundry_cli.api.sse import encode_value
from foundry_cli.engine.grammar_limits import LARGEST_GRAMMAR
from foundry_cli.engine.reply_formats.json_object import NestedScanner
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, Tool
from foundry_cli.errors import InvalidRequestError, StructuredOutputError
from foundry_cli.service.answer import Answer

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_ANY_OBJECT = '{"type": "object"}'
_PATTERN_KEYWORDS = ("pattern", "patternProperties")
_BESIDE_PATTERNS = ("additionalProperties", "unevaluatedProperties")
_INEXACT_KEYWORDS = ("multipleOf",)  # by the remainder of two floats: 0.3 is no multiple of 0.1
_KEPT_SCHEMAS = 64
_LONGEST_REASON = 200  # characters
_MOST_DIGITS = 1000
_MOST_STEPS = 100_000  # keywords applied to a value: about half a second

_steps_left: ContextVar[Iterator[int]] = ContextVar("steps_left")


def check_tool_sizes(request: GenerationRequest) -> None:
    """Raise `InvalidRequestError` for tools that are together larger than a grammar may be, before anybody works on them."""
    tools = request.tools.tools if request.tools is not None else ()
    if sum(len(encode_value(tool.parameters or {})) for tool in tools) > LARGEST_GRAMMAR:
        message = f"tools: their schemas are together larger than {LARGEST_GRAMMAR >> 10} KiB."
        raise InvalidRequestError(message, param="tools")


class StructureCheck:
    """What one answer must be, and what has come of it."""

    def __init__(self, text_schema: str | None, called: Mapping[str, Tool], *, needs_call: bool) -> None:
        self._text_schema = text_schema
        self._called = called
        self._needs_call = needs_call
        self._answer = Answer()

    @classmethod
    def of(cls, request: GenerationRequest) -> StructureCheck | None:
        """The check for `request`; None when it demands nothing that can be checked. That a schema is one, the engine tells."""
        grammar, tools = request.grammar, request.tools
        has_text = grammar is not None and grammar.kind in ("json_object", "json_schema")
        text_schema = (grammar.text or _ANY_OBJECT) if grammar is not None and has_text else None
        is_required = tools is not None and (tools.is_required or tools.named is not None)
        called = {tool.name: tool for tool in tools.tools if is_required or tool.strict} if tools else {}
        return cls(text_schema, called, needs_call=is_required) if text_schema or called else None

    async def note(self, event: EngineEvent) -> None:
        """The next event. Raises `StructuredOutputError` for the end of an answer that is not what it must be."""
        self._answer.add(event)
        if not isinstance(event, Finish) or event.reason not in ("stop", "tool_calls") or event.stop_sequence is not None:
            return
        problem = await asyncio.to_thread(self._problem)
        if problem is not None:
            raise StructuredOutputError(
                f"The answer is not what was asked for: {problem[:_LONGEST_REASON]}.", hint="Try again, or a larger model."
            )

    def _problem(self) -> str | None:
        calls = self._answer.tool_calls
        if self._needs_call and not calls:
            return "a call was required, and there is none"
        for call in calls:
            tool = self._called.get(call.name)
            if tool and (problem := _mismatch(call.arguments, encode_value(tool.parameters or {}).decode())):
                return f"the arguments of {call.name}: {problem}"
        if self._text_schema is not None and not calls:
            return _mismatch(self._answer.text, self._text_schema)
        return None


def _mismatch(text: str, schema: str) -> str | None:
    """Why `text` is not JSON that satisfies `schema`; None when it is."""
    try:
        document = json.loads(text, parse_int=_integer)
    except RecursionError:  # the grammar has let it through; more than whether it was cut cannot be told
        return None if _is_closed(text.strip()) else "it is not JSON: it is not complete"
    except json.JSONDecodeError as error:
        return f"it is not JSON: {error}"
    return _first_error(schema, document)


def _is_closed(text: str) -> bool:
    scanner = NestedScanner()
    return [index for index, character in enumerate(text) if scanner.read(character)] == [len(text) - 1]


def _integer(text: str) -> int:
    """Python takes no more digits than that; whether it is an integer, and about how large, is the same."""
    return int(text[:_MOST_DIGITS])


def _first_error(schema: str, document: Any) -> str | None:
    """What the checker says; None when it is content, or cannot judge."""
    _steps_left.set(iter(range(_MOST_STEPS)))
    try:
        first = next(iter(_validator(schema).iter_errors(document)), None)
    except Exception:  # noqa: BLE001 - the grammar was compiled of this schema and followed: the checker is what fails
        return None
    return None if first is None else f"{first.json_path} does not satisfy {first.validator!r}"


@lru_cache(_KEPT_SCHEMAS)
def _validator(schema: str) -> Validator:
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from referencing import Registry

    document = json.loads(schema)
    base = validator_for(document, default=Draft202012Validator)
    accepted = (*_PATTERN_KEYWORDS, *_INEXACT_KEYWORDS, *(_BESIDE_PATTERNS if "patternProperties" in schema else ()))
    keywords = {name: _counted(check) for name, check in base.VALIDATORS.items()} | dict.fromkeys(accepted, _accept)
    keywords["uniqueItems"] = _counted(_items_that_are_equal)
    kind: type[Validator] = extend(base, keywords)  # type: ignore[no-untyped-call]
    return kind(document, registry=Registry())  # an empty one: nothing is fetched


class _TooManyStepsError(Exception):
    """The checker has worked enough."""


def _counted(check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def counted(*arguments: Any) -> Iterator[Any]:
        if next(_steps_left.get(), None) is None:
            raise _TooManyStepsError
        yield from check(*arguments) or ()

    return counted


def _accept(_validator: Validator, _value: Any, _instance: Any, _schema: Any) -> None:
    """For keywords with regular expressions: the grammar enforces them in linear time, Python's engine might never end."""


def _items_that_are_equal(_validator: Validator, is_forbidden: Any, items: Any, _schema: Any) -> Iterator[Any]:
    """`uniqueItems`, in linear time: the checker compares each item with each other."""
    from jsonschema.exceptions import ValidationError

    if is_forbidden is True and isinstance(items, list) and len({json.dumps(_plain(item)) for item in items}) < len(items):
        yield ValidationError("items are equal")


def _plain(value: Any) -> Any:
    """The same for values that are equal: 1.0 is 1, and the order of properties says nothing."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""The last word on answers that must have a form: the grammar made them so, and here that is checked once more.

The checker is imported with the first such request: the service starts sooner without it.

It fails closed: whoever asked for JSON of a schema gets it, an answer that says it was cut (`length`), or an error.
"""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from foundry_cli.api.sse import encode_value
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest
from foundry_cli.errors import StructuredOutputError, UnenforceableSchemaError
from foundry_cli.service.answer import Answer

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_ANY_OBJECT = '{"type": "object"}'
_PATTERN_KEYWORDS = ("pattern", "patternProperties")
_BESIDE_PATTERNS = ("additionalProperties", "unevaluatedProperties")
_KEPT_SCHEMAS = 64
_LONGEST_REASON = 200  # characters
_INLINE_CHARACTERS = 4096  # checked on the event loop: below 5 ms


class StructureCheck:
    """What one answer must be, and what has come of it."""

    def __init__(self, text_schema: str | None, call_schemas: dict[str, str], *, needs_call: bool) -> None:
        self._text_schema = text_schema
        self._call_schemas = call_schemas
        self._needs_call = needs_call
        self._answer = Answer()

    @classmethod
    def of(cls, request: GenerationRequest) -> StructureCheck | None:
        """The check for `request`; None when it demands nothing that can be checked.

        Raises `UnenforceableSchemaError` for a schema that could not be checked.
        """
        grammar, tools = request.grammar, request.tools
        text_schema = None
        if grammar is not None and grammar.kind in ("json_object", "json_schema"):
            text_schema = grammar.text or _ANY_OBJECT
            _check_schema(text_schema, "response_format")
        is_required = tools is not None and (tools.is_required or tools.named is not None)
        demanded = [tool for tool in tools.tools if is_required or tool.strict] if tools else []
        call_schemas = {tool.name: encode_value(tool.parameters or {}).decode() for tool in demanded}
        for schema in call_schemas.values():
            _check_schema(schema, "tools")
        return cls(text_schema, call_schemas, needs_call=is_required) if text_schema or call_schemas else None

    async def note(self, event: EngineEvent) -> None:
        """The next event. Raises `StructuredOutputError` for the end of an answer that is not what it must be."""
        self._answer.add(event)
        if not isinstance(event, Finish) or event.reason not in ("stop", "tool_calls") or event.stop_sequence is not None:
            return
        is_small = len(self._answer.text) + sum(len(call.arguments) for call in self._answer.tool_calls) <= _INLINE_CHARACTERS
        problem = self._problem() if is_small else await asyncio.to_thread(self._problem)
        if problem is not None:
            raise StructuredOutputError(
                f"The answer is not what was asked for: {problem[:_LONGEST_REASON]}.", hint="Try again, or a larger model."
            )

    def _problem(self) -> str | None:
        calls = self._answer.tool_calls
        if self._needs_call and not calls:
            return "a call was required, and there is none"
        for call in calls:
            if call.name in self._call_schemas and (problem := _mismatch(call.arguments, self._call_schemas[call.name])):
                return f"the arguments of {call.name}: {problem}"
        if self._text_schema is not None and not calls:
            return _mismatch(self._answer.text, self._text_schema)
        return None


def _mismatch(text: str, schema: str) -> str | None:
    """Why `text` is not JSON that satisfies `schema`; None when it is."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    first = next(iter(_validator(schema).iter_errors(document)), None)
    return None if first is None else f"{first.json_path} does not satisfy {first.validator!r}"


@lru_cache(_KEPT_SCHEMAS)
def _validator(schema: str) -> Validator:
    from jsonschema.validators import Draft202012Validator, extend, validator_for

    document = json.loads(schema)
    keywords = _PATTERN_KEYWORDS + (_BESIDE_PATTERNS if "patternProperties" in schema else ())
    kind: type[Validator] = extend(  # type: ignore[no-untyped-call]
        validator_for(document, default=Draft202012Validator), dict.fromkeys(keywords, _accept)
    )
    return kind(document)


def _accept(_validator: Validator, _value: Any, _instance: Any, _schema: Any) -> None:
    """For keywords with regular expressions: the grammar enforces them in linear time, Python's engine might never end."""


def _check_schema(schema: str, param: str) -> None:
    """Raise `UnenforceableSchemaError` for what is no JSON schema."""
    from jsonschema import SchemaError

    validator = _validator(schema)
    try:
        type(validator).check_schema(json.loads(schema))
    except SchemaError as error:
        message = f"{param}: {error.json_path}: {error.message[:_LONGEST_REASON]}."
        raise UnenforceableSchemaError(message, param=param) from error

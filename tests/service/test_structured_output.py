"""Answers that must have a form: they have it, say that they were cut, or are errors."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.request import EngineEvent, GenerationRequest, TextChunk, ToolCallChunk
from tests.service.local import Answer, events, finish, local_service, question

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
LOOK = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}


def saying(*said: EngineEvent) -> Answer:
    async def answer(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        for event in said:
            yield event

    return answer


def text(value: str) -> tuple[EngineEvent, ...]:
    return (TextChunk(value[:3]), TextChunk(value[3:]), finish())


def call(arguments: str, name: str = "look") -> tuple[EngineEvent, ...]:
    parts = (ToolCallChunk(0, "abcdefghi", name), ToolCallChunk(0, arguments=arguments))
    return (*parts, replace(finish(), reason="tool_calls"))


GOOD: list[tuple[dict[str, Any], tuple[EngineEvent, ...]]] = [
    ({"response_format": FORMAT}, text('{"a":3}')),
    ({"response_format": {"type": "json_object"}}, text('{"b": null}')),
    ({"response_format": FORMAT}, (TextChunk('{"a":'), replace(finish(), reason="length"))),
    ({"response_format": FORMAT, "stop": "}"}, (TextChunk('{"a":5'), replace(finish(), stop_sequence="}"))),
    ({"tools": [LOOK], "tool_choice": "required"}, call('{"a":4}')),
    ({"tools": [LOOK], "response_format": FORMAT}, call('{"a":4}')),
    ({"tools": [LOOK]}, text("no call")),
    ({"tools": [LOOK]}, call('{"a":1}')),  # nobody said strict
    ({"response_format": FORMAT}, text(f'{{"a":{"9" * 5000}}}')),
    ({"response_format": {"type": "json_object"}}, text(f'{{"a": {"[" * 5000}{"]" * 5000}}}')),  # more cannot be told
]


@pytest.mark.parametrize(("fields", "said"), GOOD)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_as_it_must_be(tmp_path: Path, fields: dict[str, Any], said: tuple[EngineEvent, ...], stream: bool) -> None:
    with local_service(tmp_path, saying(*said)) as local:
        status, _, body = local.chat(question(stream=stream, **fields))
        assert status == 200
        assert not stream or "error" not in events(body)[-2]


STRICT = {"type": "function", "function": {**LOOK["function"], "strict": True}}  # type: ignore[dict-item]
BAD: list[tuple[dict[str, Any], tuple[EngineEvent, ...]]] = [
    ({"response_format": FORMAT}, text('{"a":2}')),
    ({"response_format": FORMAT}, text('{"a":"4"}')),
    ({"response_format": FORMAT}, text('{"a":3')),
    ({"response_format": {"type": "json_object"}}, text("[1]")),
    ({"response_format": {"type": "json_object"}}, text("[" * 100_000)),
    ({"response_format": {"type": "json_object"}}, text(f'{{"a": {"[" * 5000}}}')),
    ({"tools": [LOOK], "tool_choice": "required"}, text("no call")),
    ({"tools": [LOOK], "tool_choice": {"type": "function", "function": {"name": "look"}}}, call('{"a":1}')),
    ({"tools": [STRICT]}, call('{"a":1}')),
]


@pytest.mark.parametrize(("fields", "said"), BAD)
def test_what_is_not_fails_closed(tmp_path: Path, fields: dict[str, Any], said: tuple[EngineEvent, ...]) -> None:
    with local_service(tmp_path, saying(*said)) as local:
        status, _, body = local.chat(question(**fields))
        assert (status, body["error"]["code"]) == (500, "structured_output_failed")
        last = events(local.chat(question(stream=True, **fields))[2])[-1]
        assert last["error"]["code"] == "structured_output_failed"


def wanting(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


LOOSE: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "array", "uniqueItems": True}, '[1,[{"a":1,"b":[]}],true,"1",null]', "[1,2,1.0]"),
    ({"uniqueItems": True}, '[{"a":1,"b":2},{"a":2,"b":1}]', '[{"a":1,"b":2},3,{"b":2.0,"a":1}]'),
    ({"uniqueItems": False}, "[1,1]", "[1"),
    ({"propertyNames": {"minLength": 2}}, '{"aa":1}', '{"a":1}'),
    ({"not": {"const": 3}}, "4", "3"),
    ({"oneOf": [{"type": "string"}, {"minLength": 3}]}, '"ab"', '"abc"'),
    ({"contains": {"type": "null"}, "maxContains": 1}, "[1,null]", "[null,null]"),
]


@pytest.mark.parametrize(("schema", "good", "bad"), LOOSE)
def test_the_check_decides_what_no_grammar_enforces(tmp_path: Path, schema: dict[str, Any], good: str, bad: str) -> None:
    for said, expected in ((good, 200), (bad, 500)):
        with local_service(tmp_path / str(expected), saying(*text(said))) as local:
            assert local.chat(question(response_format=wanting(schema)))[0] == expected


def test_many_different_items_are_told_apart_in_linear_time(tmp_path: Path) -> None:
    items = [{"a": number} for number in range(20_000)]
    with local_service(tmp_path, saying(*text(json.dumps(items)))) as local:
        began = time.monotonic()
        assert local.chat(question(response_format=wanting({"uniqueItems": True})))[0] == 200
        assert time.monotonic() - began < 5  # on a busy machine; usually below 0.3


DEEP = {"$defs": {"d": {"type": "array", "items": {"$ref": "#/$defs/d"}}}, "$ref": "#/$defs/d"}
DOUBLED: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
NOT_JUDGED: dict[str, tuple[dict[str, Any], str]] = {
    "deep": (DEEP, "[" * 250 + "]" * 250),
    "multiple of a tenth": ({"type": "number", "multipleOf": 0.1}, "0.3"),
    "too much": ({"$defs": {**DOUBLED, "d40": {"type": "integer"}}, "$ref": "#/$defs/d0"}, "1"),
    "elsewhere": ({"$ref": "http://127.0.0.1:9/schema"}, "1"),
    "no schema": ({"properties": {"a": {"minimum": "1"}}}, '{"a":1}'),
}


@pytest.mark.parametrize(("schema", "said"), NOT_JUDGED.values(), ids=NOT_JUDGED)
def test_what_cannot_be_judged_is_left_to_the_grammar(tmp_path: Path, schema: dict[str, Any], said: str) -> None:
    with local_service(tmp_path, saying(*text(said))) as local:
        assert local.chat(question(response_format=wanting(schema)))[0] == 200


def test_schemas_of_many_tools_are_limited_together(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {f"p{i}": {"type": "string", "description": "x" * 100} for i in range(400)}}
    tools = [{"type": "function", "function": {"name": f"f{i}", "parameters": schema}} for i in range(12)]
    with local_service(tmp_path, saying(*text("no call"))) as local:
        assert local.chat(question(tools=tools[:2]))[0] == 200
        status, _, body = local.chat(question(tools=tools, n=2))
        assert (status, body["error"]["param"]) == (400, "tools")


def test_many_schemas_and_answers_hold_nobody_up(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(100)}}
    function = {"parameters": schema, "strict": True}
    tools = [{"type": "function", "function": {"name": f"f{i}", **function}} for i in range(128)]
    with local_service(tmp_path, saying(*text("no call"))) as local:
        began = time.monotonic()
        assert local.chat(question(tools=tools, n=16))[0] == 200
        assert time.monotonic() - began < 10  # on a busy machine; usually below 0.5


def test_a_pattern_that_would_be_tried_for_ever(tmp_path: Path) -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with local_service(tmp_path, saying(*text(json.dumps("a" * 60 + "b")))) as local:
        assert local.chat(question(response_format=wanted))[0] == 200

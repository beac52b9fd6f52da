"""Random JSON schemas, and a model that knows nothing: what it finishes satisfies them all the same."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import RunningService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QWEN2 = Path(__file__).parents[1] / "models" / "qwen2-random"
SCHEMAS = 200
TOKENS = 160

_NAMES = st.sampled_from(["a", "b", "name", "x y", "\u00e9", "long_name"])
_WORDS = st.sampled_from(["red", "green", "", 'a "quote"', "\u20ac", "line\nbreak"])
_PATTERNS = st.sampled_from(["^[a-c]{2,4}$", "^\\d{3}-\\d{2}$", "^(yes|no)$", "^[A-Z][a-z]*$", "^x?y+z$"])
_FORMATS = st.sampled_from(["date", "time", "date-time", "uuid", "email", "ipv4"])


def _string() -> st.SearchStrategy[dict[str, Any]]:
    lengths = st.tuples(st.integers(0, 3), st.integers(3, 8)).map(lambda pair: {"minLength": pair[0], "maxLength": pair[1]})
    return st.one_of(
        lengths.map(lambda limits: {"type": "string", **limits}),
        _PATTERNS.map(lambda pattern: {"type": "string", "pattern": pattern}),
        _FORMATS.map(lambda form: {"type": "string", "format": form}),
        st.lists(_WORDS, min_size=1, max_size=4, unique=True).map(lambda words: {"type": "string", "enum": words}),
    )


def _number() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.tuples(st.integers(-1000, 1000), st.integers(0, 500))
    limits = st.sampled_from([("minimum", "maximum"), ("exclusiveMinimum", "maximum"), ("minimum", "exclusiveMaximum")])
    return st.tuples(st.sampled_from(["integer", "number"]), bounds, limits).map(
        lambda parts: {"type": parts[0], parts[2][0]: parts[1][0], parts[2][1]: parts[1][0] + parts[1][1] + 2}
    )


_LEAVES = st.one_of(
    _string(),
    _number(),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 5}, {"const": "c"}, {"enum": [1, "two", None, True]}]),
)


def _object(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def build(properties: dict[str, Any], required: bool, closed: bool) -> dict[str, Any]:
        schema = {"type": "object", "properties": properties, "additionalProperties": not closed}
        return {**schema, "required": sorted(properties)} if required else schema

    return st.builds(build, st.dictionaries(_NAMES, inner, min_size=1, max_size=3), st.booleans(), st.just(True))


def _array(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    sizes = st.tuples(st.integers(0, 2), st.integers(2, 3))
    return st.tuples(inner, sizes).map(
        lambda parts: {"type": "array", "items": parts[0], "minItems": parts[1][0], "maxItems": parts[1][1]}
    )


_NESTED = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        _object(inner), _array(inner), st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options})
    ),
    max_leaves=6,
)
_REFERRING = _NESTED.map(
    lambda inner: {
        "type": "object",
        "properties": {
            "first": {"$ref": "#/$defs/inner"},
            "rest": {"type": "array", "items": {"$ref": "#/$defs/inner"}, "maxItems": 2},
        },
        "required": ["first"],
        "additionalProperties": False,
        "$defs": {"inner": inner},
    }
)


def test_what_is_finished_satisfies_its_schema(fresh_service: RunningService) -> None:
    directory = fresh_service.paths.default_cache / "Tests" / "random"
    shutil.copytree(QWEN2, directory)
    (directory / "inference_model.json").write_text('{"Name": "random"}')
    outcomes: Counter[str] = Counter()

    @settings(max_examples=SCHEMAS, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(_NESTED, _REFERRING))
    def ask(schema: dict[str, Any]) -> None:
        body = {
            "model": "random", "temperature": 1, "seed": sum(outcomes.values()), "max_tokens": TOKENS,
            "messages": [{"role": "user", "content": "Hi"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        }  # fmt: skip
        response = requests.post(f"{fresh_service.url}/v1/chat/completions", json=body, timeout=60)
        assert response.status_code == 200, (schema, response.text)
        (choice,) = response.json()["choices"]
        outcomes[choice["finish_reason"]] += 1
        if choice["finish_reason"] == "stop":
            jsonschema.validate(json.loads(choice["message"]["content"]), schema)
        else:
            assert choice["finish_reason"] == "length"

    ask()
    assert outcomes.total() >= SCHEMAS
    assert outcomes["stop"] > SCHEMAS // 2

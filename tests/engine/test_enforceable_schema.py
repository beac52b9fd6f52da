"""Schemas in words that llguidance has: nothing is lost where they say the same, and the rest holds where they say less."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY
from llguidance import LLMatcher

from foundry_cli.engine.grammar import GrammarFactory
from foundry_cli.engine.request import Grammar
from foundry_cli.errors import UnenforceableSchemaError
from tests.engine.test_grammar import MODEL, write

WORD = {"type": "string", "pattern": "^[a-z]{1,5}$"}
LOOKAHEAD = "^(?=.{1,253}$)[a-zA-Z0-9.-]+$"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
HOSTNAME = rf"^(?=.{{1,253}}\.?$){_LABEL}(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{{0,61}}[0-9a-zA-Z])?)*\.?$"  # of zod


@pytest.fixture(scope="module")
def factory() -> GrammarFactory:
    """The grammars of the model."""
    return GrammarFactory(MODEL, {2})


def enforced(factory: GrammarFactory, schema: Any, strict: bool = True) -> Any:
    return json.loads(factory.enforceable(Grammar("json_schema", json.dumps(schema), strict)).text)


def only(name: str, schema: Any) -> dict[str, Any]:
    """An object with one property."""
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}


TEXT = {"type": "string"}
SAME: dict[str, tuple[dict[str, Any], Any]] = {
    "a format that is not known": ({**WORD, "format": "starts_with"}, WORD),
    "of any type": ({"format": "binary"}, {}),
    "a pattern that is its format": ({**TEXT, "format": "hostname", "pattern": HOSTNAME}, {**TEXT, "format": "hostname"}),
    "any name": ({"propertyNames": TEXT, "additionalProperties": WORD}, {"additionalProperties": WORD}),
    "any name, in other words": ({"propertyNames": {}, "minProperties": 1}, {"minProperties": 1}),
    "a format of names": ({"type": "object", "propertyNames": {"format": "uuid"}}, {"type": "object"}),
    "names": (
        {"type": "object", "propertyNames": {**TEXT, "enum": ["a", "b"]}, "additionalProperties": WORD, "required": ["b"]},
        {"type": "object", "additionalProperties": False, "required": ["b"], "properties": {"a": WORD, "b": WORD}},
    ),
    "some names": (
        {"properties": {"b": {}, "c": {}}, "propertyNames": {"const": "b"}},
        {"properties": {"b": {}}, "additionalProperties": False},
    ),
    "a pattern of names": (
        {"propertyNames": {**TEXT, "format": "uuid", "pattern": "^x-"}, "additionalProperties": WORD},
        {"additionalProperties": False, "patternProperties": {"^x-": WORD}},
    ),
    "never": ({"properties": {"a": {"not": {}}, "b": {"not": True}}}, {"properties": {"a": False, "b": False}}),
    "always": ({"not": {"not": {}}, "uniqueItems": False, "unevaluatedItems": True, "minItems": 1}, {"minItems": 1}),
    "nothing to apply": ({"then": {"minimum": 3}, "maxContains": 4, "dependentRequired": {}, "minimum": 1}, {"minimum": 1}),
    "none needed": ({"type": "array", "contains": {"const": 1}, "minContains": 0}, {"type": "array"}),
}  # fmt: skip
PLACES: dict[str, Any] = {
    "$defs": lambda inner: {"$defs": {"format": inner}, "$ref": "#/$defs/format"},
    "anyOf": lambda inner: {"anyOf": [inner, {"type": "null"}]},
    "allOf": lambda inner: {"allOf": [inner]},
    "items": lambda inner: {"type": "array", "items": inner},
    "prefixItems": lambda inner: {"type": "array", "prefixItems": [inner, {}]},
    "properties": lambda inner: {"properties": {"pattern": inner}},
    "additionalProperties": lambda inner: {"type": "object", "additionalProperties": inner},
}


@pytest.mark.parametrize(("schema", "expected"), SAME.values(), ids=SAME)
def test_what_says_the_same(factory: GrammarFactory, schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(enforced(factory, schema).items()) == list(expected.items())


def test_a_pattern_of_its_own_beside_a_format_is_refused_where_strict(factory: GrammarFactory) -> None:
    schema = {**TEXT, "format": "email", "pattern": "^(?!.*evil).*$"}
    with pytest.raises(UnenforceableSchemaError):
        enforced(factory, schema)
    assert enforced(factory, schema, strict=False) == {**TEXT, "format": "email"}


NAMES = {"type": "object", "propertyNames": {"enum": ["a"]}, "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    "reference",
    [
        *("#/properties/m/propertyNames", "#/properties/m/additionalProperties", "#/properties/m"),
        *("#/properties/o/oneOf/0", "#/$defs/deep/properties/x~1y%20z"),
    ],
)
def test_references_to_what_is_written_in_other_words(factory: GrammarFactory, reference: str) -> None:
    deep = {"properties": {"x/y z": {"type": "null"}}}
    properties = {"m": NAMES, "o": {"oneOf": [{"type": "boolean"}]}, "r": {"$ref": reference}}
    schema = {"type": "object", "properties": properties, "required": ["r"], "$defs": {"deep": deep, "target_0": {}}}
    found = factory.enforceable(Grammar("json_schema", json.dumps(schema)))
    for seed in range(5):
        answer = json.loads(write(factory, found, seed))
        assert "r" in answer
        Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_in_all_places(factory: GrammarFactory, place: Any) -> None:
    assert enforced(factory, place({**WORD, "format": "starts_with"})) == place(WORD)
    assert enforced(factory, place({"type": "array", "uniqueItems": True}), strict=False) == place({"type": "array"})


def test_names_of_properties_and_values_are_left_alone(factory: GrammarFactory) -> None:
    values = {"enum": [{"format": "x", "not": {}}], "default": {"pattern": "(?=a)"}, "examples": [{"uniqueItems": True}]}
    names = ["format", "pattern", "not", "uniqueItems", "propertyNames", "oneOf"]
    schema = {"type": "object", "properties": {**dict.fromkeys(names, TEXT), "value": values}, "required": names}
    assert enforced(factory, schema) == schema
    odd = {**schema, "properties": {**schema["properties"], "odd": {"type": "array", "uniqueItems": True}}}  # type: ignore[dict-item]
    assert enforced(factory, odd, strict=False)["properties"] == {**schema["properties"], "odd": {"type": "array"}}  # type: ignore[dict-item]


@pytest.mark.parametrize("schema", [schema for schema, _ in SAME.values()], ids=SAME)
def test_what_is_written_satisfies_what_was_asked_for(factory: GrammarFactory, schema: dict[str, Any]) -> None:
    form = factory.enforceable(Grammar("json_schema", json.dumps(schema), strict=True))
    for seed in range(10):
        jsonschema.validate(json.loads(write(factory, form, seed)), schema)


def test_a_schema_that_can_be_compiled_stays_as_it_is(factory: GrammarFactory) -> None:
    grammar = Grammar("json_schema", json.dumps({"type": "string", "format": "date", "pattern": "^2"}))
    assert factory.enforceable(grammar) is grammar


MORE: dict[str, tuple[dict[str, Any], Any]] = {
    "different items": ({"type": "array", "items": WORD, "uniqueItems": True}, {"type": "array", "items": WORD}),
    "names": ({"type": "object", "propertyNames": {"minLength": 2}}, {"type": "object"}),
    "a pattern": ({**TEXT, "pattern": LOOKAHEAD, "maxLength": 9}, {**TEXT, "maxLength": 9}),
    "a pattern of names": (
        {"type": "object", "propertyNames": {"format": "hostname", "pattern": LOOKAHEAD}},
        {"type": "object"},
    ),
    "many names": ({"type": "object", "propertyNames": {"enum": [f"n{i}" for i in range(600)]}}, {"type": "object"}),
    "a large bound": ({"type": "number", "minimum": -3.4e38, "maximum": 9}, {"type": "number", "maximum": 9}),
    "not": ({"type": "integer", "not": {"const": 3}}, {"type": "integer"}),
    "a condition": ({"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"type": "object"}),
    "one of two": ({"oneOf": [TEXT, {"minLength": 3}]}, {"anyOf": [TEXT, {"minLength": 3}]}),
    "one of two besides": (
        {"anyOf": [TEXT, {"type": "null"}], "oneOf": [TEXT, {"minLength": 3}], "allOf": [{}]},
        {"anyOf": [TEXT, {"type": "null"}], "allOf": [{}, {"anyOf": [TEXT, {"minLength": 3}]}]},
    ),
    "patterns for the same name": (
        {"type": "object", "patternProperties": {"^a": TEXT, "a$": {}}, "additionalProperties": False},
        {"type": "object"},
    ),
    "how many": (
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a"], "maxProperties": 2},
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a"]},
    ),
}


@pytest.mark.parametrize(("schema", "expected"), MORE.values(), ids=MORE)
def test_what_cannot_be_enforced_is_left_out_only_where_nobody_said_strict(
    factory: GrammarFactory, schema: dict[str, Any], expected: dict[str, Any]
) -> None:
    with pytest.raises(UnenforceableSchemaError) as caught:
        enforced(factory, only("x", schema))
    assert "'strict'" in (caught.value.hint or "")
    assert enforced(factory, only("x", schema), strict=False) == only("x", expected)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "number", "minimum": 5, "maximum": 3}, "greater than maximum"),
        ({"type": "array", "uniqueItems": True, "items": {"type": "nonsense"}}, "Invalid type"),
        ({"not": {}}, "schema is false"),
        ({"uniqueItems": True, "pattern": 3}, "'pattern'"),
        ({"uniqueItems": True, "required": 3, "minProperties": "a", "properties": {}}, "'minProperties'"),
        ({"uniqueItems": True, "oneOf": [{}, {}], "anyOf": [{}], "allOf": 3}, "allOf must be an array"),
        ({"uniqueItems": True, "multipleOf": 999979}, "'multipleOf'"),
        ({"not": {"pattern": "^(([a-z]{1,50}x?){1,50}y?){1,50}$"}}, "'pattern'"),
    ],
)
def test_what_is_wrong_is_refused_in_any_case(factory: GrammarFactory, schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnenforceableSchemaError, match=reason):
        enforced(factory, schema, strict=False)


@pytest.mark.parametrize("depth", [100, 5000])
def test_what_is_too_deep(factory: GrammarFactory, depth: int) -> None:
    text = '{"uniqueItems":true,"items":' * depth + "{}" + "}" * depth
    with pytest.raises(UnenforceableSchemaError):
        factory.enforceable(Grammar("json_schema", text, strict=True))


def test_copies_that_would_fill_the_memory(factory: GrammarFactory) -> None:
    schema: dict[str, Any] = {"type": "boolean"}
    for _ in range(30):
        schema = {"propertyNames": {"enum": [f"name{i}" for i in range(20)]}, "additionalProperties": schema}
    with pytest.raises(UnenforceableSchemaError):
        enforced(factory, schema)
    assert enforced(factory, schema, strict=False)


def test_the_words_that_llguidance_does_not_have() -> None:
    """When a newer one has more of them, they can be enforced."""
    parts = ("core", "applicator", "validation", "unevaluated")
    contents = [REGISTRY[f"https://json-schema.org/draft/2020-12/meta/{part}"].contents for part in parts]
    words = {word for content in contents for word in content["properties"]} - {"$ref", "$vocabulary"}  # type: ignore[index]
    applied = {"anyOf", "allOf", "oneOf", "enum", "const"}
    unknown = set()
    for word in words - applied:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps({"type": "null", word: {}}))
        if "Unimplemented keys" in LLMatcher.validate_grammar(grammar):
            unknown.add(word)
    assert unknown == {
        *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "propertyNames", "uniqueItems"),
        *("contains", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"),
        *("$dynamicRef", "$dynamicAnchor"),
    }

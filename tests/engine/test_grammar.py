"""Grammars: what random logits make of them is valid, and what cannot be compiled is said before anything is computed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from llguidance import LLTokenizer

from foundry_cli.engine.grammar import GrammarFactory
from foundry_cli.engine.grammar_limits import LARGEST_GRAMMAR
from foundry_cli.engine.request import Grammar, SamplingParameters
from foundry_cli.engine.sampling import Choice, Sampler, SamplingDefaults, choose_batch
from foundry_cli.errors import EngineError, InvalidRequestError, UnenforceableSchemaError

MODEL = Path(__file__).parents[1] / "models" / "qwen2-random"
VOCABULARY = 551
END = 2
MOST_TOKENS = 3000
TOKENIZER = LLTokenizer(str(MODEL / "tokenizer.json"), eos_token=[END])


@pytest.fixture(scope="module")
def factory() -> GrammarFactory:
    """The grammars of the model."""
    return GrammarFactory(MODEL, {END})


def schema(value: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


def write(factory: GrammarFactory, grammar: Grammar, seed: int, vocabulary: int = VOCABULARY, **parameters: Any) -> str:
    """An answer of random logits. The end becomes probable with time: a fair die would not end some answers for long."""
    random = np.random.default_rng(seed)
    parameters = {"temperature": 1.0, "seed": seed, **parameters}
    sampler = Sampler(SamplingParameters(**parameters), SamplingDefaults(), [], factory.compile(grammar))
    closing = [token for token in range(VOCABULARY) if set(TOKENIZER.decode_bytes([token])) <= set(b'"]}')]
    tokens: list[int] = []
    for step in range(MOST_TOKENS):
        logits = random.normal(0, 2, vocabulary).astype(np.float32)
        logits[[END, *closing]] += step / 20
        token = sampler.choose(logits).token
        if token == END:
            return TOKENIZER.decode_bytes(tokens).decode()
        tokens.append(token)
    raise AssertionError(f"no end: {TOKENIZER.decode_str(tokens[-100:])}")


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["cat", "dog", None]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,5}$"}, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "tags"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "boolean"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
ROWS = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [{"type": "number"}, {"const": "x"}], "minItems": 2, "items": False},
    "minItems": 1,
    "maxItems": 4,
}


@pytest.mark.parametrize("wanted", [PERSON, TREE, ROWS], ids=["person", "tree", "rows"])
def test_what_is_written_is_valid(factory: GrammarFactory, wanted: dict[str, Any]) -> None:
    texts = [write(factory, schema(wanted), seed) for seed in range(50)]
    for text in texts:
        jsonschema.validate(json.loads(text), wanted)
    assert len(set(texts)) > 10


@pytest.mark.parametrize("parameters", [{"top_p": 0.9}, {"top_k": 5}, {"temperature": 0.0}, {"min_p": 0.2}])
def test_with_other_limits(factory: GrammarFactory, parameters: dict[str, Any]) -> None:
    for seed in range(5):
        jsonschema.validate(json.loads(write(factory, schema(PERSON), seed, **parameters)), PERSON)


def test_any_object(factory: GrammarFactory) -> None:
    for seed in range(20):
        assert isinstance(json.loads(write(factory, Grammar("json_object"), seed)), dict)


def test_other_kinds(factory: GrammarFactory) -> None:
    for seed in range(20):
        assert re.fullmatch(r"[a-c]{2,5}-\d\d", write(factory, Grammar("regex", r"[a-c]{2,5}-[0-9][0-9]"), seed))
        assert write(factory, Grammar("lark", 'start: "yes" | "no" ("!")*'), seed).rstrip("!") in ("yes", "no")


def test_a_vocabulary_that_is_larger_or_smaller_than_that_of_the_tokenizer(factory: GrammarFactory) -> None:
    for vocabulary in (VOCABULARY + 41, VOCABULARY - 3):
        state = factory.compile(Grammar("json_object"))
        logits = np.zeros(vocabulary, dtype=np.float32)
        state.mask(logits)
        (allowed,) = np.flatnonzero(np.isfinite(logits))
        assert TOKENIZER.decode_bytes([int(allowed)]) == b"{"
    assert json.loads(write(factory, Grammar("json_object"), 1, VOCABULARY + 41)) is not None


def test_json_has_no_blanks_between_its_parts(factory: GrammarFactory) -> None:
    state = factory.compile(schema({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}))
    for token in TOKENIZER.tokenize_str('{"a":1'):
        state.accept(token)
    logits = np.zeros(VOCABULARY, dtype=np.float32)
    state.mask(logits)
    texts = [TOKENIZER.decode_bytes([int(token)]) for token in np.flatnonzero(np.isfinite(logits))]
    assert not [text for text in texts if text.strip() != text]


@pytest.mark.parametrize("text", ["<|im_end|>", "a<|im_end|>b", "<|im_start|>user", "<|endoftext|>"])
@pytest.mark.parametrize("kind", ["const", "enum", "regex", "lark", "behind"])
def test_texts_that_control_tokens_have_are_written_as_texts(factory: GrammarFactory, text: str, kind: str) -> None:
    schemas = {
        "const": {"const": text},
        "enum": {"enum": [text, f"{text}x"]},
        "behind": {
            "type": "object",
            "properties": {"a" * 30: {"type": "boolean"}, "b" * 30: {"const": text}},
            "required": ["a" * 30, "b" * 30],
            "additionalProperties": False,
        },
    }
    if kind in schemas:
        written = write(factory, schema(schemas[kind]), 1)
        assert text in written
        jsonschema.validate(json.loads(written), schemas[kind])
    else:
        grammar = Grammar(kind, re.escape(text) if kind == "regex" else f"start: {json.dumps(text)}")
        assert write(factory, grammar, 1) == text


def test_only_the_end_can_follow_what_is_finished(factory: GrammarFactory) -> None:
    state = factory.compile(schema({"const": "a"}))
    sampler = Sampler(SamplingParameters(), SamplingDefaults(), [], state)
    logits = np.zeros(VOCABULARY, dtype=np.float32)
    text = b""
    while not state.is_finished:
        text += TOKENIZER.decode_bytes([sampler.choose(logits).token])
    assert text == b'"a"'
    assert [sampler.choose(logits).token for _ in range(3)] == [END] * 3


def test_an_answer_may_end_where_its_grammar_can(factory: GrammarFactory) -> None:
    state = factory.compile(Grammar("regex", "[a-z]+"))
    sampler = Sampler(SamplingParameters(logit_bias=((END, 100.0),)), SamplingDefaults(), [], state)
    logits = np.zeros(VOCABULARY, dtype=np.float32)
    assert sampler.choose(logits).token != END
    assert not state.is_finished
    assert sampler.choose(logits).token == END
    assert state.is_finished


def test_several_ends() -> None:
    state = GrammarFactory(MODEL, [2, 0]).compile(schema({"const": 1}))
    state.accept(TOKENIZER.tokenize_str("1")[0])
    logits = np.zeros(VOCABULARY, dtype=np.float32)
    state.mask(logits)
    assert np.flatnonzero(np.isfinite(logits)).tolist() == [0, 2]


def test_in_a_batch_each_has_its_own_grammar(factory: GrammarFactory) -> None:
    def samplers() -> list[Sampler]:
        grammars = [None, schema(PERSON), Grammar("regex", "[a-z]{200}"), schema(PERSON)]
        return [
            Sampler(
                SamplingParameters(temperature=1.0, seed=3),
                SamplingDefaults(),
                [],
                grammar and factory.compile(grammar),
                logprobs=2 if number == 2 else None,
            )
            for number, grammar in enumerate(grammars)
        ]

    together, alone = samplers(), samplers()
    random = np.random.default_rng(4)
    for _ in range(40):
        rows = random.normal(0, 2, (4, VOCABULARY)).astype(np.float32)
        rows[3] = rows[1]
        choices = choose_batch(together, rows)
        assert choices == [sampler.choose(row) for sampler, row in zip(alone, rows, strict=True)]
        assert choices[1] == choices[3]


def test_a_token_that_the_grammar_does_not_allow_is_an_error(factory: GrammarFactory) -> None:
    state = factory.compile(Grammar("json_object"))
    with pytest.raises(EngineError, match="cannot be followed"):
        state.accept(TOKENIZER.tokenize_str("x")[0])
    sampler = Sampler(SamplingParameters(), SamplingDefaults(), [], state)
    other = Sampler(SamplingParameters(), SamplingDefaults(), [])
    first, second = choose_batch([sampler, other], np.zeros((2, VOCABULARY), dtype=np.float32))
    assert isinstance(first, EngineError)
    assert second == Choice(0)


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (schema({"type": "nonsense"}), "Invalid type: nonsense"),
        (schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (schema({"if": {}, "then": {}}), "Unimplemented keys"),
        (schema({"$ref": "http://example.com/schema"}), "example.com"),
        (schema({"$ref": "file:///etc/passwd"}), "file:///etc/passwd"),
        (schema({"$ref": "#"}), "nothing satisfies it"),
        (schema({"type": "object", "required": ["b"], "additionalProperties": False}), "required property 'b'"),
        (schema({"type": "string", "pattern": "(?=a)b"}), "regex parse error"),
        (schema({"x-guidance": {"nope": 1}}), "nope"),
        (schema({"x-guidance": {"lenient": True}, "not": {}}), "Unimplemented keys"),
        (schema([]), "schema cannot be used"),
        (Grammar("json_schema", "{"), "schema cannot be used"),
        (Grammar("json_schema", '{"a":' * 5000 + "1" + "}" * 5000), "recursion limit"),
        (Grammar("json_schema", ""), "schema cannot be used"),
        (schema({"description": "x" * LARGEST_GRAMMAR}), "larger than 512 KiB"),
        (Grammar("regex", "("), "regular expression cannot be used"),
        (Grammar("lark", "start: other"), 'unknown name: "other"'),
        (schema({"allOf": [{"anyOf": [{"const": i} for i in range(n, 90)]} for n in range(40)]}), "too large"),
    ],
)
def test_what_cannot_be_compiled(factory: GrammarFactory, grammar: Grammar, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(reason)) as caught:
        factory.compile(grammar)
    assert caught.value.param == "response_format"
    assert caught.value.message.startswith("response_format: ")
    assert len(caught.value.message) < 400
    assert "\n" not in caught.value.message


def _cycle(number: int) -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/$defs/d{(number + step) % 300}"} for step in range(1, 6)]}


HEAVY: dict[str, Any] = {
    "patterns": {"properties": {f"p{i}": {"type": "string", "pattern": f".*a.{{{i}}}b"} for i in range(900)}},
    "repeats": {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"},
    "arrays": {"type": "array", "maxItems": 10**9, "items": {"type": "array", "maxItems": 10**9, "minItems": 10**5}},
    "alternatives": {"enum": [f"value {i}" for i in range(4000)]},
    "references": {"$defs": {f"d{i}": _cycle(i) for i in range(300)}, "$ref": "#/$defs/d0"},
    "lengths": {"patternProperties": {f"^{i}.*x{{1,500}}": {"type": "string", "minLength": 1000 * i} for i in range(700)}},
}


LARK_INTERSECTION = "start: A\nA: " + " & ".join(f"/.*a.{{{i}}}b.*/" for i in range(1, 60))
BEYOND: list[tuple[Grammar, str]] = [
    (Grammar("lark", LARK_INTERSECTION), "operator '&'"),
    (Grammar("lark", "start: A\nA: ~/a/"), "operator '~'"),
    (Grammar("lark", 'start: %json {"type": "integer", "multipleOf": 999979}'), "'multipleOf'"),
    (Grammar("lark", "start: /((a{1,100}){1,100}){1,100}/"), "repetitions"),
    (schema({"type": "integer", "multipleOf": 999979}), "'multipleOf'"),
    (schema({"type": "integer", "multipleOf": 2**30}), "'multipleOf'"),
    (schema({"anyOf": [{"type": "integer", "multipleOf": 900 + i} for i in range(50)]}), "'multipleOf'"),
    (schema({"allOf": [{"type": "string", "pattern": f".*a.{{{i}}}b.*"} for i in range(1, 60)]}), "'allOf'"),
    (schema({"type": "string", "pattern": "^(([a-z]{1,50}x?){1,50}y?){1,50}$"}), "'pattern'"),
    (schema({"properties": {f"p{i}": {"type": "integer"} for i in range(500)}}), "'required'"),
    (Grammar("regex", "(a?){500}a{500}"), "too many expressions"),
    (Grammar("regex", "(((a{100})?){100}?){100}"), "repetitions"),
]


@pytest.mark.parametrize(("grammar", "reason"), BEYOND)
def test_what_would_be_compiled_without_end_or_fail_later_is_refused_at_once(
    factory: GrammarFactory, grammar: Grammar, reason: str
) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidRequestError, match=re.escape(reason)) as caught:
        factory.enforceable(grammar)
    assert isinstance(caught.value, UnenforceableSchemaError) == (grammar.kind == "json_schema")
    assert time.monotonic() - began < 5  # on a busy machine; usually below 0.1


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("lark", 'start: "a & b" | "~" | /[&~]/ // this & that'),
        Grammar("regex", r"[a-z]{1,1000}(\w{1,30} ){1,300}\x{41}{3}"),
        schema({"properties": {"multipleOf": {"type": "number", "multipleOf": 0.01}, "b": {"multipleOf": 1000000}}}),
        schema({"properties": {f"p{i}": {"type": "integer"} for i in range(400)}}),
        schema({"properties": {f"p{i}": {"type": "string", "pattern": f"^a{i}$"} for i in range(40)}}),
    ],
)
def test_what_is_within_the_limits(factory: GrammarFactory, grammar: Grammar) -> None:
    factory.enforceable(grammar)


def test_a_grammar_that_becomes_too_complex_later_is_the_fault_of_the_request(factory: GrammarFactory) -> None:
    late = Grammar("lark", "start: B A\nB: /[0-9]{400}/\nA: /(([a-z]{1,20}x?){1,20}y?){1,20}/")
    factory.enforceable(late)
    state = factory.compile(late, "grammar")
    for token in TOKENIZER.tokenize_str("1" * 400):
        state.accept(token)

    def go_on() -> None:
        for token in TOKENIZER.tokenize_str("abcxy" * 20):
            state.mask(np.zeros(VOCABULARY, dtype=np.float32))
            state.accept(token)

    with pytest.raises(InvalidRequestError, match="too complex") as caught:
        go_on()
    assert caught.value.param == "grammar"


@pytest.mark.parametrize("heavy", HEAVY.values(), ids=HEAVY)
def test_what_is_heavy_takes_no_time_that_others_would_notice(factory: GrammarFactory, heavy: dict[str, Any]) -> None:
    grammar = schema(heavy)
    assert len(grammar.text) <= LARGEST_GRAMMAR
    began = time.monotonic()
    try:
        state = factory.compile(grammar)
        state.mask(np.zeros(VOCABULARY, dtype=np.float32))
    except (InvalidRequestError, EngineError):
        pass
    assert time.monotonic() - began < 5  # on a busy machine; usually below 0.3


def test_each_answer_has_its_own_place_in_a_grammar(factory: GrammarFactory) -> None:
    first, second = factory.compile(schema(PERSON)), factory.compile(schema(PERSON))
    first.accept(TOKENIZER.tokenize_str("{")[0])
    second.accept(TOKENIZER.tokenize_str("{")[0])
    with pytest.raises(EngineError):
        first.accept(TOKENIZER.tokenize_str("{")[0])


def test_a_tokenizer_that_does_not_allow_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Odd"}}')
    for factory in (GrammarFactory(tmp_path, {END}), GrammarFactory(tmp_path / "none", {END}), GrammarFactory(MODEL, ())):
        with pytest.raises(InvalidRequestError, match="the tokenizer of this model does not allow it"):
            factory.compile(Grammar("json_object"))

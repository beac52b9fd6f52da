"""Grammars of replies: what models of each family write is allowed, and what random logits make of them are calls."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats import find_reply_format
from foundry_cli.engine.reply_formats.tool_schemas import arguments_schema, enforced
from foundry_cli.engine.request import Grammar, Tool, ToolUse
from foundry_cli.errors import InvalidRequestError
from tests.engine.replies import TIME, TOOLS, WEATHER, Follower, control_tokens, read
from tests.engine.test_reply_formats import DC, DCE, DE, DS, TEMPLATES, D, W

REQUIRED = replace(TOOLS, is_required=True)
ONE = replace(REQUIRED, is_parallel=False)
HARMONY = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>")
THINK = ("<think>", "</think>")
CONTROL: dict[str, list[tuple[str, ...]]] = {
    "harmony": [HARMONY],
    "deepseek": [(), (D, DE, DC, DCE, DS)],
    "deepseek_plain": [(), (D, DE, DC, DCE, DS, *THINK)],
    "mistral": [(), ("[TOOL_CALLS]",)],
    "mistral_named": [(), ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")],
    "granite": [(), ("<|tool_call|>",)],
    "phi4": [(), ("<|tool_call|>", "<|/tool_call|>")],
    "hermes": [(), ("<tool_call>", "</tool_call>")],
    "qwen3": [(), THINK],
    "llama_json": [(), ("<|python_tag|>",)],
}
EVERY: list[tuple[str, tuple[str, ...]]] = [(name, control) for name in TEMPLATES for control in CONTROL.get(name, [()])]
OBJECT = Grammar("json_object")


def found(name: str, control: tuple[str, ...] = ()) -> ReplyFormat:
    return find_reply_format(TEMPLATES[name], control_tokens(control))


def grammar(name: str, use: ToolUse | None, answer: Grammar | None, control: tuple[str, ...] = (), end: str = "") -> Grammar:
    made = found(name, control).grammar(end, use, answer, control_tokens(control))
    assert made is not None
    return made


def allows(made: Grammar, text: str, control: tuple[str, ...] = ()) -> bool:
    """Whether `text` is a whole reply."""
    follower = Follower(made, control)
    return follower.write(text) and follower.may_end


def json_call(key: str, name: str, arguments: str) -> str:
    return f'{{"name": "{name}", "{key}": {arguments}}}'


FIRST, SECOND = ((json_call("arguments", "get_weather", W)), json_call("arguments", "get_time", "{}"))
FENCED = "\n```json\n{}\n```"
WRITTEN = {
    "harmony": [f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{W.replace(' ', '')}"],
    "deepseek": [
        f"{D}{DC}function{DS}get_weather\n```json\n{W}\n```{DCE}\n{DC}function{DS}get_time\n```json\n{{}}\n```{DCE}{DE}",
        f"{D}{DC}function{DS}get_weather\n```json\n{W}\n```{DCE}{DE}",
    ],
    "deepseek_plain": [f"{D}{DC}get_weather{DS}{W}{DCE}{DC}get_time{DS}{{}}{DCE}{DE}", f"{D}{DC}get_time{DS}{{}}{DCE}{DE}"],
    "mistral": [f"[TOOL_CALLS][{FIRST}, {SECOND}]", f"[TOOL_CALLS][{FIRST}]"],
    "mistral_named": [f"[TOOL_CALLS]get_weather[ARGS]{W}[TOOL_CALLS]get_time[ARGS]{{}}", f"[TOOL_CALLS]get_weather[ARGS]{W}"],
    "granite": [f"<|tool_call|>[{FIRST}, {SECOND}]", f"<|tool_call|>[{FIRST}]"],
    "phi4": [f"<|tool_call|>[{FIRST}, {SECOND}]<|/tool_call|>", f"<|tool_call|>[{SECOND}]<|/tool_call|>"],
    "phi4_functools": [f"functools[{FIRST}, {SECOND}]", f"functools[{FIRST}]"],
    "hermes": [
        f"<tool_call>\n{FIRST}\n</tool_call>\n<tool_call>\n{SECOND}\n</tool_call>",
        f"<tool_call>\n{SECOND}\n</tool_call>",
    ],
    "qwen3_coder": [
        '<tool_call>\n<function=get_weather>\n<parameter=city>\n"Paris"\n</parameter>\n<parameter=unit>\nC\n</parameter>\n</function>\n</tool_call>'
        "\n<tool_call>\n<function=get_time>\n</function>\n</tool_call>",
        "<tool_call>\n<function=get_time>\n</function>\n</tool_call>",
    ],
    "llama_json": [json_call("parameters", "get_weather", W)],
    "llama_pythonic": ['[get_weather(city="Paris", days=[1, 2]), get_time()]', "[get_time()]"],
    "generic": [f"{FIRST}\n{SECOND}", SECOND],
}
WRITTEN |= {
    "granite4": WRITTEN["hermes"],
    "qwen3": WRITTEN["hermes"],
    "granite_thinking": WRITTEN["granite"],
    "generic_thinking": WRITTEN["generic"],
}


@pytest.mark.parametrize(("name", "control"), EVERY)
def test_what_models_write_is_allowed(name: str, control: tuple[str, ...]) -> None:
    for text in WRITTEN[name]:
        calls = read(found(name, control), [text]).calls
        assert allows(grammar(name, REQUIRED, None, control), text, control)
        assert allows(grammar(name, TOOLS, None, control), text, control)
        assert allows(grammar(name, TOOLS, OBJECT, control), text, control)
        assert allows(grammar(name, ONE, None, control), text, control) == (len(calls) == 1)
        if len(calls) == 1:
            assert allows(grammar(name, replace(TOOLS, named=calls[0][0]), None, control), text, control)
        else:
            assert not allows(grammar(name, replace(TOOLS, is_parallel=False), OBJECT, control), text, control)
            assert not allows(grammar(name, replace(TOOLS, named="get_time"), None, control), text, control)


@pytest.mark.parametrize(("name", "control"), EVERY)
@pytest.mark.parametrize("use", [REQUIRED, ONE, replace(TOOLS, named="get_weather")], ids=["required", "one", "named"])
def test_random_replies_are_calls_that_match_the_schemas(name: str, control: tuple[str, ...], use: ToolUse) -> None:
    form, made = found(name, control), grammar(name, use, None, control)
    for seed in range(2):
        text = written_by_chance(name, made, control, seed)
        reply = read(form, [text], tools=use)
        assert reply.calls
        assert not reply.text
        assert use.is_parallel or len(reply.calls) == 1
        check(reply.calls, use)


def written_by_chance(name: str, made: Grammar, control: tuple[str, ...], seed: int) -> str:
    """A reply of random logits; they would not close a thought that is opened for long, so that is done for them."""
    follower = Follower(made, control)
    thinks = found(name, control).visible_tokens >= set(THINK)
    begun = "<think>so</think>" if thinks and not set(THINK) <= set(control) else ""
    assert follower.write(begun)
    rest = follower.random(seed)
    assert rest is not None
    return begun + rest


def check(calls: list[tuple[str, str]], use: ToolUse) -> None:
    for name, arguments in calls:
        assert use.named in (None, name)
        (tool,) = (tool for tool in use.tools if tool.name == name)
        jsonschema.validate(json.loads(arguments), tool.parameters or {})


@pytest.mark.parametrize(("name", "control"), EVERY)
def test_a_random_reply_is_calls_or_the_answer(name: str, control: tuple[str, ...]) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]}
    answer = Grammar("json_schema", json.dumps({**schema, "additionalProperties": False}))
    made, kinds = grammar(name, TOOLS, answer, control), set()
    for seed in range(6):
        text = written_by_chance(name, made, control, seed)
        reply = read(found(name, control), [text])
        kinds.add(bool(reply.calls))
        if reply.calls:
            check(reply.calls, TOOLS)
        else:
            jsonschema.validate(json.loads(reply.text), schema)
    assert kinds


@pytest.mark.parametrize(("name", "control"), EVERY)
def test_a_call_that_is_begun_in_text_is_finished_by_the_grammar(name: str, control: tuple[str, ...]) -> None:
    text = WRITTEN[name][-1]
    made = grammar(name, TOOLS, None, control)
    ((_, arguments),) = read(found(name, control), [text]).calls
    begun = text[: text.index("city=" if "city=" in text else arguments.replace(" ", "") if name == "harmony" else "get_")]
    if name.startswith(("generic", "llama")):  # nothing else tells of a call
        begun = text[: text.index("{", 1) if name != "llama_pythonic" else text.index("(") + 1]
    for seed in range(3):
        follower = Follower(made, control)
        assert follower.write(begun)
        assert not follower.may_end
        rest = follower.random(seed)
        assert rest is not None
        reply = read(found(name, control), [begun + rest])
        assert reply.calls
        check(reply.calls, TOOLS)


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "harmony"])
def test_text_is_free_and_half_a_marker_too(name: str) -> None:
    for use in (TOOLS, replace(TOOLS, is_parallel=False)):
        made = grammar(name, use, None)
        for text in (
            "",
            "Hello, <b>world</b>!\n\n",
            "<tool_",
            "functools",
            '{"a": 1}',
            "[1, 2]",
            '{"name": "other"}',
            "<think",
        ):
            assert allows(made, text), text


def test_what_comes_behind_a_call_is_free_if_there_may_be_several() -> None:
    text = f"Ok.\n{WRITTEN['hermes'][-1]}\nAnd\n{WRITTEN['hermes'][-1]} so."
    assert allows(grammar("hermes", TOOLS, None), text)
    assert not allows(grammar("hermes", replace(TOOLS, is_parallel=False), None), text)


@pytest.mark.parametrize("control", [(), THINK])
def test_a_thought_is_free_and_its_calls_are_none(control: tuple[str, ...]) -> None:
    call = WRITTEN["qwen3"][-1]
    thought = "<think>\nI write <tool_call>x and\n\n{</think>\n\n"
    behind = thought.removeprefix("<think>")
    for use, answer, reply in (
        (TOOLS, None, "Hi"),
        (TOOLS, None, call),
        (REQUIRED, None, call),
        (TOOLS, OBJECT, '{"a":1}'),
        (None, OBJECT, '{"a":1}'),
    ):
        for text, end in ((reply, ""), (thought + reply, ""), (behind + reply, "<think>\n")):
            assert allows(grammar("qwen3", use, answer, control, end), text, control), (text, end)
        is_free = use is not None and not use.is_required and answer is None
        assert allows(grammar("qwen3", use, answer, control), "<think>so", control) == is_free
        assert allows(grammar("qwen3", use, answer, control, "<think>"), "so", control) == is_free
    assert not allows(grammar("qwen3", REQUIRED, None, control), thought + "Hi", control)
    assert not allows(grammar("qwen3", None, OBJECT, control), thought + "Hi", control)


@pytest.mark.parametrize(
    ("answer", "good", "bad"),
    [
        (OBJECT, '{"a":[1]}', "[]"),
        (Grammar("json_schema", "true"), "[1]", "x"),
        (Grammar("json_schema", '{"const": "a/b\\n"}'), '"a/b\\n"', "x"),
        (Grammar("regex", r"a/b\/[c/]\\+"), "a/b/c\\", "a/b/c"),
        (Grammar("regex", "x\ny"), "x\ny", "xy"),
        (Grammar("lark", 'start: A | "b"\nA: "a"'), "a", "c"),
        (Grammar("lark", 'start: "{" /}+/ x // } "\nx: %json {"const": "}"} # {'), '{}}"}"', "{}"),
    ],
)
def test_every_kind_of_answer_may_stand_behind_a_thought(answer: Grammar, good: str, bad: str) -> None:
    final = "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>"
    for name, before, control in (("qwen3", "<think>a</think>\n\n", ()), ("harmony", final, HARMONY)):
        assert allows(grammar(name, None, answer, control), before + good, control)
        assert not allows(grammar(name, None, answer, control), before + bad, control)


def test_without_tools_and_thoughts_an_answer_has_its_own_grammar() -> None:
    assert found("hermes").grammar("", None, OBJECT, {}) is OBJECT
    assert found("qwen3").grammar("<think>\n\n</think>\n\n", None, OBJECT, {}) is OBJECT
    assert all(found(name).grammar("", None, None, {}) is None for name in TEMPLATES)


def test_harmony_lets_a_model_think_then_call_or_answer() -> None:
    thought = "<|channel|>analysis<|message|>So.<|end|><|start|>assistant"
    call = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city":"Paris"}'
    other = " to=functions.get_time<|channel|>commentary json<|message|>{}"
    free, required = grammar("harmony", TOOLS, None, HARMONY), grammar("harmony", REQUIRED, None, HARMONY)
    for text in (call, other, thought + call, thought + thought + other):
        assert allows(free, text, HARMONY)
        assert allows(required, text, HARMONY)
    for text in (thought + "<|channel|>final<|message|>Hi", "<|channel|>analysis<|message|>So."):
        assert allows(free, text, HARMONY)
        assert not allows(required, text, HARMONY)
    assert not allows(free, thought, HARMONY)
    assert not allows(free, call.replace("Paris", "Paris or anything"), HARMONY)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {
            "properties": {
                "a": {"type": "string", "description": 'with } and // and # and "'},
                "b": {"type": "string", "enum": ["x/y", "z"]},
                "c": {"enum": ["1", 1, None]},
                "d": {"type": "string", "enum": ["1", "a\nb"]},
                "e": {"type": ["string", "null"], "maxLength": 3},
                "f": {"type": "string", "pattern": "^[a-z0-9]{1,3}$"},
            },
            "required": ["f"],
        },
        {"properties": {"a": {"type": "integer"}}, "required": ["a"], "anyOf": [{"required": ["a"]}]},
        {"properties": {"a-b": {"type": "boolean"}}, "required": ["a-b"]},
        {"properties": {f"k{number}": {"type": "boolean"} for number in range(9)}},
        {"properties": {"a": {"enum": [1]}, "b": {"type": "null"}, "c": {"const": "x"}}},
        {
            "properties": {"a": {"type": "array", "items": {"$ref": "#/definitions/x"}, "maxItems": 3}},
            "definitions": {"x": {"enum": [1, "é"]}},
        },
        {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "boolean"}},
    ],
)
@pytest.mark.parametrize("form", ["llama_pythonic", "qwen3_coder"])
def test_calls_that_are_no_json_match_any_schema(form: str, schema: dict[str, Any]) -> None:
    use = ToolUse((Tool("f", parameters=schema),), is_required=True, is_parallel=False)
    made = grammar(form, use, None)
    for seed in range(4):
        text = Follower(made).random(seed)
        assert text is not None
        ((name, arguments),) = read(found(form), [text], tools=use).calls
        assert name == "f"
        jsonschema.validate(json.loads(arguments), schema)


def test_references_hold_wherever_a_schema_is_put() -> None:
    answer = Grammar("json_schema", '{"const": 1}')
    made = grammar("generic", TOOLS, answer)
    assert allows(made, json_call("arguments", "get_weather", '{"city": "a", "days": [7]}'))
    assert not allows(made, json_call("arguments", "get_weather", '{"city": "a", "days": [8]}'))
    assert allows(made, "1")


def test_only_listed_properties_are_written_unless_the_schema_says_more() -> None:
    assert arguments_schema(TIME) == {"type": "object", "properties": {}, "additionalProperties": False}
    assert arguments_schema(WEATHER)["additionalProperties"] is False
    assert arguments_schema(Tool("f")) == {"type": "object"}
    schemas: list[dict[str, Any]] = [
        {"properties": {}, "required": ["a"]},
        {"properties": {}, "additionalProperties": True},
        {"anyOf": [{}]},
    ]
    for schema in schemas:
        assert arguments_schema(Tool("f", parameters=schema)) == {**schema, "type": "object"}
    assert "x-guidance" not in arguments_schema(Tool("f", parameters={"x-guidance": {"lenient": True}}))


def refuse_times(grammar: Grammar) -> Grammar:
    if "additionalProperties" in grammar.text and "city" not in grammar.text:
        raise InvalidRequestError("no", param="tools")
    return grammar


def test_a_schema_that_cannot_be_enforced_is_loosened_or_refused() -> None:
    assert enforced(TOOLS, refuse_times).tools == (WEATHER, replace(TIME, parameters=None))
    assert enforced(replace(TOOLS, named="get_weather"), refuse_times).tools == (WEATHER,)
    for use in (REQUIRED, replace(TOOLS, named="get_time"), ToolUse((WEATHER, replace(TIME, strict=True)))):
        with pytest.raises(InvalidRequestError):
            enforced(use, refuse_times)


def test_mistral_may_write_an_identifier_of_its_own() -> None:
    control = CONTROL["mistral_named"][1]
    for tokens in ((), control):
        text = f"[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{W}"
        assert allows(grammar("mistral_named", REQUIRED, None, tokens), text, tokens)
        assert not allows(grammar("mistral_named", REQUIRED, None, tokens), text.replace("e[", "["), tokens)

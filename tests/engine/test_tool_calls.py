"""Thoughts and calls through the real worker: the prompt tells of the tools, the reply comes apart, the grammar holds."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from foundry_cli.engine.grammar import GrammarFactory
from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.reply_formats.tool_schemas import enforced
from foundry_cli.engine.request import (
    EngineEvent,
    Finish,
    GenerationRequest,
    Grammar,
    ReasoningChunk,
    SamplingParameters,
    TextChunk,
    Tool,
    ToolCallChunk,
    ToolUse,
)
from foundry_cli.errors import InvalidRequestError, UnenforceableSchemaError
from tests.engine.workers import engine
from tests.models.scripted import write_scripted_model

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}<tool_call></tool_call><|im_end|>"
    "\n"
    "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{# <think></think> #}"
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
LOOK = Tool("look", "Look at it", SCHEMA)
CALL = '<tool_call>\n{"name": "look", "arguments": {"city": "Rome"}}\n</tool_call>'
REPLY = f"<think>Which one?</think>I look.\n{CALL}\n{CALL.replace('Rome', 'Bonn')}"
MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


def pieces(reply: str) -> list[bytes]:
    """A token for each marker, and one for each byte of the rest."""
    for number, marker in enumerate(MARKERS):
        reply = reply.replace(marker, f"\0{number}")
    found: list[bytes] = []
    for part in reply.split("\0"):
        if found or reply.startswith("\0"):
            found += [MARKERS[int(part[0])].encode()] if part else []
            part = part[1:]
        found += [bytes([byte]) for byte in part.encode()]
    return found


@pytest.fixture(
    scope="module",
    params=[pytest.param("text", marks=pytest.mark.slow), "added", pytest.param("special", marks=pytest.mark.slow)],
)
def caller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that thinks, talks and calls twice; its markers are texts, or tokens of either kind."""
    directory = tmp_path_factory.mktemp(f"caller-{request.param}")
    tokens: dict[str, Any] = {} if request.param == "text" else {f"{request.param}_tokens": MARKERS}
    reply = REPLY if request.param == "text" else pieces(REPLY)
    return write_scripted_model(directory, [reply], chat_template=TEMPLATE, **tokens)


def ask(model: Path, **fields: Any) -> list[EngineEvent]:
    return ask_all(model, fields)[0]


def ask_all(model: Path, *requests: dict[str, Any]) -> list[list[EngineEvent]]:
    messages = ({"role": "user", "content": "Where?"},)

    async def run() -> list[list[EngineEvent]]:
        async def events(process: EngineProcess, fields: dict[str, Any]) -> list[EngineEvent]:
            request = GenerationRequest(messages=messages, **{"max_tokens": 300, **fields})
            return [event async for event in process.generate(request)]

        async with engine(model) as process:
            return await asyncio.gather(*(events(process, fields) for fields in requests))

    return asyncio.run(run())


def summary(events: list[EngineEvent]) -> tuple[str, str, list[tuple[str, str]], str]:
    """Thought, text, calls with their arguments, and the reason of the end."""
    *rest, end = events
    assert isinstance(end, Finish)
    calls: list[tuple[str, str]] = []
    for event in rest:
        if isinstance(event, ToolCallChunk):
            if event.name:
                assert len(event.identity) == 9
                calls.append((event.name, ""))
            calls[event.index] = (calls[event.index][0], calls[event.index][1] + event.arguments)
    thought = "".join(event.text for event in rest if isinstance(event, ReasoningChunk))
    text = "".join(event.text for event in rest if isinstance(event, TextChunk))
    assert sum(event.tokens for event in rest if not isinstance(event, Finish)) <= end.usage.completion_tokens
    return thought, text, calls, end.reason


TWO = [("look", '{"city": "Rome"}'), ("look", '{"city": "Bonn"}')]


def test_calls_that_nobody_demands(caller: Path) -> None:
    events = ask(caller, tools=ToolUse((LOOK,)))
    assert summary(events) == ("Which one?", "I look.", TWO, "tool_calls")
    end = events[-1]
    assert isinstance(end, Finish)
    assert 0 < end.usage.reasoning_tokens < end.usage.completion_tokens


def test_log_probabilities_are_those_of_the_text_behind_a_call(tmp_path: Path) -> None:
    reply = pieces(f"ok {CALL}\ncool toll")
    model = write_scripted_model(tmp_path, [reply], chat_template=TEMPLATE, added_tokens=MARKERS)
    *rest, _ = ask(model, tools=ToolUse((LOOK,)), logprobs=0)
    texts = [event for event in rest if isinstance(event, TextChunk)]
    told = [token.text for event in texts for token in event.logprobs]
    assert "".join(event.text for event in texts) == "".join(told) == "okcool toll"


def test_without_tools_a_call_is_text(caller: Path) -> None:
    thought, text, calls, reason = summary(ask(caller))
    assert (thought, calls, reason) == ("Which one?", [], "stop")
    assert '"city": "Rome"' in text


def test_a_call_that_is_demanded(caller: Path) -> None:
    _, text, calls, reason = summary(ask(caller, tools=ToolUse((LOOK,), is_required=True, is_parallel=False)))
    assert (text, len(calls), reason) == ("", 1, "tool_calls")
    jsonschema.validate(json.loads(calls[0][1]), SCHEMA)


def test_an_answer_of_a_schema_follows_the_thought(caller: Path) -> None:
    properties = {"a": {"type": "boolean"}}
    schema = json.dumps({"type": "object", "properties": properties, "required": ["a"], "additionalProperties": False})
    thought, text, _, reason = summary(ask(caller, grammar=Grammar("json_schema", schema)))
    assert thought == "Which one?"
    assert (reason, list(json.loads(text))) == ("stop", ["a"])


def test_stop_sequences_are_for_the_text(caller: Path) -> None:
    events = ask(caller, tools=ToolUse((LOOK,)), stop=("Which", "Rome"))
    assert summary(events) == ("Which one?", "I look.", TWO, "tool_calls")
    events = ask(caller, tools=ToolUse((LOOK,)), stop=("look",))
    assert summary(events) == ("Which one?", "I ", [], "stop")
    assert isinstance(events[-1], Finish)
    assert events[-1].stop_sequence == "look"


def test_an_answer_that_is_cut_in_a_call(caller: Path) -> None:
    cuts = range(1, 120, 5)
    for events in ask_all(caller, *({"tools": ToolUse((LOOK,)), "max_tokens": limit} for limit in cuts)):
        thought, text, calls, reason = summary(events)
        assert reason == "length"
        assert "Which one?</think>".startswith(thought)  # perhaps half a marker
        assert any(whole.startswith(text) for whole in ("I look.\n<tool_call>", "I look.<tool_call>", "<think>"))  # the same
        assert all(TWO[index][1].startswith(arguments) for index, (_, arguments) in enumerate(calls))


def test_schemas_that_cannot_be_enforced(caller: Path) -> None:
    odd = Tool("odd", "", {"type": "object", "properties": {"a": {"$ref": "#/none"}}})
    assert summary(ask(caller, tools=ToolUse((LOOK, odd))))[3] == "tool_calls"
    for use in (ToolUse((odd,), is_required=True), ToolUse((replace(odd, strict=True),))):
        with pytest.raises(UnenforceableSchemaError, match="none") as caught:
            ask(caller, tools=use)
        assert caught.value.param == "tools"


def test_one_word_that_cannot_be_enforced_does_not_lose_the_others(caller: Path) -> None:
    fields = {"city": {"type": "string", "format": "city", "maxLength": 8}, "tags": {"type": "array", "uniqueItems": True}}
    look = replace(LOOK, parameters={"type": "object", "properties": fields, "required": ["city"]})
    expected = {"city": {"type": "string", "maxLength": 8}, "tags": {"type": "array"}}
    for use in (ToolUse((look,)), ToolUse((look,), is_required=True)):
        (tool,) = enforced(use, GrammarFactory(caller, {0}).enforceable).tools
        assert tool.parameters is not None
        assert tool.parameters["properties"] == expected
    assert summary(ask(caller, tools=ToolUse((look,))))[3] == "tool_calls"
    with pytest.raises(UnenforceableSchemaError, match="uniqueItems"):
        ask(caller, tools=ToolUse((replace(look, strict=True),)))


def test_an_effort_that_the_template_cannot_express(caller: Path) -> None:
    with pytest.raises(InvalidRequestError, match="'high'"):
        ask(caller, reasoning_effort="high")
    assert summary(ask(caller, reasoning_effort="medium"))[0] == "Which one?"


@pytest.mark.slow
def test_random_calls_are_valid(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 99}, "s": {"enum": ["a", "b"]}},
        "required": ["n", "s"],
    }
    model = write_scripted_model(tmp_path, ["x"], chat_template=TEMPLATE.replace("think", "x"), logit=0.0)
    use = ToolUse((Tool("f", "", schema), LOOK), named="f", is_parallel=False)
    sampling = [SamplingParameters(temperature=1.0, seed=seed) for seed in range(40)]
    finished = 0
    for events in ask_all(model, *({"tools": use, "sampling": each} for each in sampling)):
        _, text, calls, reason = summary(events)
        assert (text, reason in ("tool_calls", "length")) == ("", True)
        if reason == "tool_calls":
            finished += 1
            ((name, arguments),) = calls
            assert name == "f"
            jsonschema.validate(json.loads(arguments), schema)
    assert finished > 2

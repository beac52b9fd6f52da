"""Anthropic's library for Python: prints what a case found, as JSON. Arguments: the address of the service, the case."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import anthropic

HI: Any = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_HOT: Any = {"temperature": 3}
TOOL: Any = {"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}


def create(client: anthropic.Anthropic) -> Any:
    message = client.messages.create(model="echo", max_tokens=100, messages=HI)
    return {**_facts(message), "model": message.model, "request_id": bool(message._request_id)}


def parameters(client: anthropic.Anthropic) -> Any:
    system: Any = [{"type": "text", "text": "Be brief."}]
    content: Any = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    stopped = client.messages.create(
        model="echo",
        max_tokens=100,
        messages=content,
        system=system,
        extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 5},  # the library names them no more
        stop_sequences=["st"],
    )
    cut = client.messages.create(model="echo", max_tokens=3, messages=HI)
    return {"stopped": [*_facts(stopped)["texts"], stopped.stop_reason, stopped.stop_sequence], "cut": _facts(cut)}


def stream(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(model="echo", max_tokens=100, messages=HI) as running:
        text = "".join(running.text_stream)
        return {"text": text, "final": _facts(running.get_final_message())}


def events(client: anthropic.Anthropic) -> Any:
    found = list(client.messages.create(model="echo", max_tokens=100, messages=HI, stream=True))
    return list(dict.fromkeys(event.type for event in found if event.type != "ping"))


def tools(client: anthropic.Anthropic) -> Any:
    first = client.messages.create(model="caller", max_tokens=100, messages=HI, tools=[TOOL])
    call: Any = next(block for block in first.content if block.type == "tool_use")
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}
    dialogue: Any = [*HI, {"role": "assistant", "content": first.content}, result]
    second = client.messages.create(model="caller", max_tokens=100, messages=dialogue, tools=[TOOL])
    return {"call": [call.name, call.input], "stop": first.stop_reason, "second": _facts(second)}


def tool_choices(client: anthropic.Anthropic) -> Any:
    wanted: Any = [{"type": "any"}, {"type": "tool", "name": "get_weather"}]
    return [
        client.messages.create(model="caller", max_tokens=100, messages=HI, tools=[TOOL], tool_choice=choice).stop_reason
        for choice in wanted
    ]


def tools_stream(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(model="caller", max_tokens=100, messages=HI, tools=[TOOL]) as running:
        pieces = [event.partial_json for event in running if event.type == "input_json"]
        call: Any = running.get_final_message().content[-1]
    return {"pieces": json.loads("".join(pieces)), "input": call.input, "name": call.name}


def tool_runner(client: anthropic.Anthropic) -> Any:
    asked = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather.

        Args:
            city: where
        """
        asked.append(city)
        return "sunny"

    runner = client.beta.messages.tool_runner(model="caller", max_tokens=100, messages=HI, tools=[get_weather])
    *_, last = runner
    return {"asked": asked, "texts": _facts(last)["texts"]}


def thinking(client: anthropic.Anthropic) -> Any:
    enabled: Any = {"type": "enabled", "budget_tokens": 1024}
    message = client.messages.create(model="thinker", max_tokens=1500, messages=HI, thinking=enabled)
    return [[block.type, getattr(block, "thinking", None) or getattr(block, "text", None)] for block in message.content]


def count_tokens(client: anthropic.Anthropic) -> Any:
    plain = client.messages.count_tokens(model="echo", messages=HI).input_tokens
    usage = client.messages.create(model="echo", max_tokens=5, messages=HI).usage
    used = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    with_tools = client.messages.count_tokens(model="caller", messages=HI, tools=[TOOL]).input_tokens
    return {"same": plain == used, "positive": plain > 0, "more": with_tools > plain}


def errors(client: anthropic.Anthropic) -> Any:
    return {
        "missing": _error_of(lambda: client.messages.create(model="no-such", max_tokens=5, messages=HI)),
        "value": _error_of(lambda: client.messages.create(model="echo", max_tokens=5, messages=HI, extra_body=_HOT)),
        "stream": _error_of(lambda: client.messages.create(model="no-such", max_tokens=5, messages=HI, stream=True)),
        "count": _error_of(lambda: client.messages.count_tokens(model="no-such", messages=HI)),
    }


def _error_of(call: Callable[[], Any]) -> list[Any]:
    try:
        call()
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return [type(error).__name__, body["type"], body["error"]["type"], bool(body["error"]["message"])]
    return []


def _facts(message: Any) -> dict[str, Any]:
    return {
        "texts": [block.text for block in message.content if block.type == "text"],
        "stop": message.stop_reason,
        "role": message.role,
        "usage": message.usage.input_tokens > 0 and message.usage.output_tokens > 0,
    }


CASES: dict[str, Callable[[anthropic.Anthropic], Any]] = {
    case.__name__: case
    for case in (
        create, parameters, stream, events, tools, tool_choices, tools_stream, tool_runner, thinking, count_tokens, errors,
    )
}  # fmt: skip


if __name__ == "__main__":
    with anthropic.Anthropic(base_url=sys.argv[1], api_key="any", max_retries=0, timeout=60) as made:
        print(json.dumps(CASES[sys.argv[2]](made)))

"""OpenAI's library for Python: prints what a case found, as JSON. Arguments: the address of the service, the case."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import openai
from pydantic import BaseModel

HI: Any = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER}}
RESPONSE_TOOL: Any = {"type": "function", "name": "get_weather", "description": "The weather.", "parameters": WEATHER}


class City(BaseModel):
    """What the model `city` answers."""

    name: str
    population: int


class get_weather(BaseModel):  # noqa: N801 - its name is the tool's
    """The weather."""

    city: str


def chat(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.create(model="echo", messages=HI)
    assert answer.usage
    return {
        "content": answer.choices[0].message.content,
        "finish": answer.choices[0].finish_reason,
        "model": answer.model,
        "object": answer.object,
        "total": answer.usage.total_tokens - answer.usage.prompt_tokens - answer.usage.completion_tokens,
        "request_id": bool(answer._request_id),
    }


def choices(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.create(model="echo", messages=HI, n=2, max_tokens=3, stop=["zzz"], seed=1, temperature=0)
    return {
        "texts": [choice.message.content for choice in answer.choices],
        "indexes": [choice.index for choice in answer.choices],
        "finish": [choice.finish_reason for choice in answer.choices],
        "fingerprint": isinstance(answer.system_fingerprint, str),
    }


def parts(client: openai.OpenAI) -> Any:
    content: Any = [{"type": "text", "text": "Hi"}, {"type": "text", "text": " there"}]
    messages: Any = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": content}]
    answer = client.chat.completions.create(model="echo", messages=messages, max_completion_tokens=100, user="me", store=False)
    return answer.choices[0].message.content


def stream(client: openai.OpenAI) -> Any:
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="echo", messages=HI, stream=True, stream_options=options))
    every = [choice for chunk in chunks for choice in chunk.choices]
    return {
        "text": "".join(choice.delta.content or "" for choice in every),
        "role": every[0].delta.role,
        "finish": [choice.finish_reason for choice in every if choice.finish_reason],
        "usage": chunks[-1].usage is not None and chunks[-1].choices == [],
        "ids": len({chunk.id for chunk in chunks}),
    }


def stream_helper(client: openai.OpenAI) -> Any:
    with client.chat.completions.stream(model="echo", messages=HI) as running:
        kinds = sorted({event.type for event in running})
        return {"kinds": kinds, "text": running.get_final_completion().choices[0].message.content}


def asynchronous(client: openai.OpenAI) -> Any:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="any", max_retries=0) as other:
            answers = await asyncio.gather(*(other.chat.completions.create(model="echo", messages=HI) for _ in range(4)))
            return [answer.choices[0].message.content for answer in answers]

    return asyncio.run(ask())


def logprobs(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.create(model="echo", messages=HI, logprobs=True, top_logprobs=2, max_tokens=3)
    found = answer.choices[0].logprobs
    assert found is not None
    assert found.content is not None
    return [[entry.token, entry.bytes, entry.logprob > -0.01, len(entry.top_logprobs)] for entry in found.content]


def tools(client: openai.OpenAI) -> Any:
    first = client.chat.completions.create(model="caller", messages=HI, tools=[TOOL], tool_choice="auto")
    message = first.choices[0].message
    assert message.tool_calls
    call = message.tool_calls[0]
    assert call.type == "function"
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    second = client.chat.completions.create(model="caller", messages=[*HI, message, result], tools=[TOOL])
    return {
        "calls": [[each.function.name, json.loads(each.function.arguments)] for each in message.tool_calls],  # type: ignore[union-attr]
        "content": message.content,
        "finish": [first.choices[0].finish_reason, second.choices[0].finish_reason],
        "has_id": bool(call.id),
        "answer": second.choices[0].message.content,
    }


def tool_choices(client: openai.OpenAI) -> Any:
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    found = {}
    for name, choice in {"required": "required", "named": named}.items():
        answer = client.chat.completions.create(model="caller", messages=HI, tools=[TOOL], tool_choice=choice)
        calls: Any = answer.choices[0].message.tool_calls
        found[name] = [answer.choices[0].finish_reason, [call.function.arguments for call in calls]]
    none = client.chat.completions.create(model="echo", messages=HI, tools=[TOOL], tool_choice="none")
    return {**found, "none": [none.choices[0].finish_reason, none.choices[0].message.tool_calls]}


def tools_stream(client: openai.OpenAI) -> Any:
    deltas: list[Any] = []
    text, finish = "", []
    for chunk in client.chat.completions.create(model="caller", messages=HI, tools=[TOOL], stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            deltas += choice.delta.tool_calls or []
            finish += [choice.finish_reason] if choice.finish_reason else []
    return {
        "text": text,
        "names": [delta.function.name for delta in deltas if delta.function and delta.function.name],
        "ids": len([delta.id for delta in deltas if delta.id]),
        "arguments": "".join(delta.function.arguments or "" for delta in deltas if delta.function),
        "finish": finish,
    }


def tools_helper(client: openai.OpenAI) -> Any:
    pydantic_tool = openai.pydantic_function_tool(get_weather)
    with client.chat.completions.stream(model="caller", messages=HI, tools=[pydantic_tool]) as running:
        done = [event for event in running if event.type == "tool_calls.function.arguments.done"]
        final: Any = running.get_final_completion().choices[0].message.tool_calls
    return {"done": [event.name for event in done], "parsed": final[0].function.parsed_arguments.city}


def parse(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.parse(model="city", messages=HI, response_format=City)
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    return parsed.model_dump()


def parse_tool(client: openai.OpenAI) -> Any:
    pydantic_tool = openai.pydantic_function_tool(get_weather)
    answer = client.chat.completions.parse(model="caller", messages=HI, tools=[pydantic_tool])
    call: Any = answer.choices[0].message.tool_calls
    return call[0].function.parsed_arguments.model_dump()


def cut(client: openai.OpenAI) -> Any:
    """Structured output that ends too early says so."""
    try:
        client.chat.completions.parse(model="city", messages=HI, response_format=City, max_tokens=4)
    except openai.LengthFinishReasonError as error:
        return error.completion.choices[0].finish_reason
    return "no error"


def json_object(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.create(model="city", messages=HI, response_format={"type": "json_object"})
    return json.loads(answer.choices[0].message.content or "")


def old_functions(client: openai.OpenAI) -> Any:
    functions: Any = [TOOL["function"]]
    answer = client.chat.completions.create(model="caller", messages=HI, functions=functions, function_call="auto")
    call = answer.choices[0].message.function_call
    assert call is not None
    return [answer.choices[0].finish_reason, call.name, json.loads(call.arguments)]


def reasoning(client: openai.OpenAI) -> Any:
    whole: Any = client.chat.completions.create(model="thinker", messages=HI).choices[0].message
    text, thought = "", ""
    for chunk in client.chat.completions.create(model="thinker", messages=HI, stream=True):
        delta: Any = chunk.choices[0].delta if chunk.choices else None
        text += (delta.content or "") if delta else ""
        thought += (getattr(delta, "reasoning_content", None) or "") if delta else ""
    return {"whole": [whole.reasoning_content, whole.content], "stream": [thought, text]}


def completions(client: openai.OpenAI) -> Any:
    prompt = "<|im_start|>assistant\n"
    answer = client.completions.create(model="echo", prompt=prompt, max_tokens=9)
    streamed = list(client.completions.create(model="echo", prompt=prompt, max_tokens=100, stream=True))
    several = client.completions.create(model="echo", prompt=[prompt, prompt], max_tokens=3)
    return {
        "text": answer.choices[0].text,
        "finish": answer.choices[0].finish_reason,
        "object": answer.object,
        "stream": "".join(chunk.choices[0].text for chunk in streamed if chunk.choices),
        "several": [[choice.index, choice.text] for choice in several.choices],
    }


def models(client: openai.OpenAI) -> Any:
    return {
        "ids": sorted(model.id for model in client.models.list()),
        "one": client.models.retrieve("echo").id,
        "object": client.models.retrieve("echo:1").object,
    }


def errors(client: openai.OpenAI) -> Any:
    calls: dict[str, Callable[[], Any]] = {
        "missing": lambda: client.chat.completions.create(model="no-such", messages=HI),
        "value": lambda: client.chat.completions.create(model="echo", messages=HI, temperature=3),
        "stream": lambda: client.chat.completions.create(model="echo", messages=HI, temperature=3, stream=True),
        "long": lambda: client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "x" * 9000}]),
        "schema": lambda: client.chat.completions.create(model="echo", messages=HI, response_format=_odd_format()),
        "models": lambda: client.models.retrieve("no-such"),
        "responses": lambda: client.responses.create(model="no-such", input="Hi"),
        "completions": lambda: client.completions.create(model="no-such", prompt="Hi"),
        "retrieve": lambda: client.responses.retrieve("resp_none"),
    }
    return {name: _error_of(call) for name, call in calls.items()}


def _odd_format() -> Any:
    return {"type": "json_schema", "json_schema": {"name": "odd", "schema": {"type": "no-such-type"}, "strict": True}}


def _error_of(call: Callable[[], Any]) -> list[Any]:
    try:
        call()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.code, error.param]
    return []


def response(client: openai.OpenAI) -> Any:
    first = client.responses.create(model="echo", input="Hi", instructions="Be brief.", store=True)
    second = client.responses.create(model="echo", input="More", previous_response_id=first.id, store=True)
    again = client.responses.retrieve(first.id)
    items = client.responses.input_items.list(second.id, order="asc")
    client.responses.delete(first.id)
    return {
        "texts": [first.output_text, second.output_text, again.output_text],
        "status": first.status,
        "usage": first.usage is not None and first.usage.total_tokens > 0,
        "previous": second.previous_response_id == first.id,
        "items": [item.type for item in items],
        "deleted": _error_of(lambda: client.responses.retrieve(first.id)),
    }


def response_stream(client: openai.OpenAI) -> Any:
    events = list(client.responses.create(model="echo", input="Hi", stream=True))
    last: Any = events[-1]
    numbers = [event.sequence_number for event in events]
    return {
        "kinds": list(dict.fromkeys(event.type for event in events)),
        "text": "".join(event.delta for event in events if event.type == "response.output_text.delta"),
        "final": last.response.output_text,
        "ordered": numbers == sorted(set(numbers)),
    }


def response_helper(client: openai.OpenAI) -> Any:
    with client.responses.stream(model="city", input="Hi", text_format=City) as running:
        for _ in running:
            pass
        parsed = running.get_final_response().output_parsed
    assert parsed is not None
    return parsed.model_dump()


def response_parse(client: openai.OpenAI) -> Any:
    parsed = client.responses.parse(model="city", input=HI, text_format=City).output_parsed
    assert parsed is not None
    return parsed.model_dump()


def response_tools(client: openai.OpenAI) -> Any:
    first = client.responses.create(model="caller", input=HI, tools=[RESPONSE_TOOL])
    call: Any = next(item for item in first.output if item.type == "function_call")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = client.responses.create(model="caller", input=[*HI, *first.output, result], tools=[RESPONSE_TOOL])
    third = client.responses.create(model="caller", input=[result], previous_response_id=first.id, tools=[RESPONSE_TOOL])
    events = list(client.responses.create(model="caller", input=HI, tools=[RESPONSE_TOOL], stream=True))
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    return {
        "call": [call.name, json.loads(call.arguments)],
        "answers": [second.output_text, third.output_text],
        "streamed": json.loads(done.arguments),
    }


CASES: dict[str, Callable[[openai.OpenAI], Any]] = {
    case.__name__: case
    for case in (
        chat, choices, parts, stream, stream_helper, asynchronous, logprobs, tools, tool_choices, tools_stream, tools_helper,
        parse, parse_tool, cut, json_object, old_functions, reasoning, completions, models, errors, response, response_stream,
        response_helper, response_parse, response_tools,
    )
}  # fmt: skip


if __name__ == "__main__":
    with openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="any", max_retries=0, timeout=60) as made:
        print(json.dumps(CASES[sys.argv[2]](made)))

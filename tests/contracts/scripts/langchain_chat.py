"""`langchain-openai`. Arguments: the address of the service, the name of a case. Prints what the case found, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city."""

    name: str = Field(description="what it is called")
    population: int


@tool
def get_weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


def _model(name: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=f"{sys.argv[1]}/v1", api_key="any", max_retries=0, timeout=60, **options)  # type: ignore[arg-type]


def invoke() -> Any:
    answer = _model("echo").invoke([("system", "Be brief."), ("human", "Hi")])
    return {
        "content": answer.content,
        "finish": answer.response_metadata["finish_reason"],
        "tokens": answer.usage_metadata is not None and answer.usage_metadata["total_tokens"] > 0,
    }


def stream() -> Any:
    chunks = list(_model("echo", stream_usage=True).stream("Hi"))
    return {"text": "".join(str(chunk.content) for chunk in chunks), "usage": any(chunk.usage_metadata for chunk in chunks)}


def responses() -> Any:
    return _model("echo", use_responses_api=True).invoke("Hi").text


def bind_tools() -> Any:
    model = _model("caller").bind_tools([get_weather])
    first = model.invoke("Hi")
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    second = model.invoke([HumanMessage("Hi"), first, *results])
    return {"calls": [[call["name"], call["args"]] for call in first.tool_calls], "answer": second.content}


def stream_tools() -> Any:
    first, *rest = _model("caller").bind_tools([get_weather], tool_choice="any").stream("Hi")
    whole: Any = sum(rest, start=first)
    return [[call["name"], call["args"]] for call in whole.tool_calls]


def structured() -> Any:
    """Each way in which LangChain asks for structure."""
    wanted = {"json_schema": "city", "json_mode": "city", "function_calling": "extractor"}
    found = {}
    for method, name in wanted.items():
        parsed: Any = _model(name).with_structured_output(City, method=method).invoke("Hi")  # type: ignore[arg-type]
        found[method] = parsed.model_dump()
    return found


CASES: dict[str, Callable[[], Any]] = {
    case.__name__: case for case in (invoke, stream, responses, bind_tools, stream_tools, structured)
}


if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[2]]()))

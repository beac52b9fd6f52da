"""`/v1/responses` of the real service through OpenAI's own client: TCP, a worker process, a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.responses import FunctionToolParam
from openai.types.responses.response_input_param import FunctionCallOutput
from pydantic import BaseModel, Field

from tests.conftest import RunningService, add_model

THINKING_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}<tool_call><|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}"
    "<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{# <think> </think> #}"
)
LOOK: FunctionToolParam = {
    "type": "function",
    "name": "look",
    "parameters": {
        "type": "object",
        "properties": {"at": {"type": "string"}},
        "required": ["at"],
        "additionalProperties": False,
    },
    "strict": True,
}
QWEN = Path(__file__).parents[1] / "models" / "qwen2-random"


class Person(BaseModel):
    """What a random model is made to write."""

    age: int = Field(ge=0, le=99)
    is_here: bool


@pytest.fixture(scope="module")
def qwen(service: RunningService) -> Iterator[str]:
    """A model with random weights, which writes anything."""
    directory = service.paths.default_cache / "Tests" / "qwen2-random"
    shutil.copytree(QWEN, directory)
    yield "qwen2-random-generic-cpu"
    shutil.rmtree(directory)


def test_a_response(client: openai.OpenAI) -> None:
    response = client.responses.create(model="echo", input="Hi", metadata={"a": "b"})
    assert (response.output_text, response.status, response.model) == ("The first answer.", "completed", "echo:1")
    assert response.usage is not None
    assert response.usage.output_tokens == len("The first answer.") + 1
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    again = client.responses.retrieve(response.id)
    assert again.to_dict() == response.to_dict()
    (item,) = client.responses.input_items.list(response.id)
    assert item.type == "message"
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError, match="does not exist") as gone:
        client.responses.retrieve(response.id)
    assert gone.value.code == "response_not_found"


def test_the_next_turn(client: openai.OpenAI) -> None:
    first = client.responses.create(model="echo", input=[{"role": "user", "content": "Hi"}])
    second = client.responses.create(model="echo", input="And?", previous_response_id=first.id)
    assert second.output_text == "The second answer: \N{GRINNING FACE} done."
    assert [item.type for item in client.responses.input_items.list(second.id, limit=1)] == ["message"] * 3
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="echo", input="And?", previous_response_id="resp_never")
    assert unknown.value.param == "previous_response_id"


def test_a_stream(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="echo", input="Hi", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "The first answer."
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "The first answer."
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_the_stream_helper(client: openai.OpenAI) -> None:
    with client.responses.stream(model="echo", input="Hi") as stream:
        texts = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == texts[-1] == "The first answer."


def test_a_stream_is_cancelled(client: openai.OpenAI) -> None:
    stream = client.responses.create(model="slow", input="Hi", stream=True)
    begun = next(iter(stream))
    assert begun.type == "response.created"
    assert client.responses.retrieve(begun.response.id).status == "in_progress"
    cancelled = client.responses.cancel(begun.response.id)
    assert (cancelled.status, cancelled.id) == ("cancelled", begun.response.id)
    *_, last = stream
    assert last.type == "response.incomplete"
    assert last.response.status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(client.responses.create(model="echo", input="Hi").id)


def test_counting_what_a_response_would_read(client: openai.OpenAI) -> None:
    counted = client.responses.input_tokens.count(model="echo", input="Hi", instructions="Be kind.")
    response = client.responses.create(model="echo", input="Hi", instructions="Be kind.")
    assert response.usage is not None
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", response.usage.input_tokens)


def test_a_limit(client: openai.OpenAI) -> None:
    response = client.responses.create(model="long", input="Hi", max_output_tokens=3)
    assert (response.status, response.output_text) == ("incomplete", "abc")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_structured_output(client: openai.OpenAI, qwen: str, is_streamed: bool) -> None:
    if is_streamed:
        with client.responses.stream(model=qwen, input="Who?", text_format=Person, temperature=1) as stream:
            parsed = stream.get_final_response().output_parsed
    else:
        parsed = client.responses.parse(model=qwen, input="Who?", text_format=Person, temperature=1).output_parsed
    assert isinstance(parsed, Person)


@pytest.fixture(scope="module")
def thinker(service: RunningService) -> str:
    """A model that thinks, then calls a function, and then tells what it saw."""
    call = '<tool_call>\n{"name": "look", "arguments": {"at": "it"}}\n</tool_call>'
    replies: list[object] = [f"<think>\nI must see it.\n</think>\n\n{call}", "It is red."]
    add_model(service.paths, "thinker:1", replies, chat_template=THINKING_TEMPLATE)
    return "thinker"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_thoughts_and_calls(client: openai.OpenAI, thinker: str, is_streamed: bool) -> None:
    if is_streamed:
        with client.responses.stream(model=thinker, input="What is it like?", tools=[LOOK]) as stream:
            events = list(stream)
            first = stream.get_final_response()
        assert "".join(event.delta for event in events if event.type == "response.reasoning_text.delta") == "I must see it."
    else:
        first = client.responses.parse(model=thinker, input="What is it like?", tools=[LOOK])
    thought, call = first.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text == "I must see it."
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.parsed_arguments) == ("look", {"at": "it"}, {"at": "it"})
    assert first.usage is not None
    assert first.usage.output_tokens_details.reasoning_tokens > 0
    result: FunctionCallOutput = {"type": "function_call_output", "call_id": call.call_id, "output": "red"}
    second = client.responses.create(model=thinker, input=[result], previous_response_id=first.id, tools=[LOOK])
    assert second.output_text == "It is red."


def test_log_probabilities(client: openai.OpenAI, qwen: str) -> None:
    include = ["message.output_text.logprobs"]
    response = client.responses.create(model=qwen, input="Hi", include=include, top_logprobs=2, max_output_tokens=4)  # type: ignore[call-overload]
    (content,) = response.output[0].content
    assert len(content.logprobs) == 4
    assert all(len(token.top_logprobs) == 2 for token in content.logprobs)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_errors_are_the_exceptions_of_the_client(client: openai.OpenAI, is_streamed: bool) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.responses.create(model="echo", input="Hi", temperature=3, stream=is_streamed)
    assert (wrong.value.param, wrong.value.code) == ("temperature", "invalid_value")
    with pytest.raises(openai.BadRequestError) as tool:
        client.responses.create(model="echo", input="Hi", tools=[{"type": "web_search"}], stream=is_streamed)
    assert tool.value.param == "tools[0].type"
    with pytest.raises(openai.BadRequestError, match="maximum context length is 2048 tokens") as too_long:
        client.responses.create(model="echo", input="x" * 3000, stream=is_streamed)
    assert (too_long.value.param, too_long.value.code) == ("input", "context_length_exceeded")
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="ecko", input="Hi", stream=is_streamed)
    assert missing.value.param == "model"


def test_what_is_said_is_not_logged(service: RunningService, client: openai.OpenAI) -> None:
    first = client.responses.create(model="echo", input="canary-said", instructions="canary-told", user="canary-user")
    client.responses.create(model="echo", input="canary-more", previous_response_id=first.id)
    text = "".join(file.read_text() for file in service.paths.logs.iterdir())
    assert "POST /v1/responses 200" in text
    assert "canary" not in text

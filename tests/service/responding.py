"""Requests of the Responses interface to the server in this process, and its events as OpenAI's own client types them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import TypeAdapter

from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, Timing, Usage
from tests.service.local import JSON, MODEL, LocalService

PATH = "/v1/responses"
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


class Speaker:
    """Answers with the next list of events, with the last one again and again; knows what it was asked."""

    def __init__(self, *answers: Sequence[EngineEvent]) -> None:
        self._answers = answers
        self.requests: list[GenerationRequest] = []

    async def __call__(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """The answer."""
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        for event in answer:
            yield event


def end(reason: Any = "stop", usage: Usage | None = None) -> Finish:
    """The end of an answer."""
    return Finish(reason, usage or Usage(7, 5, 3, 2), Timing(0.1, 0.2, 0.3))


def respond(local: LocalService, input: Any = "Hi", **fields: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one request; of a stream the text."""
    return local.send("POST", PATH, json.dumps({"model": MODEL, "input": input, **fields}).encode(), JSON)


def created(local: LocalService, input: Any = "Hi", **fields: Any) -> dict[str, Any]:
    """A response, valid as OpenAI's client knows it."""
    status, _, response = respond(local, input, **fields)
    assert status == 200, response
    return valid(response)


def valid(response: dict[str, Any]) -> dict[str, Any]:
    """`response`, unless OpenAI's client would miss something in it."""
    Response.model_validate(response)
    return response


def valid_list(page: dict[str, Any]) -> list[Any]:
    """Ids of the items of a list, unless OpenAI's client would miss something in it."""
    ResponseItemList.model_validate(page)
    return [item["id"] for item in page["data"]]


def told(body: bytes) -> list[dict[str, Any]]:
    """The events of a whole stream, strictly parsed: names, numbers without a gap, valid as OpenAI's client knows them."""
    *blocks, done = body.decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    found = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        assert _EVENT.validate_python(event).type == event["type"]
        found.append(event)
    return found


def streamed(local: LocalService, input: Any = "Hi", **fields: Any) -> list[dict[str, Any]]:
    """The events of a streamed response."""
    status, _, body = respond(local, input, stream=True, **fields)
    assert status == 200, body
    return told(body)

"""Several answers to one request (`n`), and the fields of a request that the engine carries out."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, Grammar, TextChunk, Timing, TokenText, Usage
from foundry_cli.errors import EngineDiedError, InvalidRequestError
from foundry_cli.execution_providers import CPU, CUDA
from tests.service.local import MODEL, events, local_service, question
from tests.service.test_chat import _close, _half_close, _reset, _send

Events = AsyncGenerator[EngineEvent, None]


class Recorder:
    """Says its number in two chunks, as often as it is asked; the others come in between."""

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []

    async def __call__(self, request: GenerationRequest) -> Events:
        """The answer."""
        number = len(self.requests)
        self.requests.append(request)
        for text in ("answer ", str(number)):
            yield TextChunk(text)
            await asyncio.sleep(0.01)
        yield Finish("stop" if number else "length", Usage(7, 2 + number, 5 * number), Timing(0.1, 0.2, 0.3 + number))


@pytest.fixture
def recorder() -> Recorder:
    """An engine that notes what it is asked."""
    return Recorder()


def test_whole_answers(tmp_path: Path, recorder: Recorder) -> None:
    with local_service(tmp_path, recorder) as local:
        status, _, answer = local.chat(question(n=3, seed=2**64 - 1, temperature=1))
    assert status == 200
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["answer 0", "answer 1", "answer 2"]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "stop", "stop"]
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["usage"]["completion_tokens"] == 2 + 3 + 4
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert answer["timings"] == {"queue_ms": 100.0, "prefill_ms": 200.0, "decode_ms": 2300.0}
    assert [request.sampling.seed for request in recorder.requests] == [2**64 - 1, 2**64, 2**64 + 1]


def test_without_a_seed_none_is_made_up(tmp_path: Path, recorder: Recorder) -> None:
    with local_service(tmp_path, recorder) as local:
        assert len(local.chat(question(n=2))[2]["choices"]) == 2
    assert [request.sampling.seed for request in recorder.requests] == [None, None]


@pytest.mark.parametrize("count", [1, 2, 16])
def test_streams(tmp_path: Path, recorder: Recorder, count: int) -> None:
    with local_service(tmp_path, recorder) as local:
        status, _, body = local.chat(question(n=count, stream=True, stream_options={"include_usage": True}))
    assert status == 200
    *chunks, usage, done = events(body)
    assert done == "[DONE]"
    assert (usage["choices"], usage["usage"]["prompt_tokens"]) == ([], 7)
    assert usage["usage"]["completion_tokens"] == sum(range(2, 2 + count))
    assert not [chunk for chunk in chunks if "usage" in chunk]
    choices = [chunk["choices"][0] for chunk in chunks]
    assert len({chunk["id"] for chunk in chunks}) == 1
    for index in range(count):
        own = [choice for choice in choices if choice["index"] == index]
        assert [choice["delta"] for choice in own] == [
            {"role": "assistant", "content": ""}, {"content": "answer "}, {"content": str(index)}, {},
        ]  # fmt: skip
        assert [choice["finish_reason"] for choice in own][:-1] == [None] * 3
    assert [choice["index"] for choice in choices] != sorted(choice["index"] for choice in choices) or count == 1


class Crowd:
    """Answers without an end, except the one with the number given, which fails when `count` have begun. Counts them."""

    def __init__(self, *texts: str, count: int = 0, failing: int | None = None, error: Exception | None = None) -> None:
        self._texts = texts
        self._count = count
        self._failing = failing
        self._error = error
        self.begun = 0
        self.running = 0
        self.is_quiet = threading.Event()

    async def __call__(self, _: GenerationRequest) -> Events:
        """The answer."""
        number, self.begun = self.begun, self.begun + 1
        self.running += 1
        try:
            for text in self._texts:
                yield TextChunk(text)
            if number == self._failing and self._error is not None:
                while self.begun < self._count:
                    await asyncio.sleep(0)
                raise self._error
            await asyncio.Event().wait()
        finally:
            self.running -= 1
            if not self.running:
                self.is_quiet.set()


@pytest.mark.parametrize(
    ("error", "status"), [(InvalidRequestError("No.", param="response_format"), 400), (KeyError("x"), 500)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_one_ends_all(tmp_path: Path, stream: bool, error: Exception, status: int) -> None:
    crowd = Crowd(count=4, failing=2, error=error)
    with local_service(tmp_path, crowd) as local:
        answered, _, answer = local.chat(question(n=4, stream=stream))
        assert answered == status
        assert ("param", "response_format") in answer["error"].items() or status == 500
        assert (crowd.begun, crowd.running) == (4, 0)
        assert local.state.models.loaded()
        assert local.get(f"/openai/unload/{MODEL}")[0] == 200  # nobody uses it any more


def test_an_error_in_the_middle_of_streams_ends_all(tmp_path: Path) -> None:
    crowd = Crowd("Hel", count=3, failing=1, error=EngineDiedError("It ended."))
    with local_service(tmp_path, crowd) as local:
        status, _, body = local.chat(question(n=3, stream=True))
        *_, last = events(body)
        assert (status, last["error"]["code"]) == (200, "engine_died")
        assert b'finish_reason":"' not in body
        assert (crowd.begun, crowd.running) == (3, 0)


def test_a_worker_that_dies_before_the_first_token_is_replaced_once(tmp_path: Path) -> None:
    died: set[int | None] = set()

    async def answer(request: GenerationRequest) -> Events:
        if request.sampling.seed not in died:
            died.add(request.sampling.seed)
            raise EngineDiedError("It ended.")
        yield TextChunk("Hello")
        yield Finish("stop", Usage(1, 1, 0), Timing())

    with local_service(tmp_path, answer) as local:
        for stream in (False, True):
            died.clear()
            assert local.chat(question(n=3, seed=1, stream=stream))[0] == 200
            assert died == {1, 2, 3}


@pytest.mark.parametrize("leave", [_close, _reset, _half_close])
@pytest.mark.parametrize(("stream", "texts"), [(False, ["Hel"]), (True, []), (True, ["Hel"])])
def test_a_client_that_leaves_cancels_all(tmp_path: Path, stream: bool, texts: list[str], leave: Any) -> None:
    crowd = Crowd(*texts)
    with local_service(tmp_path, crowd) as local:
        connection = _send(local, n=5, stream=stream)
        _wait_for(crowd, 5)
        leave(connection)
        assert crowd.is_quiet.wait(20)
        assert crowd.running == 0
        connection.close()


def _wait_for(crowd: Crowd, count: int) -> None:
    for _ in range(2000):
        if crowd.begun == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"only {crowd.begun} answers have begun")


def test_each_answer_takes_a_place(tmp_path: Path) -> None:
    crowd = Crowd()
    with local_service(tmp_path, crowd) as local:
        connections: list[socket.socket] = []
        for count in range(1, 5):
            connections.append(_send(local, n=16))
            _wait_for(crowd, 16 * count)
        status, _, answer = local.chat(question(n=16))
        assert (status, answer["error"]["code"]) == (429, "queue_full")
        assert crowd.running == 64
        for connection in connections:
            connection.close()
        assert crowd.is_quiet.wait(20)


def test_a_stop_ends_all_of_them(tmp_path: Path) -> None:
    crowd = Crowd("Hel")
    with local_service(tmp_path, crowd, drain_seconds=1) as local:
        connection = _send(local, n=3, stream=True)
        _wait_for(crowd, 3)
        local.server.should_exit = True
        assert crowd.is_quiet.wait(20)
        connection.close()


def test_the_model_is_moved_once_for_all_of_them(tmp_path: Path, recorder: Recorder) -> None:
    with local_service(tmp_path, recorder, providers=(CPU, CUDA)) as local:
        assert local.chat(question(n=3))[0] == 200
        assert local.chat(question(n=3, ep="cuda"))[0] == 200
        assert local.started == [CPU, CUDA]


def test_fields_reach_the_engine_and_log_probabilities_come_back(tmp_path: Path) -> None:
    asked: list[GenerationRequest] = []

    async def answer(request: GenerationRequest) -> Events:
        asked.append(request)
        yield TextChunk("{}", 1, (TokenText("{}", b"{}", -0.5, (TokenText("{}", b"{}", -0.5),)),))
        yield Finish("stop", Usage(1, 1, 0), Timing())

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    fields: dict[str, Any] = {
        "logprobs": True, "top_logprobs": 1, "logit_bias": {"5": 1}, "min_p": 0.1, "priority": "background",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }  # fmt: skip
    with local_service(tmp_path, answer) as local:
        whole = local.chat(question(**fields))[2]
        *chunks, _ = events(local.chat(question(stream=True, **fields))[2])
    told = {"token": "{}", "logprob": -0.5, "bytes": [123, 125]}
    expected = {"content": [{**told, "top_logprobs": [told]}], "refusal": None}
    assert whole["choices"][0]["logprobs"] == expected
    assert [chunk["choices"][0]["logprobs"] for chunk in chunks] == [None, expected, None]
    assert asked[0] == asked[1]
    assert (asked[0].logprobs, asked[0].priority, asked[0].sampling.min_p) == (1, "background", 0.1)
    assert asked[0].sampling.logit_bias == ((5, 1.0),)
    assert asked[0].grammar == Grammar("json_schema", json.dumps(schema, separators=(",", ":")))


HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


def test_openai_client(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="echo", messages=HI, n=3)
    assert [choice.message.content for choice in answer.choices] == ["The first answer."] * 3
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3 * (len("The first answer.") + 1)
    texts = {0: "", 1: ""}
    for chunk in client.chat.completions.create(model="echo", messages=HI, n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "The first answer.", 1: "The first answer."}

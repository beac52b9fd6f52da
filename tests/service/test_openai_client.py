"""The real service through OpenAI's own client: TCP, a worker process, ONNX Runtime GenAI."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionMessageParam

from foundry_cli.client.client import AnswerEnd, ServiceClient, TextDelta
from foundry_cli.errors import ModelNotFoundError
from tests.conftest import RunningService, add_model

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("model", ["echo", "echo:1", "ECHO", "Echo:1"])
def test_a_whole_answer(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HI)
    assert answer.choices[0].message.content == "The first answer."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "echo:1"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens == len("The first answer.") + 1


def test_a_stream(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [*HI, {"role": "assistant", "content": "The first answer."}, *HI]
    usage = {"include_usage": True}
    stream = client.chat.completions.create(model="echo", messages=messages, stream=True, stream_options=usage)  # type: ignore[call-overload]
    chunks = list(stream)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == (
        "The second answer: \N{GRINNING FACE} done."
    )
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens > 20
    assert chunks[-1].choices == []


def test_the_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="echo", messages=HI) as stream:
        assert stream.get_final_completion().choices[0].message.content == "The first answer."


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_exceptions_of_the_client(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="echo", messages=HI, temperature=3, stream=stream)
    assert (wrong.value.param, wrong.value.type, wrong.value.code) == ("temperature", "invalid_request_error", "invalid_value")
    with pytest.raises(openai.BadRequestError) as unsupported:
        client.chat.completions.create(model="echo", messages=HI, modalities=["audio"], stream=stream)
    assert (unsupported.value.param, unsupported.value.code) == ("modalities", "unsupported_parameter")
    with pytest.raises(openai.NotFoundError, match="Did you mean 'echo'") as missing:
        client.chat.completions.create(model="ecko", messages=HI, stream=stream)
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError, match="maximum context length is 2048 tokens") as too_long:
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "x" * 3000}], stream=stream)
    assert (too_long.value.param, too_long.value.code) == ("messages", "context_length_exceeded")
    with pytest.raises(openai.BadRequestError, match="empty") as empty:
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": ""}], stream=stream)
    assert empty.value.param == "messages"


def test_models(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert {"echo:1", "long:1", "slow:1", "foundry-guide:1"} >= {"echo:1", "long:1"}
    assert {"echo:1", "long:1", "slow:1"} <= set(ids)
    for identity in ids:
        assert client.models.retrieve(identity).id == identity
    assert client.models.retrieve("long").owned_by == "Tests"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such")


def test_ignored_fields(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(model="echo", messages=HI, extra_body={"mirostat": 1, "top_k": 1})
    assert answer.headers["x-foundry-ignored-fields"] == "mirostat"


def test_the_unix_socket_speaks_the_same(service: RunningService) -> None:
    transport = httpx.HTTPTransport(uds=str(service.paths.socket))
    with (
        httpx.Client(transport=transport) as http,
        openai.OpenAI(base_url="http://localhost/v1", api_key="-", http_client=http) as local,
    ):
        assert local.chat.completions.create(model="echo", messages=HI).choices[0].message.content == "The first answer."


def test_our_own_client(service: RunningService) -> None:
    *parts, end = service.client.chat("echo", [{"role": "user", "content": "Hi"}])
    assert "".join(part.text for part in parts if isinstance(part, TextDelta)) == "The first answer."
    assert isinstance(end, AnswerEnd)
    assert (end.finish_reason, end.completion_tokens) == ("stop", 18)
    with pytest.raises(ModelNotFoundError) as caught:
        list(service.client.chat("no-such", [{"role": "user", "content": "Hi"}]))
    assert caught.value.param == "model"
    over_tcp = ServiceClient(type(service.client.record)(**{**vars(service.client.record), "socket": ""}))
    assert over_tcp.is_alive()
    assert over_tcp.status()["pid"] == service.client.record.pid


@pytest.mark.slow
def test_a_dropped_stream_makes_room(service: RunningService) -> None:
    """More streams than a worker runs or queues are begun and dropped: each must give its place back."""
    for _ in range(80):
        answer = service.client.chat("slow", [{"role": "user", "content": "Hi"}])
        assert isinstance(next(answer), TextDelta)
        answer.close()  # type: ignore[attr-defined]
    *_, end = service.client.chat("slow", [{"role": "user", "content": "Hi"}], max_tokens=2)
    assert isinstance(end, AnswerEnd)
    assert end.finish_reason == "length"


@pytest.fixture
def own(tmp_path: Path, fresh_service: RunningService) -> Iterator[openai.OpenAI]:
    """A client of a service that a test may break."""
    with openai.OpenAI(base_url=f"{fresh_service.url}/v1", api_key="-", max_retries=0) as made:
        yield made


def test_a_worker_killed_in_the_middle_of_a_stream(fresh_service: RunningService, own: openai.OpenAI) -> None:
    add_model(fresh_service.paths, "endless:1", ["0123456789"], busy=4, eos_after_reply=False)
    stream = own.chat.completions.create(model="endless", messages=HI, stream=True)
    next(stream)
    next(stream)
    (loaded,) = fresh_service.client.status()["loadedModels"]
    worker = psutil.Process(loaded["pid"])
    os.kill(loaded["pid"], signal.SIGKILL)
    with pytest.raises(openai.APIError, match="endless:1") as caught:
        list(stream)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "server_error"
    worker.wait(20)
    answer = own.chat.completions.create(model="endless", messages=HI, max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    (reloaded,) = fresh_service.client.status()["loadedModels"]
    assert reloaded["pid"] != loaded["pid"]


@pytest.mark.slow
def test_a_worker_killed_before_a_whole_answer_was_sent(fresh_service: RunningService, own: openai.OpenAI) -> None:
    """Nothing reached the client yet, so the answer is begun once more with a new worker."""
    add_model(fresh_service.paths, "steady:1", ["0123456789" * 10], busy=4)
    with ThreadPoolExecutor() as pool:
        future = pool.submit(own.chat.completions.create, model="steady", messages=HI)
        while not (loaded := fresh_service.client.status()["loadedModels"]):
            pass
        os.kill(loaded[0]["pid"], signal.SIGKILL)
        assert future.result().choices[0].message.content == "0123456789" * 10


def _break_config(directory: Path) -> None:
    (directory / "genai_config.json").write_text("{ not json")


def _remove_weights(directory: Path) -> None:
    (directory / "model.onnx").unlink()


def _truncate_weights(directory: Path) -> None:
    with (directory / "model.onnx").open("r+b") as stream:
        stream.truncate(100)


def _empty_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("")


def _link_weights(directory: Path) -> None:
    shutil.move(directory / "model.onnx", directory.parent / "away.onnx")
    (directory / "model.onnx").symlink_to(directory.parent / "away.onnx")


def _lead_out(directory: Path) -> None:
    config = json.loads((directory / "genai_config.json").read_text())
    config["model"]["decoder"]["filename"] = "../../../../../../etc/passwd"
    (directory / "genai_config.json").write_text(json.dumps(config))


BREAKS = [_break_config, _remove_weights, _truncate_weights, _empty_tokenizer, _link_weights, _lead_out]


def test_broken_model_directories(fresh_service: RunningService, own: openai.OpenAI) -> None:
    for number, damage in enumerate(BREAKS):
        damage(add_model(fresh_service.paths, f"broken-{number}:1", ["x"]))
    add_model(fresh_service.paths, "whole:1", ["fine"])
    for number, damage in enumerate(BREAKS):
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            own.chat.completions.create(model=f"broken-{number}", messages=HI, stream=bool(number % 2))
        message = json.loads(caught.value.response.content)["error"]["message"]
        assert "\n" not in message, damage
        assert "Traceback" not in message
        assert len(message) < 400
    assert own.chat.completions.create(model="whole", messages=HI).choices[0].message.content == "fine"
    assert len(own.models.list().data) == len(BREAKS) + 2


def test_prompts_are_not_logged(fresh_service: RunningService, own: openai.OpenAI) -> None:
    add_model(fresh_service.paths, "quiet:1", ["canary-answer"])
    canary: list[ChatCompletionMessageParam] = [{"role": "user", "content": "canary-prompt"}]
    own.chat.completions.create(model="quiet", messages=canary, user="canary-user")
    for wrong in ({"temperature": 9}, {"model": "no-such"}, {"messages": [{"role": "canary-role", "content": "x"}]}):
        with contextlib.suppress(openai.APIStatusError):
            own.chat.completions.create(**{"model": "quiet", "messages": canary, **wrong})  # type: ignore[call-overload]
    logs = fresh_service.paths.logs
    text = "".join(file.read_text() for file in logs.iterdir())
    assert "POST /v1/chat/completions 200" in text
    assert "POST /v1/chat/completions 400" in text
    assert "canary" not in text

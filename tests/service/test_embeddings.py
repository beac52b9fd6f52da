"""`/v1/embeddings` through OpenAI's own client: the real service, a worker process, ONNX Runtime."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import psutil
import pytest
from numpy.typing import NDArray

from foundry_cli.errors import InvalidRequestError, ModelInUseError
from foundry_cli.service.openai.embeddings import read_embeddings
from tests.conftest import RunningService
from tests.models.embedding import SHAPE, Reference, tokens_of, write_embedding_model

WAITING = 64  # requests beside those that are being answered
TEXTS = ["river", "The north wind and the sun", "Grüße, 東京 😀"]


@pytest.fixture(scope="module")
def model(service: RunningService) -> Path:
    """The directory of `embedder`, a model of the service."""
    return write_embedding_model(service.paths.default_cache / "Tests" / "embedder-1")


@pytest.fixture(scope="module")
def reference(model: Path) -> Reference:
    return Reference(model)


@pytest.fixture
def http(service: RunningService, model: Path) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as made:
        yield made


def expected(model: Path, reference: Reference, text: str) -> NDArray[np.float64]:
    return reference.vector(tokens_of(model, text))


def worker_of(service: RunningService, model_id: str) -> int:
    return next(entry["pid"] for entry in service.client.status()["loadedModels"] if entry["id"] == model_id)


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_vectors_of_texts(client: openai.OpenAI, model: Path, reference: Reference, encoding: dict[str, Any]) -> None:
    """Without a format the client asks for base64, and makes numbers of it itself."""
    made = client.embeddings.create(model="embedder", input=TEXTS, **encoding)
    assert (made.object, made.model) == ("list", "embedder:1")
    assert [(entry.object, entry.index) for entry in made.data] == [("embedding", index) for index in range(3)]
    for text, entry in zip(TEXTS, made.data, strict=True):
        assert np.array(entry.embedding) @ expected(model, reference, text) == pytest.approx(1, abs=1e-6)
    tokens = sum(len(tokens_of(model, text)) for text in TEXTS)
    assert made.usage.model_dump() == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_numbers_are_the_same_in_both_forms(http: httpx.Client) -> None:
    def ask(form: str) -> Any:
        return http.post("/v1/embeddings", json={"model": "embedder", "input": "a", "encoding_format": form}).json()

    numbers, text = (ask(form)["data"][0]["embedding"] for form in ("float", "base64"))
    assert np.array_equal(np.array(numbers, dtype=np.float32), np.frombuffer(base64.b64decode(text), dtype="<f4"))


def test_one_text_and_tokens(client: openai.OpenAI, model: Path, reference: Reference) -> None:
    one = client.embeddings.create(model="EMBEDDER:1", input="river")
    tokens = tokens_of(model, "river")
    same = client.embeddings.create(model="embedder", input=tokens)
    both = client.embeddings.create(model="embedder", input=[tokens, [5, 6, 7]])
    assert one.data[0].embedding == same.data[0].embedding
    assert np.allclose(one.data[0].embedding, both.data[0].embedding, atol=1e-6)
    assert np.array(both.data[1].embedding) @ reference.vector([5, 6, 7]) == pytest.approx(1, abs=1e-6)
    assert (one.usage.total_tokens, both.usage.total_tokens) == (len(tokens), len(tokens) + 3)


def test_dimensions(client: openai.OpenAI, model: Path, reference: Reference) -> None:
    made = client.embeddings.create(model="embedder", input="river", dimensions=10)
    vector = np.array(made.data[0].embedding)
    assert vector.shape == (10,)
    assert vector @ reference.vector(tokens_of(model, "river"), dimensions=10) == pytest.approx(1, abs=1e-6)


WRONG: list[tuple[dict[str, Any], str | None, str, str]] = [
    ({"input": ""}, "input", "invalid_value", "at least 1 character"),
    ({"input": []}, "input", "invalid_value", "at least 1 item"),
    ({"input": ["a", ""]}, "input[1]", "invalid_value", "at least 1 character"),
    ({"input": ["a"] * 2049}, "input", "invalid_value", "at most 2048 items"),
    ({"input": ["a", 5]}, "input[1]", "invalid_value", "valid string"),
    ({"input": [1, "a"]}, "input[1]", "invalid_value", "valid integer"),
    ({"input": [[1], []]}, "input[1]", "invalid_value", "at least 1 item"),
    ({"input": [1, -1]}, "input[1]", "invalid_value", "greater than or equal to 0"),
    ({"input": [[1], [10**6]]}, "input[1]", "invalid_value", "no token 1000000"),
    ({"input": {"a": 1}}, "input", "invalid_value", "valid string"),
    ({}, "input", "invalid_value", "required"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value", "'float' or 'base64'"),
    ({"input": "a", "dimensions": 0}, "dimensions", "invalid_value", "greater than or equal to 1"),
    ({"input": "a", "dimensions": 65}, "dimensions", "invalid_value", "have 64 numbers, not 65"),
    ({"input": "x" * 2048}, "input", "context_length_exceeded", "maximum context length is 2048 tokens. input has 2049."),
    ({"input": ["a", "x" * 2048]}, "input[1]", "context_length_exceeded", "input[1] has 2049."),
    ({"input": [7] * 2049}, "input", "context_length_exceeded", "input has 2049."),
]


@pytest.mark.parametrize(("fields", "param", "code", "words"), WRONG, ids=range(len(WRONG)))
def test_wrong_values_are_named(http: httpx.Client, fields: dict[str, Any], param: str, code: str, words: str) -> None:
    response = http.post("/v1/embeddings", json={"model": "embedder", **fields})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code), error
    assert (error["type"], words in error["message"]) == ("invalid_request_error", True), error


def test_errors_are_the_exceptions_of_the_client(client: openai.OpenAI, model: Path) -> None:
    with pytest.raises(openai.BadRequestError, match="echo:1 makes no embeddings") as chat:
        client.embeddings.create(model="echo", input="a")
    assert chat.value.param == "model"
    with pytest.raises(openai.NotFoundError, match="Did you mean 'embedder'"):
        client.embeddings.create(model="embeder", input="a")
    with pytest.raises(openai.BadRequestError, match="is no execution provider"):
        client.embeddings.create(model="embedder", input="a", extra_body={"ep": "cuda9"})


def test_fields_that_nobody_knows_are_told(client: openai.OpenAI, model: Path) -> None:
    raw = client.embeddings.with_raw_response
    made = raw.create(model="embedder", input="a", user="me", extra_body={"mirostat": 1, "ttl": 600})
    assert made.headers["x-foundry-ignored-fields"] == "mirostat"


ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
    "/tokenize": {"content": "Hi"},
    "/detokenize": {"tokens": [1]},
    "/v1/chat/completions/tokenizer/encode/count": {"messages": [{"role": "user", "content": "Hi"}]},
}


@pytest.mark.parametrize("path", ROUTES)
def test_a_model_for_embeddings_writes_nothing(http: httpx.Client, path: str) -> None:
    response = http.post(path, json={"model": "embedder", **ROUTES[path]})
    assert response.status_code == 400, response.text
    assert "embedder:1 makes embeddings only" in response.text
    assert "/v1/embeddings" in response.text


def test_many_at_once(service: RunningService, model: Path, reference: Reference) -> None:
    async def run() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as client:
            return await asyncio.gather(
                *(client.embeddings.create(model="embedder", input=[f"text {n}"] * (n + 1)) for n in range(20))
            )

    for number, made in enumerate(asyncio.run(run())):
        wanted = expected(model, reference, f"text {number}")
        assert len(made.data) == number + 1
        assert all(np.array(entry.embedding) @ wanted == pytest.approx(1, abs=1e-6) for entry in made.data)


def test_as_many_entries_as_are_allowed(http: httpx.Client) -> None:
    made = http.post("/v1/embeddings", json={"model": "embedder", "input": [f"{n}" for n in range(2048)]}).json()
    assert [entry["index"] for entry in made["data"]] == list(range(2048))
    assert made["data"][17]["embedding"] != made["data"][18]["embedding"]


@pytest.fixture(scope="module")
def heavy(service: RunningService) -> str:
    """A model that takes seconds for what the other one does at once."""
    shape = replace(SHAPE, layers=12, hidden=512)
    write_embedding_model(service.paths.default_cache / "Tests" / "heavy-1", shape, name="heavy:1")
    return "heavy:1"


@contextmanager
def computing(
    service: RunningService, client: openai.OpenAI, heavy: str, count: int, timeout: float = 100
) -> Iterator[tuple[psutil.Process, Any]]:
    """The worker while it computes, and the request for `count` texts, which the client gives up after `timeout` seconds."""
    client.embeddings.create(model=heavy, input="a")
    worker = psutil.Process(worker_of(service, heavy))
    with ThreadPoolExecutor(1) as executor:
        asked = executor.submit(client.embeddings.create, model=heavy, input=["x" * 500] * count, timeout=timeout)
        while worker.cpu_percent(0.1) < 30:
            assert not asked.done()
        yield worker, asked


def test_what_is_too_much_is_refused_with_the_time_to_come_again(
    service: RunningService, client: openai.OpenAI, model: Path
) -> None:
    client.embeddings.create(model="embedder", input="a")
    worker = psutil.Process(worker_of(service, "embedder:1"))
    most = next(entry["mostRunning"] for entry in service.client.status()["loadedModels"] if entry["id"] == "embedder:1")

    async def run() -> None:
        async with httpx.AsyncClient(base_url=service.url, limits=httpx.Limits(), timeout=60) as http:
            body = {"model": "embedder", "input": "a"}
            waiting = {asyncio.ensure_future(http.post("/v1/embeddings", json=body)) for _ in range(most + WAITING + 5)}
            refused: set[asyncio.Future[httpx.Response]] = set()
            while len(refused) < 5:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                refused |= done
            worker.resume()
            for task in refused:
                assert (task.result().status_code, task.result().json()["error"]["code"]) == (429, "queue_full")
                assert int(task.result().headers["retry-after"]) >= 1
            assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}

    worker.suspend()
    try:
        asyncio.run(run())
    finally:
        worker.resume()


@pytest.mark.slow
def test_a_worker_that_dies_in_between_is_started_again(service: RunningService, client: openai.OpenAI, heavy: str) -> None:
    with computing(service, client, heavy, 24) as (worker, asked):
        worker.kill()
        assert len(asked.result().data) == 24
    assert worker_of(service, heavy) != worker.pid


def test_to_unload_in_the_middle_is_an_error_of_its_own(service: RunningService, client: openai.OpenAI, heavy: str) -> None:
    with computing(service, client, heavy, 2000) as (_, asked):
        with pytest.raises(ModelInUseError):
            service.client.unload(heavy)
        service.client.unload(heavy, force=True)
        with pytest.raises(openai.ConflictError, match="was unloaded"):
            asked.result()


@pytest.mark.slow
def test_a_client_that_leaves_stops_the_work(service: RunningService, client: openai.OpenAI, heavy: str) -> None:
    with computing(service, client, heavy, 2000, timeout=5) as (worker, asked):
        with pytest.raises(openai.APITimeoutError):  # all of it would take minutes
            asked.result()
        while worker.cpu_percent(0.2):
            pass
    service.client.unload(heavy)


def test_entries() -> None:
    def entries(value: Any) -> Any:
        return read_embeddings({"model": "m", "input": value}).entries

    assert entries("a") == ["a"]
    assert entries(["a", "b"]) == ["a", "b"]
    assert entries([1, 2]) == [[1, 2]]
    assert entries([[1], [2, 3]]) == [[1], [2, 3]]
    with pytest.raises(InvalidRequestError):
        entries([True])

"""The older completions interface: fields, several prompts, echo, log-probabilities, streams."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import openai
import pytest

from foundry_cli.engine.request import (
    EngineEvent,
    Finish,
    GenerationRequest,
    ReasoningChunk,
    SamplingParameters,
    TextChunk,
    Timing,
    TokenText,
    Usage,
)
from foundry_cli.errors import EngineDiedError, InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.openai.completion_conversion import read_completion
from foundry_cli.service.openai.completion_writer import TokenTable
from tests.conftest import RunningService
from tests.service.local import JSON, MODEL, LocalService, events, local_service

MARKER = "<|assistant|>"


def body(**fields: Any) -> dict[str, Any]:
    """A request."""
    return {"model": "m", "prompt": "Once", **fields}


def test_every_field_reaches_the_engine() -> None:
    bias = {"logit_bias": {"7": 1}, "min_p": 0.1, "top_k": 3, "repetition_penalty": 1.1}
    sampling = {"temperature": 0.5, "top_p": 0.9, "seed": 4, "presence_penalty": 1, "frequency_penalty": -1, **bias}
    fields = {"max_tokens": 9, "stop": ["a", "b"], "logprobs": 2, "priority": "background", **sampling}
    completion = read_completion(body(user="u", best_of=None, suffix=None, **fields))
    expected = SamplingParameters(0.5, 0.9, 3, 4, 1, -1, 1.1, 0.1, ((7, 1),))
    (generation,) = completion.generations
    assert generation == GenerationRequest(
        prompt="Once", max_tokens=9, stop=("a", "b"), sampling=expected, logprobs=2, priority="background"
    )
    assert completion.ignored_fields == []


def test_what_is_not_given() -> None:
    completion = read_completion(body(mirostat=1, store=True, metadata={}, tools=[], suffix=""))
    (generation,) = completion.generations
    assert (generation.max_tokens, generation.logprobs, generation.stop) == (16, None, ())
    assert generation.sampling == SamplingParameters()
    assert completion.ignored_fields == ["mirostat"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [(1, 2)]), ([[1], [2, 3]], [(1,), (2, 3)])],
)
def test_prompts(prompt: Any, expected: list[Any]) -> None:
    assert [generation.prompt for generation in read_completion(body(prompt=prompt)).generations] == expected


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [""]}, "prompt[0]"),
    ({"prompt": [[]]}, "prompt[0]"),
    ({"prompt": ["a", 1]}, "prompt[1]"),
    ({"prompt": [-1]}, "prompt[0]"),
    ({"prompt": [True]}, "prompt[0]"),
    ({"prompt": ["a"] * 33}, "prompt"),
    ({"prompt": ["a"] * 3, "n": 11}, "prompt"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"logprobs": 6}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"n": 17}, "n"),
    ({"temperature": 2.1}, "temperature"),
    ({"stop": [1]}, "stop[0]"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a"),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"best_of": 2, "n": 3}, "best_of"),
    ({"echo": True, "logprobs": 0}, "echo"),
    ({"tools": [{}]}, "tools"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_wrong_values(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_completion(body(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_refused_fields(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedFieldError) as caught:
        read_completion(body(**fields))
    assert caught.value.param == param


def test_best_of_all_of_them() -> None:
    assert read_completion(body(best_of=3, n=3)).count == 3
    assert read_completion(body(best_of=1)).count == 1


class Recorder:
    """Says the prompt and the number of the request."""

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []

    async def __call__(self, request: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        """The answer."""
        number = len(self.requests)
        self.requests.append(request)
        yield ReasoningChunk("<")
        for text in (f"{request.prompt} ", str(number)):
            yield TextChunk(text)
        yield Finish("length" if number else "stop", Usage(number + 1, 2, 1, 0, 2, number), Timing(0.1, 0.2, 0.3))


def send(local: LocalService, **fields: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one completion."""
    return local.send("POST", "/v1/completions", json.dumps({"model": MODEL, **fields}).encode(), JSON)


def test_several_prompts_with_several_answers(tmp_path: Path) -> None:
    recorder = Recorder()
    with local_service(tmp_path, recorder) as local:
        status, headers, answer = send(local, prompt=["a", "b"], n=2, seed=5, echo=True, user="u", mirostat=1)
    assert status == 200
    assert headers["x-foundry-ignored-fields"] == "mirostat"
    assert (answer["object"], answer["model"], answer["id"][:5]) == ("text_completion", MODEL, "cmpl-")
    assert [choice["text"] for choice in answer["choices"]] == ["a<a 0", "a<a 1", "b<b 2", "b<b 3"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop", "length", "length", "length"]
    assert [request.sampling.seed for request in recorder.requests] == [5, 6, 5, 6]
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1 + 3, 8, 12)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2}
    details = usage["completion_tokens_details"]
    assert (details["accepted_prediction_tokens"], details["rejected_prediction_tokens"]) == (0 + 1 + 2 + 3, 2)


@pytest.mark.parametrize("echo", [False, True])
def test_streams(tmp_path: Path, echo: bool) -> None:
    with local_service(tmp_path, Recorder()) as local:
        fields = {"prompt": [[97], [98]], "stream": True, "stream_options": {"include_usage": True}}
        *chunks, usage, done = events(send(local, echo=echo, **fields)[2])
    assert done == "[DONE]"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 4)
    for index, prompt in enumerate(("a", "b")):
        own = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        texts = [choice["text"] for choice in own]
        assert texts == [*([prompt] if echo else []), "<", f"({97 + index},) ", str(index), ""]
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["length" if index else "stop"]


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_but_the_prompt(tmp_path: Path, stream: bool) -> None:
    recorder = Recorder()
    with local_service(tmp_path, recorder) as local:
        answer = send(local, prompt=[[97, 98], [99]], n=2, echo=True, max_tokens=0, stream=stream)[2]
        silent = send(local, prompt="ab", max_tokens=0)[2]
        too_long = send(local, prompt=["a", "b" * 2049], max_tokens=0)[2]
    choices = [choice for chunk in events(answer)[:-1] for choice in chunk["choices"]] if stream else answer["choices"]
    assert ["".join(c["text"] for c in choices if c["index"] == index) for index in range(4)] == ["ab", "ab", "c", "c"]
    assert [c["index"] for c in choices if c["finish_reason"] == "length"] == [0, 1, 2, 3]
    assert silent["choices"][0]["text"] == ""
    assert silent["usage"]["prompt_tokens"] == 2
    assert (too_long["error"]["code"], too_long["error"]["param"]) == ("context_length_exceeded", "prompt")
    assert recorder.requests == []  # the engine would take it for the reading of a chat


def test_an_error_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    async def answer(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        yield TextChunk("Hel")
        raise EngineDiedError("It ended.")

    with local_service(tmp_path, answer) as local:
        *_, last = events(send(local, prompt="a", stream=True)[2])
        assert last["error"]["code"] == "engine_died"
        status, _, whole = send(local, prompt="a", suffix="b")
        assert (status, whole["error"]["param"], whole["error"]["code"]) == (400, "suffix", "unsupported_parameter")


def token(data: bytes | None, logprob: float = -1.0, *top: TokenText) -> TokenText:
    """A token as the engine tells it."""
    return TokenText((data or b"").decode("utf-8", "replace"), data, logprob, top)


def test_log_probabilities_in_parallel_lists(tmp_path: Path) -> None:
    tokens = (token(b"Hi", -0.5, token(b"Ho", -0.25), token(b"Hi", -0.5)), token(b" you"))

    async def answer(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
        for each in tokens:
            yield TextChunk(each.text, 1, (each,))
        yield Finish("stop", Usage(1, 2), Timing())

    with local_service(tmp_path, answer) as local:
        whole = send(local, prompt="a", logprobs=2)[2]["choices"][0]["logprobs"]
        *chunks, _ = events(send(local, prompt="a", logprobs=2, stream=True)[2])
    assert whole == {
        "tokens": ["Hi", " you"],
        "token_logprobs": [-0.5, -1.0],
        "top_logprobs": [{"Ho": -0.25, "Hi": -0.5}, {" you": -1.0}],
        "text_offset": [0, 2],
    }
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert parts[-1] is None
    assert [part["text_offset"] for part in parts[:-1]] == [[0], [2]]


def test_tokens_that_are_no_whole_characters() -> None:
    euro, table = "\N{EURO SIGN}".encode(), TokenTable()
    tokens = (token(b"a"), token(euro[:1]), token(euro[1:]), token(b"b"), token(None))
    fields = table.fields([TextChunk("a\N{EURO SIGN}b", 5, tokens)])
    assert fields["tokens"] == ["a", "bytes:\\xe2", "bytes:\\x82\\xac", "b", ""]
    assert fields["text_offset"] == [0, 1, 1, 2, 3]


def test_offsets_behind_bytes_that_are_no_character() -> None:
    """One character may stand for several tokens of such bytes; what comes then is where the text has it."""
    bad, table = token(b"\xe2"), TokenTable()
    chunks = [
        TextChunk("a", 1, (token(b"a"),)),
        TextChunk("\N{REPLACEMENT CHARACTER}gh", 4, (bad, bad, bad, token(b"gh"))),
        TextChunk("i", 1, (token(b"i"),)),
    ]
    assert table.fields(chunks)["text_offset"] == [0, 1, 1, 1, 2, 4]


@pytest.mark.parametrize("prompt", [f"Hi{MARKER}", [f"Hi{MARKER}"]])
def test_openai_client(client: openai.OpenAI, prompt: Any) -> None:
    answer = client.completions.create(model="echo", prompt=prompt, max_tokens=99)
    assert [choice.text for choice in answer.choices] == ["The first answer."]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len("The first answer.") + 1
    short = client.completions.create(model="echo", prompt=prompt, echo=True, n=2)
    assert [choice.text for choice in short.choices] == [f"Hi{MARKER}The first answer"] * 2
    assert {choice.finish_reason for choice in short.choices} == {"length"}


def test_openai_client_streams_and_stops(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model="echo", prompt=MARKER, max_tokens=99, stop=" answer", stream=True, stream_options={"include_usage": True}
    )
    *chunks, usage = list(stream)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "The first"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert usage.usage is not None
    assert usage.usage.prompt_tokens > 0


def test_openai_client_with_tokens(client: openai.OpenAI, service: RunningService) -> None:
    tokens = client.post("/../tokenize", body={"model": "echo", "content": f"Hi{MARKER}"}, cast_to=object)
    assert isinstance(tokens, dict)
    answer = client.completions.create(model="echo", prompt=tokens["tokens"], logprobs=1, max_tokens=3)
    assert answer.choices[0].text == "The"
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert (logprobs.tokens, logprobs.text_offset) == (["T", "h", "e"], [0, 1, 2])
    assert logprobs.top_logprobs is not None
    assert [list(top) for top in logprobs.top_logprobs] == [["T"], ["h"], ["e"]]
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="echo", prompt=[2**30])
    assert caught.value.param == "prompt"

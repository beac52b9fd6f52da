"""Fields that would be ignored: named in a header, or refused where the settings are strict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.external_models import ExternalModel
from tests.fakes.web import Answer, web_server
from tests.service.local import JSON, MODEL, LocalService, local_service, question

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", question()),
    ("/v1/chat/completions", question(stream=True)),
    ("/v1/completions", {"model": MODEL, "prompt": "Hi"}),
    ("/v1/completions", {"model": MODEL, "prompt": "Hi", "echo": True}),
    ("/v1/completions", {"model": MODEL, "prompt": "Hi", "max_tokens": 0}),
    ("/v1/responses", {"model": MODEL, "input": "Hi"}),
    ("/v1/responses", {"model": MODEL, "input": "Hi", "stream": True}),
    ("/v1/messages", question(max_tokens=5)),
    ("/v1/messages", question(max_tokens=5, stream=True)),
    ("/v1/messages/count_tokens", question()),
    ("/tokenize", {"model": MODEL, "content": "Hi"}),
    ("/tokenize", question()),
    ("/detokenize", {"model": MODEL, "tokens": [72, 105]}),
    ("/v1/chat/completions/tokenizer/encode/count", question()),
]
"""Everything that reads fields of answers or tokens."""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A server whose settings are strict."""
    with local_service(tmp_path_factory.mktemp("strict")) as running:
        running.state.is_strict = True
        yield running


def _ask(local: LocalService, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    return local.send("POST", path, json.dumps(body).encode(), JSON)


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_unknown_fields_are_named_in_a_header(local: LocalService, path: str, body: dict[str, Any]) -> None:
    status, headers, _ = _ask(local, path, {**body, "zeal": 1, "mirostat": None})
    assert (status, headers["x-foundry-ignored-fields"]) == (200, "mirostat, zeal")


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_unknown_fields_are_refused(strict: LocalService, path: str, body: dict[str, Any]) -> None:
    loaded = len(strict.started)
    status, headers, answer = _ask(strict, path, {**body, "zeal": 1, "mirostat": None})
    assert (status, "x-foundry-ignored-fields" in headers) == (400, False)
    error = answer["error"]
    assert error["message"].startswith("mirostat: this field would be ignored, and the settings are strict.")
    assert "foundry service set --no-strict" in json.dumps(error)
    assert error["type"] == "invalid_request_error"
    if not path.startswith("/v1/messages"):
        assert (error["code"], error["param"]) == ("unknown_parameter", "mirostat")
    assert len(strict.started) == loaded  # no model was loaded for it


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_known_fields_are_welcome(strict: LocalService, path: str, body: dict[str, Any]) -> None:
    status, headers, answer = _ask(strict, path, {**body, "ttl": 60})
    assert (status, "x-foundry-ignored-fields" in headers) == (200, False), answer


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi", "mood": "merry"}]}, "messages[].mood"),
        ("/v1/chat/completions", {"stream": True, "stream_options": {"pace": 1}}, "stream_options.pace"),
        ("/v1/responses", {"messages": None, "input": "Hi", "reasoning": {"depth": 3}}, "reasoning.depth"),
        ("/v1/messages", {"max_tokens": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.budget_tokens"),
    ],
)
def test_so_are_parts_of_fields(strict: LocalService, path: str, fields: dict[str, Any], name: str) -> None:
    status, _, answer = _ask(strict, path, question(**fields))
    assert status == 400
    assert answer["error"]["message"].startswith(f"{name}: ")


def test_a_name_of_any_length_and_kind(strict: LocalService) -> None:
    status, _, answer = _ask(strict, "/v1/chat/completions", question(**{"\N{SNOWMAN}\n" * 500: 1}))
    assert (status, len(answer["error"]["param"])) == (400, 80)


def test_what_is_wrong_is_said_first(strict: LocalService) -> None:
    _, _, answer = _ask(strict, "/v1/chat/completions", question(mirostat=1, temperature=9))
    assert answer["error"]["param"] == "temperature"


def test_a_model_of_another_server_is_asked_as_it_is(tmp_path: Path) -> None:
    with (
        web_server(lambda _: Answer(200, b"{}", {"Content-Type": "application/json"})) as server,
        local_service(tmp_path) as local,
    ):
        local.state.is_strict = True
        local.state.external.register(ExternalModel("far", server.url, "far"))
        assert local.chat(question(model="far", mirostat=1))[0] == 200

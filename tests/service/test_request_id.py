"""Every response has a name, which is in the log, too."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import openai
import pytest

from foundry_cli.external_models import ExternalModel
from tests.conftest import RunningService
from tests.fakes.web import Answer, web_server
from tests.service.local import JSON, LocalService, local_service, question


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/health", None, {}, 200),
        ("GET", "/nowhere", None, {}, 404),
        ("GET", "/openai/models", None, {"host": "other.example"}, 403),
        ("POST", "/v1/chat/completions", json.dumps(question()).encode(), JSON, 200),
        ("POST", "/v1/chat/completions", json.dumps(question(stream=True)).encode(), JSON, 200),
        ("POST", "/v1/chat/completions", b"{", JSON, 400),
        ("POST", "/v1/chat/completions", b"{}", {}, 415),
        ("POST", "/v1/messages", b"{", JSON, 400),
        ("GET", "/v1/messages", None, {}, 405),
        ("HEAD", "/openapi.json", None, {}, 200),
        ("POST", "/foundry/manage/stop", b"{}", JSON, 403),
        ("GET", "/health", None, {"x-filler": "x" * (17 * 1024)}, 431),
        ("GET", "/health", None, {"x-request-id": "of-the-client"}, 200),
    ],
)
def test_every_response_has_an_id_of_its_own(
    local: LocalService, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    names = []
    for _ in range(2):
        answered, found, _ = local.send(method, path, body, headers)
        assert answered == status
        assert found["x-request-id"] == found["request-id"]
        names.append(found["x-request-id"])
    assert names[0] != names[1]
    assert all(name.startswith("req_") and len(name) == 36 for name in names)


def test_the_id_is_in_the_log(local: LocalService, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "foundry.access"):
        name = local.get("/openai/models")[1]["x-request-id"]
        local.get("/health")  # the line is written after the answer was sent, and before another one
    assert any(name in record.getMessage() for record in caplog.records)


def test_web_pages_that_are_allowed_may_read_it(tmp_path: Path) -> None:
    with local_service(tmp_path, allowed_origins=("http://allowed.example",)) as local:
        headers = local.get("/health", Origin="http://allowed.example")[1]
        assert "x-request-id" in headers["access-control-expose-headers"].split(", ")


def test_what_is_not_http_is_answered_in_the_same_form(local: LocalService, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "foundry.access"):
        head, _, body = local.raw(b"GET /health\r\n\r\n").partition(b"\r\n\r\n")
    (name,) = set(re.findall(rb"request-id: (req_[0-9a-f]{32})", head))
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert f"malformed request 400 {name.decode()}" in caplog.messages


def test_another_server_does_not_name_our_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Content-Type": "application/json", "X-Request-Id": "theirs"}
    caplog.set_level(logging.INFO, "foundry.access")
    with web_server(lambda _: Answer(200, b"{}", headers)) as server, local_service(tmp_path) as local:
        local.state.external.register(ExternalModel("far", server.url, "far"))
        answered = local.chat(question(model="far"))[1]
    assert answered["x-provider-request-id"] == "theirs"
    assert answered["x-request-id"] == answered["request-id"]
    assert any(answered["request-id"] in line for line in caplog.messages)


def test_openais_client_finds_its_line(client: openai.OpenAI, service: RunningService) -> None:
    answer = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such", messages=[{"role": "user", "content": "Hi"}])
    client.models.list()  # the line is written after the answer was sent, and before another one
    log = (service.paths.logs / "foundry.log").read_text(encoding="utf-8")
    for name in (answer._request_id, caught.value.request_id):
        assert len(re.findall(rf" ms {name}$", log, re.MULTILINE)) == 1

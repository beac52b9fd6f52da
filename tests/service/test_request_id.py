"""Every response has a name, which is in the log, too."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

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
    assert any(name in record.getMessage() for record in caplog.records)


def test_web_pages_that_are_allowed_may_read_it(tmp_path: Path) -> None:
    with local_service(tmp_path, allowed_origins=("http://allowed.example",)) as local:
        headers = local.get("/health", Origin="http://allowed.example")[1]
        assert "x-request-id" in headers["access-control-expose-headers"].split(", ")

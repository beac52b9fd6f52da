"""What `/openapi.json` says of every route beyond what the framework knows."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tests.service.local import JSON, LocalService


@pytest.fixture(scope="module")
def document(local: LocalService) -> Any:
    """The description."""
    return local.get("/openapi.json")[2]


def test_errors_are_described_for_every_operation(document: Any) -> None:
    operations = [(path, method, each) for path, methods in document["paths"].items() for method, each in methods.items()]
    assert len(operations) > 30
    for path, method, operation in operations:
        responses = operation["responses"]
        assert "422" not in responses, (path, method)
        name = "AnthropicError" if path.startswith("/v1/messages") else "Error"
        for status in ("4XX", "5XX"):
            reference = responses[status]["content"]["application/json"]["schema"]["$ref"]
            assert reference == f"#/components/schemas/{name}", (path, method)
    assert set(document["components"]["schemas"]) == {"Error", "AnthropicError"}


@pytest.mark.parametrize(
    ("path", "method", "body", "name"),
    [
        ("/v1/models/no-such", "GET", None, "Error"),
        ("/nowhere", "GET", None, "Error"),
        ("/health", "DELETE", None, "Error"),
        ("/foundry/manage/stop", "POST", b"{}", "Error"),
        ("/openai/download", "POST", b"{}", "Error"),
        ("/v1/chat/completions", "POST", b"{", "Error"),
        ("/v1/messages", "POST", b"{", "AnthropicError"),
        ("/v1/messages", "POST", b'{"model": "no-such", "max_tokens": 1, "messages": []}', "AnthropicError"),
        ("/v1/messages", "DELETE", None, "AnthropicError"),
    ],
)
def test_errors_are_as_described(
    local: LocalService, document: Any, path: str, method: str, body: bytes | None, name: str
) -> None:
    status, _, answer = local.send(method, path, body, JSON if body else {})
    assert 400 <= status < 500
    jsonschema.validate(answer, document["components"]["schemas"][name])


def test_streams_are_described(document: Any) -> None:
    def media_types(path: str) -> list[str]:
        return sorted(document["paths"][path]["post"]["responses"]["200"]["content"])

    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"):
        assert media_types(path) == ["application/json", "text/event-stream"], path
    assert media_types("/openai/download") == ["text/plain"]
    assert media_types("/tokenize") == ["application/json"]

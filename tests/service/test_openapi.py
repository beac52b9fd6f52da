"""`/openapi.json` as a document: valid OpenAPI 3.1, complete in itself, and true about what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator

from foundry_cli.api.field_notes import EFFECT, VALUES
from tests.service.local import JSON, LocalService


@pytest.fixture(scope="module")
def document(local: LocalService) -> Any:
    """The description."""
    return local.get("/openapi.json")[2]


def _operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in `value`, at any depth."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(part)


def _schemas(document: Any) -> Iterator[dict[str, Any]]:
    yield from document["components"]["schemas"].values()
    for part in _objects(document["paths"]):
        if isinstance(part.get("schema"), dict) and ("in" in part or set(part) == {"schema"}):
            yield part["schema"]


def test_it_is_openapi(document: Any) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    OpenAPI.model_validate(document)
    identities = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(set(identities)) == len(identities)
    for path, method, operation in _operations(document):
        declared = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path)), (path, method)
        assert operation["responses"], (path, method)


def test_every_reference_leads_somewhere(document: Any) -> None:
    references = {part["$ref"] for part in _objects(document) if isinstance(part.get("$ref"), str)}
    assert len(references) > 20
    for reference in references:
        assert reference.startswith("#/")
        place = document
        for part in reference[2:].split("/"):
            place = place[unquote(part).replace("~1", "/").replace("~0", "~")]
        assert isinstance(place, dict), reference


def test_every_schema_is_one(document: Any) -> None:
    schemas = list(_schemas(document))
    assert len(schemas) > 20
    for schema in schemas:
        Draft202012Validator.check_schema(schema)


def test_bodies_are_described_for_every_route_that_reads_one(document: Any) -> None:
    with_body = {path for path, _, operation in _operations(document) if "requestBody" in operation}
    assert with_body >= {
        "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens",
        "/tokenize", "/detokenize", "/openai/download", "/openai/register",
    }  # fmt: skip


def test_notes_on_fields_are_in_it(document: Any) -> None:
    def field(path: str, name: str) -> Any:
        content = document["paths"][path]["post"]["requestBody"]["content"]
        return content["application/json"]["schema"]["properties"][name]

    assert field("/v1/chat/completions", "user")[EFFECT] == "none"
    assert field("/v1/chat/completions", "user")["description"] == "nobody is told"
    assert field("/v1/responses", "background")[VALUES] == [False]
    assert EFFECT not in field("/v1/chat/completions", "temperature")


WRONG: list[Any] = [None, 5, "x", [], {"a": {}}]


def test_every_wrong_field_is_answered_as_described(local: LocalService, document: Any) -> None:
    """Each field of each body with values of other kinds: what the description excludes is refused with the error in it."""
    asked = 0
    for path, method, operation in _operations(document):
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        for name in schema.get("properties", {}):
            for value in WRONG:
                status, _, answer = local.send(method.upper(), path, json.dumps({name: value}).encode(), JSON)
                assert 400 <= status < 500, (path, name, value, answer)
                described = operation["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"]
                error = document["components"]["schemas"][described.rpartition("/")[2]]
                Draft202012Validator(error).validate(answer)
                asked += 1
    assert asked > 300

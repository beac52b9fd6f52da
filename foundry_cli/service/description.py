"""The OpenAPI description of all routes, with what the framework cannot know: bodies of errors, and which answers stream."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from foundry_cli.service.request_body import add_request_bodies

_ANTHROPIC = "/v1/messages"
_JSON, _EVENTS, _LINES = "application/json", "text/event-stream", "text/plain"
_LINE_ROUTES = frozenset({"/openai/download"})  # a stream of lines, as the published clients read it
_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_ERROR_FIELDS = {"message": _TEXT, "type": _TEXT, "param": _TEXT_OR_NULL, "code": _TEXT_OR_NULL, "hint": _TEXT_OR_NULL}
_ERROR = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "object", "required": ["message", "type", "param", "code"], "properties": _ERROR_FIELDS},
    },
}
_ANTHROPIC_ERROR = {
    "title": "AnthropicError",
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}},
    },
}
_FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")  # of an error that is never sent: see `_complete`
_SCHEMAS = {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR}


class DescribedApp(FastAPI):
    """The framework's application with a complete description of itself."""

    def __init__(self, **options: Any) -> None:
        self._described: list[BaseRoute] = []
        super().__init__(**options)

    def serve(self, router: APIRouter) -> None:
        """Serve the routes of `router`, and know which bodies their handlers read."""
        self._described += router.routes
        self.router.routes += router.routes  # as they are: to include a router parses each handler again at the first request

    def openapi(self) -> dict[str, Any]:
        """The document at `/openapi.json`."""
        document = super().openapi()
        add_request_bodies(document, self._described)
        return completed(document)


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """`document`, changed: every operation may answer with an error, and some with a stream."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    schemas.update(_SCHEMAS)
    return document


def _complete(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # the framework's own errors: all parameters are text to it, so that none is wrong
    responses["4XX"] = _error_response("What is wrong with the request.", path)
    responses["5XX"] = _error_response("What went wrong here.", path)
    if "stream" in _body_properties(operation):
        responses["200"]["content"][_EVENTS] = {}
    if path in _LINE_ROUTES:
        responses["200"]["content"] = {_LINES: {"schema": _TEXT}}


def _body_properties(operation: dict[str, Any]) -> dict[str, Any]:
    schema = operation.get("requestBody", {}).get("content", {}).get(_JSON, {}).get("schema", {})
    properties = schema.get("properties", {})
    return properties if isinstance(properties, dict) else {}


def _error_response(description: str, path: str) -> dict[str, Any]:
    name = "AnthropicError" if path.startswith(_ANTHROPIC) else "Error"
    return {"description": description, "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

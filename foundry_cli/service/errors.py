"""Errors at the HTTP door: which status, which body. Handlers raise; only this module makes responses of it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundry_cli import errors
from foundry_cli.api import anthropic
from foundry_cli.api.errors import error_body

logger = logging.getLogger("foundry.http")

STATUS: dict[type[errors.FoundryError], int] = {
    errors.InvalidRequestError: 400,
    errors.UnauthorizedError: 401,
    errors.ForbiddenError: 403,
    errors.ModelNotFoundError: 404,
    errors.ModelInUseError: 409,
    errors.BundledModelError: 409,
    errors.ModelInvalidError: 422,
    errors.ConfigError: 400,
    errors.QueueFullError: 429,
    errors.ClientTooSlowError: 408,
    errors.EngineError: 500,
    errors.ModelUnloadedError: 409,
    errors.EngineDiedError: 503,
    errors.ServiceStoppingError: 503,
    errors.ServiceOutdatedError: 503,
    errors.InsufficientMemoryError: 507,
    errors.CacheError: 507,
    errors.DiskFullError: 507,
    errors.UnsuitableModelError: 422,
    errors.LicenseNotAcceptedError: 403,
    errors.DownloadError: 502,
    errors.ProviderUnreachableError: 502,
}
_TYPE = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "invalid_request_error"}
_NOT_AGAIN = (
    errors.ModelUnloadedError,  # that would load what somebody has just unloaded
    errors.ServiceOutdatedError,  # somebody has to restart it first
)
_RETRY_SECONDS = {429: 2, 503: 2}
_ANTHROPIC_ROUTES = "/v1/messages"


class BodyTooLargeError(errors.InvalidRequestError):
    """The request body is over the limit."""

    code = "body_too_large"


class WrongMediaTypeError(errors.InvalidRequestError):
    """The request body is not declared as JSON."""

    code = "wrong_media_type"


class HeadersTooLargeError(errors.FoundryError):
    """Request line and headers are over the limit."""

    code = "headers_too_large"


class RequestTimeoutError(errors.FoundryError):
    """The client stopped in the middle of its request."""

    code = "request_timeout"


class ResponseNotFoundError(errors.FoundryError):
    """No response, or no item of one, with that id is stored."""

    code = "response_not_found"


STATUS[BodyTooLargeError] = 413
STATUS[WrongMediaTypeError] = 415
STATUS[HeadersTooLargeError] = 431
STATUS[RequestTimeoutError] = 408
STATUS[ResponseNotFoundError] = 404


def status_of(error: errors.FoundryError) -> int:
    """The HTTP status for `error`, by the nearest class that has one."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def body_of(error: errors.FoundryError) -> dict[str, Any]:
    """The JSON body for `error`."""
    status = status_of(error)
    return error_body(error, _TYPE.get(status, "invalid_request_error" if status < 500 else "server_error"))


def response_to(error: errors.FoundryError, scope: Scope) -> JSONResponse:
    """The response for `error`, in the form of the interface that the request of `scope` is for."""
    status = status_of(error)
    body = anthropic.error_body(error, status) if _is_for_anthropic(scope) else body_of(error)
    return JSONResponse(body, status, _retry_headers(error, status))


def _retry_headers(error: errors.FoundryError, status: int) -> dict[str, str]:
    """When the clients of OpenAI and Anthropic, which repeat such requests by themselves, shall do so."""
    if isinstance(error, _NOT_AGAIN):
        return {"x-should-retry": "false"}
    seconds = _RETRY_SECONDS.get(status)
    if isinstance(error, errors.QueueFullError) and error.retry_seconds is not None:
        seconds = error.retry_seconds
    return {} if seconds is None else {"retry-after": str(seconds)}


def _is_for_anthropic(scope: Scope) -> bool:
    return f"{scope['path']}/".startswith(f"{_ANTHROPIC_ROUTES}/") or is_by_anthropic(scope)


def is_by_anthropic(scope: Scope) -> bool:
    """Whether the client is one for Anthropic's interface, also on a route that both have."""
    return any(name == b"anthropic-version" for name, _ in scope["headers"])


def stopping() -> errors.FoundryError:
    """What is said to requests that did not end in the time that a stopping service gives them."""
    return errors.ServiceStoppingError("The service is shutting down.", hint="Send the request again when it is back.")


def unexpected(error: Exception) -> errors.FoundryError:
    """What a client is told of a defect: nothing but a number that is in the log, too."""
    number = uuid.uuid4().hex[:12]
    logger.error("internal error %s", number, exc_info=error)
    return errors.FoundryError(f"Internal error {number}; the log of the service has the details.")


class CatchUnexpected:
    """The outermost layer: an exception that nobody expected becomes a plain 500 and a log entry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        has_started = False

        async def watch(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except asyncio.CancelledError:  # by the server, which stops; a stream says so itself
            if has_started:
                raise
            await response_to(stopping(), scope)(scope, receive, send)
        except Exception as error:  # the last line of defence: every request ends with an answer
            if has_started:
                raise
            known = error if isinstance(error, errors.FoundryError) else unexpected(error)
            await response_to(known, scope)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Make every error of the tree, and the framework's own, an OpenAI-style response."""

    async def on_foundry_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, errors.FoundryError)
        return response_to(error, request.scope)

    async def on_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.scope['path'][:200]}: {error.detail}."
        fields = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        body = {"error": fields}
        if _is_for_anthropic(request.scope):
            body = anthropic.error_body(errors.FoundryError(message), error.status_code)
        return JSONResponse(body, error.status_code, error.headers)

    app.add_exception_handler(errors.FoundryError, on_foundry_error)
    app.add_exception_handler(HTTPException, on_http_error)

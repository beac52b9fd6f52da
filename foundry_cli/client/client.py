"""Calls to the running service, over its Unix socket or, where there is none, over loopback TCP.

Uses the standard library only and never a proxy: commands start fast, and local requests stay local.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from foundry_cli.api.errors import NOT_FOUND, error_from_body
from foundry_cli.api.sse import decode_events
from foundry_cli.errors import EngineDiedError, FoundryError, ModelNotFoundError, ServiceUnreachableError
from foundry_cli.instance import InstanceRecord

_QUICK_SECONDS = 5.0  # for answers that need no model
_MANAGE = "/foundry/manage"


@dataclass(frozen=True)
class TextDelta:
    """A piece of an answer."""

    text: str


@dataclass(frozen=True)
class ReasoningDelta:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class AnswerEnd:
    """The end of an answer: why, and the counts and milliseconds that the service reports."""

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    prefill_ms: float
    decode_ms: float
    queue_ms: float

    @property
    def tokens_per_second(self) -> float:
        """The speed of writing, thoughts included; 0 when the service does not say. The first token came with the prompt."""
        return 1000 * max(self.completion_tokens - 1, 0) / self.decode_ms if self.decode_ms else 0.0


AnswerEvent = TextDelta | ReasoningDelta | AnswerEnd


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ServiceClient:
    """One service, found by its instance record."""

    def __init__(self, record: InstanceRecord) -> None:
        self.record = record
        self.code_digest = ""  # of the files that it was started from, once it has said that it is alive; older ones do not say

    def is_alive(self, timeout: float = _QUICK_SECONDS) -> bool:
        """Whether exactly this service answers now."""
        try:
            answer = self._call("GET", "/health", timeout=timeout)
        except FoundryError:
            return False
        if not isinstance(answer, dict) or answer.get("instanceId") != self.record.instance_id:
            return False
        self.code_digest = str(answer.get("codeDigest", ""))
        return True

    def status(self) -> dict[str, Any]:
        """`/openai/status`."""
        return dict(self._call("GET", "/openai/status"))

    def models(self) -> list[dict[str, Any]]:
        """`/foundry/list`: every known model."""
        return list(self._call("GET", "/foundry/list"))

    def loaded_models(self) -> list[str]:
        """Ids of the loaded models."""
        return list(self._call("GET", "/openai/loadedmodels"))

    def load(self, model: str, *, ttl: int | None = None, device: str | None = None, ep: str | None = None) -> None:
        """Load a model; takes as long as it takes."""
        query = {"ttl": ttl, "device": device, "ep": ep}
        try:
            self._call("GET", f"/openai/load/{quote(model, safe='')}{_query(query)}", timeout=None)
        except ModelNotFoundError as error:  # its first sentence is for programs, see `NOT_FOUND`
            message = error.message.partition(f"{NOT_FOUND} {model!r}. ")[2] or error.message
            raise ModelNotFoundError(message, hint=error.hint, param=error.param) from error

    def unload(self, model: str, *, force: bool = False) -> None:
        """Unload a model; nothing happens when it is not loaded."""
        self._call("GET", f"/openai/unload/{quote(model, safe='')}{_query({'force': force})}", timeout=None)

    def unload_all(self, *, force: bool = False) -> None:
        """Unload every model."""
        self._call("GET", f"/openai/unloadall{_query({'force': force})}", timeout=None)

    def remove(self, model: str, *, force: bool = False) -> dict[str, Any]:
        """Delete a model from the cache."""
        path = f"{_MANAGE}/remove/{quote(model, safe='')}{_query({'force': force})}"
        return dict(self._call("POST", path, body={}, timeout=None))

    def take_over_cache(self) -> None:
        """Let the service use the cache directory of the settings; loaded models stay loaded."""
        self._call("POST", f"{_MANAGE}/cache", body={}, timeout=None)

    def providers(self) -> list[dict[str, Any]]:
        """The external models that the service knows."""
        return list(self._call("GET", f"{_MANAGE}/providers")["providers"])

    def take_over_providers(self) -> list[dict[str, Any]]:
        """Let the service use the external models of the settings."""
        return list(self._call("POST", f"{_MANAGE}/providers", body={})["providers"])

    def forget_provider(self, name: str) -> None:
        """End the registration of an external model. Raises `ModelNotFoundError`."""
        self._call("POST", f"{_MANAGE}/providers/remove/{quote(name, safe='')}", body={})

    def restore(self, models: list[dict[str, Any]]) -> None:
        """Let the service load `models`, entries of `status`, in the background."""
        self._call("POST", f"{_MANAGE}/restore", body={"models": models})

    def prefill(self, model: str, messages: list[dict[str, str]]) -> None:
        """Let a loaded model read `messages` in the background: the next question of that chat is being typed."""
        self._call("POST", f"{_MANAGE}/prefill", body={"model": model, "messages": messages})

    def stop(self) -> None:
        """Ask the service to stop; it goes on draining after this returns."""
        self._call("POST", f"{_MANAGE}/stop", body={})

    def chat(self, model: str, messages: list[dict[str, str]], **parameters: Any) -> Iterator[AnswerEvent]:
        """Stream the answer to `messages`; `parameters` as in OpenAI's interface, None left out.

        Closing the iterator cancels the answer. Raises what the service reports, and `ServiceUnreachableError`.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        options = {"stream": True, "stream_options": {"include_usage": True}}
        body = {"model": model, "messages": messages, **options, **given}
        with closing(self._connection(None)) as connection:
            response = self._request(connection, "POST", "/v1/chat/completions", body)
            if response.status != 200:
                raise _error(response.status, response.read())
            yield from _chat_events(response)

    def complete(self, model: str, messages: list[dict[str, str]], **parameters: Any) -> dict[str, Any]:
        """The whole answer to `messages`, as OpenAI's document; `parameters` as in its interface."""
        body = {"model": model, "messages": messages, **parameters}
        return dict(self._call("POST", "/v1/chat/completions", body=body, timeout=None))

    def embed(self, model: str, entries: str | list[str] | list[int], **parameters: Any) -> dict[str, Any]:
        """Embeddings, as OpenAI's document; `parameters` as in its interface."""
        body = {"model": model, "input": entries, **parameters}
        return dict(self._call("POST", "/v1/embeddings", body=body, timeout=None))

    def _call(self, method: str, path: str, *, body: Any = None, timeout: float | None = _QUICK_SECONDS) -> Any:
        with closing(self._connection(timeout)) as connection:
            response = self._request(connection, method, path, body)
            try:
                data = response.read()
            except (OSError, HTTPException) as error:
                raise _unreachable(path, error) from error
        if response.status >= 400:
            raise _error(response.status, data)
        try:
            return json.loads(data) if data else None
        except ValueError as error:
            raise _unreachable(path, error) from error

    def _connection(self, timeout: float | None) -> HTTPConnection:
        if self.record.socket and os.path.exists(self.record.socket):  # who cleans up /tmp may have removed it
            return _UnixConnection(self.record.socket, timeout)
        host = urlsplit(self.record.base_url).hostname or ""
        return HTTPConnection(host, self.record.port, timeout=timeout)

    def _connect(self, connection: HTTPConnection) -> None:
        connection.connect()

    def _request(self, connection: HTTPConnection, method: str, path: str, body: Any) -> HTTPResponse:
        headers = {"x-foundry-token": self.record.token}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            self._connect(connection)
            connection.request(method, path, json.dumps(body).encode() if body is not None else None, headers)
            return connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:  # the last: a record that was tampered with
            raise _unreachable(path, error) from error


def _query(values: dict[str, Any]) -> str:
    given = {
        name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items() if value is not None
    }
    return f"?{urlencode(given)}" if given else ""


def _chat_events(response: HTTPResponse) -> Iterator[AnswerEvent]:
    reason = ""
    try:
        for event in decode_events(response):
            if "error" in event:
                raise error_from_body(event, "The service reported an error.")
            for choice in event.get("choices", []):
                if thought := choice["delta"].get("reasoning_content"):
                    yield ReasoningDelta(thought)
                if text := choice["delta"].get("content"):
                    yield TextDelta(text)
                reason = choice.get("finish_reason") or reason
            if event.get("usage"):
                yield _answer_end(reason, event["usage"], event.get("timings") or {})
                return
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise _broken_off() from error
    raise _broken_off()


def _broken_off() -> FoundryError:
    return EngineDiedError("The answer broke off.", hint="Run 'foundry service status' to see whether the service runs.")


def _answer_end(reason: str, usage: dict[str, Any], timings: dict[str, Any]) -> AnswerEnd:
    details = usage.get("prompt_tokens_details") or {}
    times = {f"{name}_ms": float(timings.get(f"{name}_ms", 0.0)) for name in ("prefill", "decode", "queue")}
    return AnswerEnd(reason, usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens", 0), **times)


def _error(status: int, data: bytes) -> FoundryError:
    fallback = f"The service answered with status {status}."
    try:
        return error_from_body(json.loads(data), fallback)
    except ValueError:
        return FoundryError(fallback)


def _unreachable(path: str, error: Exception) -> ServiceUnreachableError:
    return ServiceUnreachableError(
        f"Request to local service failed ({path.partition('?')[0]}): {error or type(error).__name__}.",
        hint="Please check service status with 'foundry service status'.",
    )

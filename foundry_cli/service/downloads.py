"""`POST /openai/download`: the stream of lines that the published clients parse.

Each download runs in a process of its own (`python -m foundry_cli.download`), so that the transfer of a large model
takes nothing from running answers; processes that want the same model share one transfer by its lock. The process ends
with the request that asked for it, and what has arrived is kept.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from foundry_cli.errors import (
    DownloadError,
    FoundryError,
    InvalidRequestError,
    ModelNotFoundError,
    QueueFullError,
    ServiceStoppingError,
    UnsupportedFieldError,
    error_for_code,
)
from foundry_cli.service.errors import body_of, status_of
from foundry_cli.service.event_stream import EventStream
from foundry_cli.service.json_body import read_json
from foundry_cli.service.state import ServiceState, state_of
from foundry_cli.types import ModelInfo

router = APIRouter(tags=["Foundry"])

_MOST_DOWNLOADS = 8  # at the same time
_RESULT_PAUSE = 0.1  # seconds: some clients read by network chunk, and the result must have one of its own
_TICK_SECONDS = 5.0  # without news the last line is said again; Node's fetch gives up after 300 s without a byte
_END_SECONDS = 5.0  # for the process to write down what has arrived
_LONGEST_NAME = 512
_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["model"],
                "properties": {
                    "model": {"type": "object", "required": ["Name"], "properties": {"Name": {"type": "string"}}},
                },
            }
        }
    },
}


@router.post("/openai/download", openapi_extra={"requestBody": _REQUEST_BODY})
async def download(request: Request) -> Response:
    """Download a model of the catalogs. Lines `Total 45.67% Downloading FILE`, and at the end a JSON object."""
    state = state_of(request)
    wanted, is_accepted = await read_json(request, _wanted)
    try:
        model = await _find(state, wanted)
        if len(state.downloads) >= _MOST_DOWNLOADS and not model.is_cached:
            raise QueueFullError(f"{_MOST_DOWNLOADS} downloads are running.", hint="Wait until one has ended.")
    except FoundryError as error:
        return JSONResponse({**_failure(error), **body_of(error)}, status_of(error))
    lines = _nothing_to_do() if model.is_cached else _lines(state, model.id, is_accepted=is_accepted)
    media_type = "text/plain; charset=utf-8"
    return EventStream(lines, {}, media_type=media_type, last_words=lambda: _result(_failure(_stopping())))


async def _find(state: ServiceState, name: str) -> ModelInfo:
    """The model called `name`, also one that the catalogs have had for a short time only. Raises `ModelNotFoundError`."""
    if name.lower().startswith("hf:"):
        raise UnsupportedFieldError(
            "The service downloads models of the catalogs only.",
            hint=f"'foundry model download {name}' fetches it.",
            param="model",
        )
    try:
        return await state.resolve(name)
    except ModelNotFoundError:
        await state.refresh_lists()
        return await state.resolve(name)


def _wanted(body: dict[str, Any]) -> tuple[str, bool]:
    """The id in a request, and whether its licence is accepted; keys in any case, as the original reads them.

    Raises `InvalidRequestError`.
    """
    fields = {key.lower(): value for key, value in body.items()}
    if fields.get("customdirpath"):
        raise UnsupportedFieldError(
            "customDirPath: models go into the cache directory.", hint="'foundry cache cd' changes it.", param="customDirPath"
        )
    model = fields.get("model")
    if isinstance(model, dict):
        model = next((value for key, value in model.items() if key.lower() == "name"), None)
    if not isinstance(model, str) or not 0 < len(model.strip()) <= _LONGEST_NAME:
        raise InvalidRequestError("model: the name of a model is missing.", hint='Send {"model": {"Name": ID}}.', param="model")
    return model, fields.get("acceptlicense") is True


async def _nothing_to_do() -> AsyncGenerator[bytes, None]:
    yield b"Total 100.00% Downloading \n\n"
    await asyncio.sleep(_RESULT_PAUSE)
    yield _result(_success())


async def _lines(state: ServiceState, model_id: str, *, is_accepted: bool) -> AsyncGenerator[bytes, None]:
    """The lines of one download; closing the generator ends it."""
    options = ["--accept-license"] if is_accepted else []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "foundry_cli.download",
        *options,
        model_id,
        stdin=PIPE,
        stdout=PIPE,
        cwd=Path(sys.executable).anchor,
        umask=state.umask,
    )
    state.downloads.add(process)
    try:
        result: dict[str, Any] | None = None
        shown = b""
        while result is None:
            message = await _next_message(process)
            result = _failure(_stopping()) if state.is_stopping() else _outcome(message)
            shown = _progress_line(message) or shown or b"Total 0.00% Downloading \n\n"
            if result is None:
                yield shown
        await asyncio.sleep(_RESULT_PAUSE)
        yield _result(result)
    finally:
        state.downloads.discard(process)
        await asyncio.shield(_end(process))


async def _next_message(process: Process) -> dict[str, Any]:
    """What the process says next; {} when it says nothing for a while, an error when it has ended without a result."""
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _TICK_SECONDS)
    except asyncio.TimeoutError:
        return {}
    if not line:
        return {"error": {"code": DownloadError.code, "message": "The download ended unexpectedly."}}
    message = json.loads(line)
    return message if isinstance(message, dict) else {}


def _outcome(message: dict[str, Any]) -> dict[str, Any] | None:
    if message.get("success"):
        return _success()
    if (error := message.get("error")) is None:
        return None
    return _failure(error_for_code(error.get("code"))(str(error.get("message")), hint=error.get("hint")))


def _progress_line(message: dict[str, Any]) -> bytes:
    if not isinstance(total := message.get("total"), int) or not isinstance(done := message.get("done"), int):
        return b""
    percent = 100 * done / total if total else 100.0
    return f"Total {percent:.2f}% Downloading {message.get('file') or ''}\n\n".encode()


def _success() -> dict[str, Any]:
    return {"success": True, "errorMessage": None}


def _failure(error: FoundryError) -> dict[str, Any]:
    message = f"{error.message} {error.hint}" if error.hint else error.message
    return {"success": False, "errorMessage": message, "error": message}


def _stopping() -> FoundryError:
    return ServiceStoppingError("The service is shutting down.", hint="What has arrived is kept.")


def _result(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


async def _end(process: Process) -> None:
    """Let the process write down what has arrived, and be sure that it ends."""
    if process.stdin is not None:
        process.stdin.close()  # it ends when its standard input does
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    if process.returncode is None:
        process.kill()
        await process.wait()

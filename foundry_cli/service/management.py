"""Routes about the service as a whole: its end, its GPU, its description."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.guard import MANAGEMENT_PREFIX
from foundry_cli.service.query import whole_number
from foundry_cli.service.state import state_of

router = APIRouter(tags=["Foundry"])

_DOCS_PAGE = Path(__file__).parent / "openapi.html"


@router.get("/openai/getgpudevice")
async def gpu_device() -> int:
    """Number of the GPU that models run on: the first one that the service sees."""
    return 0


@router.get("/openai/setgpudevice/{device_id}", response_class=Response)
async def choose_gpu_device(device_id: str) -> Response:
    """Only 0 can be chosen: which GPU is the first is for the environment of the service to say."""
    if whole_number("deviceId", device_id) != 0:
        message = f"deviceId: {device_id[:40]!r} cannot be chosen; models run on the first GPU, which is 0."
        raise InvalidRequestError(message, hint="Start the service with CUDA_VISIBLE_DEVICES set.", param="deviceId")
    return Response()


@router.post(f"{MANAGEMENT_PREFIX}/stop")
async def stop(request: Request) -> dict[str, str]:
    """Begin the shutdown: running answers get ten seconds."""
    state_of(request).stop()
    return {"status": "shutting_down"}


@router.get("/docs", include_in_schema=False, response_class=HTMLResponse)
async def docs() -> HTMLResponse:
    """The description of all routes as a page that needs nothing from the network."""
    return HTMLResponse(_DOCS_PAGE.read_text(encoding="utf-8"))

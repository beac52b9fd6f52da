"""What the handlers of the service work on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from foundry_cli.engine.model_manager import ModelManager
from foundry_cli.errors import InvalidRequestError, ModelNotFoundError
from foundry_cli.instance import InstanceRecord
from foundry_cli.inventory import Inventory
from foundry_cli.types import DEVICES, ModelInfo

VALID_PROVIDERS = "Valid EPs: CPUExecutionProvider"


@dataclass(frozen=True)
class ServiceState:
    """One per service, made at start-up."""

    record: InstanceRecord
    inventory: Inventory
    models: ModelManager
    stop: Callable[[], None]  # begins the shutdown and returns at once
    is_stopping: Callable[[], bool]

    async def known_models(self) -> list[ModelInfo]:
        """Everything that can be named; the disk is read outside the event loop."""
        return await asyncio.to_thread(self.inventory.models)

    async def resolve(self, name: str, device: str | None = None) -> ModelInfo:
        """The model called `name`; a loaded variant of an alias before others. Raises `ModelNotFoundError`."""
        wanted = name.strip().lower()
        for loaded in self.models.loaded():
            model = loaded.model
            if wanted == model.id.lower() or (device is None and wanted in (model.name.lower(), model.alias.lower())):
                return model
        return await asyncio.to_thread(self.inventory.resolve, name, device)

    async def resolve_cached(self, name: str, device: str | None = None) -> ModelInfo:
        """As `resolve`, for a model that is about to run: it must be on this machine."""
        model = await self.resolve(name, device)
        if not model.is_cached:
            raise ModelNotFoundError(
                f"Model {model.id} is in the catalog and not on this machine.",
                hint="Copy it into the cache directory that 'foundry cache location' prints.",
                param="model",
            )
        return model


def state_of(request: Request) -> ServiceState:
    """The state of the service that serves `request`."""
    return cast(ServiceState, request.app.state.service)


def check_provider(ep: str | None) -> None:
    """Raise `InvalidRequestError` for an execution provider that is not here; empty or None: any."""
    if ep and ep.lower() not in ("cpu", "cpuexecutionprovider"):
        message = f"ep: the execution provider {ep[:40]!r} is not available on this machine."
        raise InvalidRequestError(message, hint=VALID_PROVIDERS, param="ep")


def parse_device(text: str | None) -> str | None:
    """`CPU`, `GPU` or `NPU` in any case; None for nothing or `auto`. Raises `InvalidRequestError`."""
    if not text or text.lower() == "auto":
        return None
    if text.upper() not in DEVICES:
        raise InvalidRequestError(f"device: {text[:40]!r} is not one of {', '.join(DEVICES)}, Auto.", param="device")
    return text.upper()

"""What the handlers of the service work on."""

from __future__ import annotations

import asyncio
import threading
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request

from foundry_cli.catalog.refreshing import refresh_in_background
from foundry_cli.config import load_config
from foundry_cli.engine.model_manager import ModelManager, Placement
from foundry_cli.errors import InvalidRequestError, ModelNotFoundError, UnsuitableModelError
from foundry_cli.execution_providers import (
    CPU,
    PROVIDERS,
    ProviderReport,
    find_provider,
    obstacle,
    provider_obstacle,
    provider_report,
    required_provider,
)
from foundry_cli.hardware import detect_hardware
from foundry_cli.instance import InstanceRecord
from foundry_cli.inventory import Inventory, check_sound
from foundry_cli.paths import Paths
from foundry_cli.service.external.registry import ExternalModels
from foundry_cli.service.idle import Activity
from foundry_cli.service.openai.response_store import ResponseStore
from foundry_cli.types import DEVICES, ModelInfo


class InstalledProviders:
    """The execution providers of this machine, asked once, in a thread: that may take a while after an installation."""

    def __init__(self, ask: Callable[[], ProviderReport] = lambda: provider_report(Paths.from_environment())) -> None:
        self._ask = ask
        self._answer: Future[ProviderReport] = Future()
        self._is_asked = False

    def start(self) -> None:
        """Begin to ask, unless that was done before.

        Raises `RuntimeError` when no thread can be started; the next call tries again.
        """
        if not self._is_asked:
            self._is_asked = True
            try:
                threading.Thread(target=self._run, daemon=True).start()
            except RuntimeError:
                self._is_asked = False
                raise

    def known(self) -> ProviderReport | None:
        """The answer, if it is there; it will be soon otherwise."""
        with suppress(RuntimeError):
            self.start()
        return self._answer.result() if self._answer.done() else None

    async def report(self) -> ProviderReport:
        """The answer, once it is there."""
        self.start()
        # A request that goes away does not take the answer from the others.
        return await asyncio.shield(asyncio.wrap_future(self._answer))

    def wait(self) -> ProviderReport:
        """The same for a thread, which waits."""
        self.start()
        return self._answer.result()

    async def names(self) -> tuple[str, ...]:
        """Names of the providers, once they are known."""
        return (await self.report()).names

    def _run(self) -> None:
        try:
            self._answer.set_result(self._ask())
        except Exception as error:  # noqa: BLE001 - those who wait must hear of it
            self._answer.set_exception(error)


@dataclass
class ServiceState:
    """One per service, made at start-up. `inventory` is exchanged when the cache moves."""

    record: InstanceRecord
    inventory: Inventory
    models: ModelManager
    stop: Callable[[], None]  # begins the shutdown and returns at once
    is_stopping: Callable[[], bool]
    providers: InstalledProviders = field(default_factory=InstalledProviders)
    downloads: set[Process] = field(default_factory=set)  # that are running, see `downloads.py`
    background: set[asyncio.Task[None]] = field(default_factory=set)  # work that nobody waits for
    prefills: set[asyncio.Task[None]] = field(default_factory=set)  # those of them that read a chat ahead
    idle_watch: asyncio.Task[None] | None = None
    external: ExternalModels = field(default_factory=ExternalModels)
    responses: ResponseStore = field(default_factory=ResponseStore)
    activity: Activity = field(default_factory=Activity)
    code_digest: str = ""  # of the program's files when the service started
    is_strict: bool = False  # fields of requests that would be ignored are refused
    umask: int = -1  # for files of the cache, which users may share; -1: that of the service, whose own files are private

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do `work` while nobody waits for it; it ends with the service."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    async def known_models(self) -> list[ModelInfo]:
        """Everything that can be named; the disk is read outside the event loop."""
        return await asyncio.to_thread(self.inventory.models)

    async def refresh_lists(self) -> None:
        """Have old lists of the catalogs fetched by another process; waits for it as commands do."""
        paths = Paths.from_environment()
        config = await asyncio.to_thread(load_config, paths)
        await asyncio.to_thread(refresh_in_background, paths, config, self.inventory.catalog)

    async def resolve(self, name: str, device: str | None = None) -> ModelInfo:
        """The model called `name`; a loaded variant of an alias before others. Raises `ModelNotFoundError`."""
        wanted = name.strip().lower()
        for loaded in self.models.loaded():
            model = loaded.model
            if wanted == model.id.lower() or (device is None and wanted in (model.name.lower(), model.alias.lower())):
                return model
        return await asyncio.to_thread(self.inventory.resolve, name, device, self._obstacle)

    def _obstacle(self, model: ModelInfo) -> str:
        """Why `model` would not run here. Called in a thread: for a model that is not for the CPU it may take a while."""
        return obstacle(model, (CPU,) if required_provider(model, ()) == CPU else self.providers.wait().names)

    async def resolve_cached(self, name: str, device: str | None = None) -> ModelInfo:
        """As `resolve`, for a model that is about to run: it must be on this machine."""
        if self.external.find(name):
            message = f"Another server runs {name}, and this route is for models on this machine."
            raise ModelNotFoundError(message, param="model")
        model = await self.resolve(name, device)
        check_sound(model)
        if not model.is_cached:
            await asyncio.to_thread(self.inventory.require_cache)
            raise ModelNotFoundError(
                f"Model {model.id} is in the catalog and not on this machine.",
                hint=f"'foundry model download {model.id}' fetches it.",
                param="model",
            )
        return model

    async def place(self, model: ModelInfo, ep: str | None) -> Placement:
        """Where `model` shall run: by `ep` (empty or None: none was asked for), else where it is or by what it is made for.

        Raises `InvalidRequestError` for a provider that is not here, and `UnsuitableModelError`.
        """
        if ep and ep.strip():
            return Placement(await self._check_provider(ep), is_demanded=True)
        if self.models.is_loaded(model) or required_provider(model, ()) == CPU:
            return Placement()
        names = await self.providers.names()
        required = required_provider(model, names)
        if required not in names:
            hardware = await asyncio.to_thread(detect_hardware)
            raise UnsuitableModelError(
                f"The model {model.id} {obstacle(model, names, hardware)}", hint=_OTHER_DEVICE, param="model"
            )
        return Placement(required)

    async def _check_provider(self, ep: str) -> str:
        provider = find_provider(ep)
        if provider is not None and provider.name == CPU:
            return CPU
        report = await self.providers.report()
        if provider is None:
            known = ", ".join(each.short_names[0] for each in PROVIDERS)
            message = f"ep: {ep[:40]!r} is no execution provider; there is {known}."
        elif provider.name not in report.names:
            reason = provider_obstacle(provider, report, await asyncio.to_thread(detect_hardware))
            message = f"ep: {ep[:40]!r} is not available on this machine: {reason}"
        else:
            return provider.name
        raise InvalidRequestError(message, hint=valid_providers(report.names), param="ep")


_OTHER_DEVICE = "Use a CPU variant of the model, or try ep=cpu (--ep cpu). 'foundry hardware' shows what there is."


def valid_providers(names: tuple[str, ...]) -> str:
    """The line that other programs look for."""
    return f"Valid EPs: {', '.join(names)}"


def state_of(request: Request) -> ServiceState:
    """The state of the service that serves `request`."""
    return cast(ServiceState, request.app.state.service)


def parse_device(text: str | None) -> str | None:
    """`CPU`, `GPU` or `NPU` in any case; None for nothing or `auto`. Raises `InvalidRequestError`."""
    if not text or text.lower() == "auto":
        return None
    if text.upper() not in DEVICES:
        raise InvalidRequestError(f"device: {text[:40]!r} is not one of {', '.join(DEVICES)}, Auto.", param="device")
    return text.upper()

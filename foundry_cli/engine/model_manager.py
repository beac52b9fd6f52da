"""Which models are loaded: loads on demand, keeps count of users, unloads when idle or when memory is needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from foundry_cli.engine.admission import Admission
from foundry_cli.engine.crash_limit import CrashLimit
from foundry_cli.engine.process import EngineProcess
from foundry_cli.errors import (
    EngineDiedError,
    FoundryError,
    InsufficientMemoryError,
    ModelInUseError,
    ModelUnloadedError,
    ServiceStoppingError,
)
from foundry_cli.execution_providers import CPU
from foundry_cli.types import ModelInfo

logger = logging.getLogger("foundry.models")


class StartEngine(Protocol):
    """Starts a worker."""

    def __call__(self, name: str, directory: Path, provider: str, *, embeds: bool = False) -> Awaitable[EngineProcess]:
        """For the model `name` in `directory`, on an execution provider; `embeds`: to make embeddings."""


_WORKER_BYTES = 100 * 1024 * 1024  # interpreter, runtime and a short conversation, beside the weights
_USUALLY_RUNNING = 8  # as long as the engine is not there to be asked


@dataclass(frozen=True)
class Placement:
    """Where a model shall run. `is_demanded`: a model that is loaded elsewhere is moved; else it stays where it is."""

    provider: str = CPU
    is_demanded: bool = False


@dataclass(eq=False)
class LoadedModel:
    """A model with its worker."""

    model: ModelInfo
    engine: EngineProcess
    ttl: float | None  # seconds of idleness before it is unloaded; None: never
    provider: str = CPU
    last_used: float = field(default_factory=time.monotonic)
    expiry: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class LoadingModel:
    """A model whose load has begun, or waits for that of another one."""

    model: ModelInfo
    provider: str
    task: asyncio.Task[LoadedModel]
    began: float = field(default_factory=time.monotonic)
    promised: int = 0  # bytes of memory that nobody else may count as free
    is_given_up: bool = False


_ANYWHERE = Placement()


async def _always() -> None:
    """Every load may begin."""


def _memory_of(model: ModelInfo) -> int:
    """Bytes that it takes when it is loaded, about."""
    return model.size_bytes + _WORKER_BYTES


def _most_memory_of(loaded: LoadedModel) -> int:
    """Bytes that may come back when it is unloaded: long conversations can take more than the model."""
    import psutil

    with suppress(psutil.Error):
        return max(_memory_of(loaded.model), psutil.Process(loaded.engine.pid).memory_info().rss)
    return _memory_of(loaded.model)


def _no_room(model: ModelInfo, missing: int, hint: str) -> InsufficientMemoryError:
    needed = _memory_of(model)
    message = f"The model {model.id} needs {needed >> 20} MiB of memory, {(needed - missing) >> 20} MiB are free."
    return InsufficientMemoryError(message, hint=hint)


class ModelManager:
    """All loaded models of the service. Belongs to one event loop."""

    def __init__(
        self,
        *,
        default_ttl: float,
        available_memory: Callable[[], int],
        start_engine: StartEngine = EngineProcess.start,
        check_start: Callable[[], Awaitable[None]] = _always,  # raises when no worker can be started, before others make room
        on_use: Callable[[str], object] = lambda _: None,  # is told the id of a model that is loaded or unloaded
        room_seconds: float = 10.0,  # that a load waits for answers whose model must go
    ) -> None:
        self.default_ttl = default_ttl
        self._available_memory = available_memory
        self._start_engine = start_engine
        self._check_start = check_start
        self._on_use = on_use
        self._loaded: dict[str, LoadedModel] = {}
        self._loading: dict[str, LoadingModel] = {}
        self._unloading: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._admissions: dict[str, Admission] = {}  # by model id
        self._crashes = CrashLimit()
        self._chosen_ttl: dict[str, float | None] = {}  # by model id; stays when a model crashes or makes room
        self._room_seconds = room_seconds
        self._rested = asyncio.Event()  # a request has ended
        self._room_making = asyncio.Lock()  # two at once would both see the same free memory
        self.is_closed = False  # no more loading

    def loaded(self) -> list[LoadedModel]:
        """The models that are loaded now, in the order of loading."""
        return list(self._loaded.values())

    def loading(self) -> list[LoadingModel]:
        """The models that are being loaded, in the order in which that was asked for."""
        return list(self._loading.values())

    def is_loading(self, model: ModelInfo) -> bool:
        """Whether a load of this variant has begun and not ended."""
        return model.id in self._loading

    def is_loaded(self, model: ModelInfo) -> bool:
        """Whether exactly this variant is loaded."""
        return model.id in self._loaded

    async def load(
        self, model: ModelInfo, placement: Placement = _ANYWHERE, *, ttl: float | None = None, keep: bool = False
    ) -> LoadedModel:
        """Load `model` unless it is; a `ttl` given (or `keep`: never unload) replaces the one in force.

        Many callers of the same model share one load. Raises what the worker reports, `InsufficientMemoryError`,
        `ModelInUseError` when it would have to be moved while it answers, or `ServiceStoppingError`.
        """
        loaded = await self._place(model, placement, own_users=0)
        if keep or ttl is not None:
            loaded.ttl = self._chosen_ttl[model.id] = None if keep else ttl
        self._rest(loaded)
        return loaded

    @asynccontextmanager
    async def use(
        self, model: ModelInfo, placement: Placement = _ANYWHERE, *, ttl: float | None = None, is_background: bool = False
    ) -> AsyncIterator[EngineProcess]:
        """The worker of `model`, loaded if need be and not unloaded meanwhile. Raises as `load`, `QueueFullError`."""
        loaded_now = self._loaded.get(model.id)
        running = loaded_now.engine.most_running if loaded_now else _USUALLY_RUNNING
        admission = self._admissions.setdefault(model.id, Admission(model.id))
        began, seconds = time.monotonic(), None
        # Before loading: nobody may take the model away before it is used.
        admission.enter(running=running, is_background=is_background)
        try:
            loaded = await self._place(model, placement, own_users=1)
            if ttl is not None:
                loaded.ttl = self._chosen_ttl[model.id] = ttl
            yield loaded.engine
            seconds = time.monotonic() - began
        finally:
            admission.leave(is_background=is_background, seconds=seconds)
            self._rested.set()
            if still_loaded := self._loaded.get(model.id):
                self._rest(still_loaded)

    async def unload(self, model_id: str, *, force: bool = False) -> bool:
        """Unload a model, or give its load up; False when it was not loaded. Raises `ModelInUseError` unless `force`.

        Who waits for a load that is given up, or for an answer, gets a `ModelUnloadedError`.
        """
        loading = self._loading.get(model_id)
        if loading is None and model_id not in self._loaded:
            return False
        if self._users(model_id) and not force:
            work = "being loaded for" if loading else "answering"
            message = f"The model {model_id} is {work} {self._users(model_id)} request(s)."
            raise ModelInUseError(message, hint="Wait for the answer, or use --force.")
        self._chosen_ttl.pop(model_id, None)
        if loading is not None:
            await asyncio.shield(self._in_background(self._give_up(loading)))
        if loaded := self._loaded.get(model_id):  # perhaps since this moment
            await self._unload(loaded)
        return True

    async def _give_up(self, loading: LoadingModel) -> None:
        loading.is_given_up = True
        loading.task.cancel()
        await asyncio.wait({loading.task})
        with suppress(FoundryError, asyncio.CancelledError):
            loading.task.result()  # nobody else may be there to look at it
        logger.info("gave the load of %s up", loading.model.id)

    async def close(self) -> None:
        """Unload everything and load nothing more."""
        self.is_closed = True
        loading = [loading.task for loading in self.loading()]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        await asyncio.gather(*(self._unload(loaded) for loaded in self.loaded()))
        await asyncio.gather(*self._unloading, *self._background)

    def _users(self, model_id: str) -> int:
        admission = self._admissions.get(model_id)
        return admission.users if admission else 0

    async def _place(self, model: ModelInfo, placement: Placement, own_users: int) -> LoadedModel:
        """Load `model`, and move it if `placement` demands it. `own_users`: how often the caller counts as a user."""
        loaded = await self._find_or_load(model, placement.provider)
        if not placement.is_demanded or loaded.provider == placement.provider:
            return loaded
        await self._check_start()
        if self._users(model.id) == own_users:
            await self._unload(loaded)
            loaded = await self._find_or_load(model, placement.provider)
        if loaded.provider != placement.provider:  # others use it there, or have just demanded another provider
            raise ModelInUseError(
                f"The model {model.id} is in use with {loaded.provider}, so it cannot be loaded with {placement.provider} now.",
                hint="Wait for the answers it is giving, or unload it.",
            )
        return loaded

    async def _find_or_load(self, model: ModelInfo, provider: str) -> LoadedModel:
        loaded = self._loaded.get(model.id)
        if loaded is not None and loaded.engine.is_alive:
            return loaded
        self._forget(loaded)
        if self.is_closed:
            raise ServiceStoppingError("The service is shutting down.")
        loading = self._loading.get(model.id)
        while loading is not None and loading.is_given_up:  # by somebody who came before
            await asyncio.wait({loading.task})
            loading = self._loading.get(model.id)
        if loading is None:
            task = asyncio.create_task(self._load(model, provider))
            loading = self._loading[model.id] = LoadingModel(model, provider, task)
        # A caller that goes away does not take the load from those who wait with it.
        return await asyncio.shield(loading.task)

    async def _load(self, model: ModelInfo, provider: str) -> LoadedModel:
        try:
            async with self._room_making:
                await self._check_start()
                self._crashes.check(model.id, provider)
                await self._make_room(model)
                self._loading[model.id].promised = _memory_of(model)
            engine = await self._start(model, provider)
            loaded = LoadedModel(model, engine, self._chosen_ttl.get(model.id, self.default_ttl), provider)
        except asyncio.CancelledError:
            if self._loading[model.id].is_given_up:
                raise ModelUnloadedError(f"The model {model.id} was unloaded while it was being loaded.") from None
            raise
        finally:
            del self._loading[model.id]
        self._loaded[model.id] = loaded
        self._on_use(model.id)
        self._rest(loaded)  # in case that everyone who wanted it has gone
        logger.info("loaded %s with %s in %.2f s, worker %d", model.id, provider, loaded.engine.load_seconds, loaded.engine.pid)
        self._in_background(self._forget_when_ended(loaded))
        return loaded

    async def _start(self, model: ModelInfo, provider: str) -> EngineProcess:
        assert model.path is not None
        try:
            return await self._start_engine(model.id, model.path, provider, embeds=model.makes_embeddings)
        except (EngineDiedError, InsufficientMemoryError):
            self._crashes.note(model.id, provider)
            raise

    async def _make_room(self, model: ModelInfo) -> None:
        """Unload idle models, least recently used first, until `model` fits; for those that answer, wait a while.

        What would not fit without any of them takes nobody's place. A model that does not fit beside those that are
        being loaded waits for them: how much they have taken of what they will take is not known.
        Raises `InsufficientMemoryError`.
        """
        needed = _memory_of(model)
        deadline = time.monotonic() + self._room_seconds
        while (free := self._available_memory() - sum(other.promised for other in self._loading.values())) < needed:
            if others := {other.task for other in self._loading.values() if other.promised}:
                await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
                deadline = time.monotonic() + self._room_seconds  # for answers: what was loaded first shall give its own
            elif self._unloading:
                await asyncio.wait(self._unloading)  # their memory comes back
            else:
                await self._replace_one(model, needed - free, deadline)

    async def _replace_one(self, model: ModelInfo, missing: int, deadline: float) -> None:
        """Unload an idle model for `model`, to which so many bytes are missing, or wait for the end of an answer."""
        idle = [loaded for loaded in self._loaded.values() if not self._users(loaded.model.id)]
        busy = [loaded for loaded in self._loaded.values() if loaded not in idle]
        if sum(map(_most_memory_of, idle)) >= missing:
            await self._unload(min(idle, key=lambda loaded: loaded.last_used))
        elif sum(map(_most_memory_of, self._loaded.values())) < missing:
            raise _no_room(model, missing, "Close other programs, unload other models, or use a smaller variant.")
        elif not await self._wait_for_rest(deadline - time.monotonic()):
            names = ", ".join(loaded.model.id for loaded in busy)
            raise _no_room(model, missing, f"Wait until {names} has answered, or unload it.")

    async def _wait_for_rest(self, seconds: float) -> bool:
        """Whether a request ends within so many seconds."""
        self._rested.clear()
        try:
            await asyncio.wait_for(self._rested.wait(), max(seconds, 0))
        except asyncio.TimeoutError:
            return False
        return True

    async def _unload(self, loaded: LoadedModel) -> None:
        """Route nothing to the model any more, and end its worker, also when the caller goes away meanwhile."""
        if self._loaded.get(loaded.model.id) is loaded:
            del self._loaded[loaded.model.id]
            self._on_use(loaded.model.id)
        if loaded.expiry is not None:
            loaded.expiry.cancel()
        await asyncio.shield(self._in_background(self._stop(loaded), self._unloading))

    async def _stop(self, loaded: LoadedModel) -> None:
        await loaded.engine.stop()
        logger.info("unloaded %s", loaded.model.id)

    def _rest(self, loaded: LoadedModel) -> None:
        """Start the idle time of a model that nobody uses now."""
        loaded.last_used = time.monotonic()
        if loaded.expiry is not None:
            loaded.expiry.cancel()
            loaded.expiry = None
        if loaded.ttl is not None and not self._users(loaded.model.id):
            loop = asyncio.get_running_loop()
            loaded.expiry = loop.call_later(loaded.ttl, lambda: self._in_background(self._expire(loaded)))

    async def _expire(self, loaded: LoadedModel) -> None:
        """Unload a model whose time is over, unless a request came in the same moment."""
        if not self._users(loaded.model.id) and self._loaded.get(loaded.model.id) is loaded:
            self._chosen_ttl.pop(loaded.model.id, None)
            await self._unload(loaded)

    async def _forget_when_ended(self, loaded: LoadedModel) -> None:
        await loaded.engine.ended.wait()
        self._forget(loaded)

    def _forget(self, loaded: LoadedModel | None) -> None:
        """Drop a model whose worker ended by itself, so that the next request loads it again."""
        if loaded is not None and self._loaded.get(loaded.model.id) is loaded:
            del self._loaded[loaded.model.id]
            if not loaded.engine.has_given_up:
                self._crashes.note(loaded.model.id, loaded.provider)

    def _in_background(
        self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]] | None = None
    ) -> asyncio.Task[None]:
        owner = self._background if tasks is None else tasks
        task = asyncio.create_task(work)
        owner.add(task)
        task.add_done_callback(owner.discard)
        return task

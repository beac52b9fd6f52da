"""`python -m foundry_cli.service`: the life of the service process, from the lock to the clean-up.

Lock, sockets, application, ready, serve, drain, end of the workers, clean-up. Whoever starts the process reads one
line of JSON from its standard output: the instance record when requests are served, or an error. Then standard output
and standard error are the log directory's `console.log`, and nothing that was inherited stays open.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # while modules are read it finds nothing, and takes a tenth of the time; on again when requests are served

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from foundry_cli import __version__
from foundry_cli.catalog.refreshing import refresh_in_background
from foundry_cli.config import Config, check_address, check_exposure, load_config
from foundry_cli.engine.confinement import leave_no_core
from foundry_cli.engine.model_manager import ModelManager, StartEngine
from foundry_cli.engine.process import EngineProcess, WorkerOptions
from foundry_cli.errors import FoundryError, ServiceOutdatedError, ServiceStartError
from foundry_cli.external_models import read_external_models
from foundry_cli.hardware.memory import available_memory
from foundry_cli.home import explained
from foundry_cli.instance import InstanceRecord
from foundry_cli.inventory import Inventory, open_inventory
from foundry_cli.log import start_logging
from foundry_cli.paths import Paths, write_atomically
from foundry_cli.program_code import code_digest
from foundry_cli.service.app import create_app
from foundry_cli.service.conversation_budget import ConversationBudget
from foundry_cli.service.external.registry import ExternalModels
from foundry_cli.service.guard import Access
from foundry_cli.service.home_lock import HomeLock
from foundry_cli.service.idle import stop_when_idle
from foundry_cli.service.server import Server, bind_tcp, bind_unix
from foundry_cli.service.state import ServiceState
from foundry_cli.store.removal import sweep_trash
from foundry_cli.store.usage import note_use

logger = logging.getLogger("foundry.service")

_OPEN_FILES = 4096


def main() -> None:
    """Run the service until it is told to stop."""
    umask = os.umask(0o077)
    leave_no_core()
    _raise_file_limit()
    paths = Paths.from_environment()
    try:
        with HomeLock(paths) as lock:
            config = load_config(paths)
            check_exposure(config.host, config.api_key)
            check_address(config.host)
            _start_logging(paths, config)
            _serve(paths, config, umask, lock)
    except FoundryError as error:  # who reads this may ask at once whether a service runs: the lock is free by now
        _report({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
        sys.exit(1)


def _raise_file_limit() -> None:
    """As many open files as the system allows, up to a number that is enough: the usual 256 of some are too few for sockets."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with suppress(OSError, ValueError):  # then it is as many as before
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _start_logging(paths: Paths, config: Config) -> None:
    try:
        start_logging(paths.logs, config.log_level)
    except OSError as error:
        message, hint = explained(error, paths.logs, paths)
        raise ServiceStartError(message, hint=hint) from error


def _serve(paths: Paths, config: Config, umask: int, lock: HomeLock) -> None:
    """`umask`: that of the person who has started the service."""
    code = code_digest()
    tcp = bind_tcp(config.host, config.port, _read_port(paths.port_file))
    unix = bind_unix(paths.socket, paths.home)
    record = _record(paths, config, tcp.getsockname()[1], has_unix=unix is not None)
    usage = ThreadPoolExecutor(1, "usage")
    conversations = ConversationBudget(paths.conversations, config.conversation_megabytes << 20)
    models = ModelManager(
        default_ttl=config.ttl_seconds,
        available_memory=available_memory,
        start_engine=engine_starter(paths, config, conversations, code),
        check_start=lambda: check_code(code),
        on_use=lambda model_id: usage.submit(note_use, paths, model_id),
    )
    inventory = open_inventory(paths, config)
    state = ServiceState(
        record,
        inventory,
        models,
        stop=lambda: setattr(server, "should_exit", True),
        is_stopping=lambda: server.should_exit,
        external=ExternalModels(read_external_models(config), is_offline=config.is_offline),
        code_digest=code,
        is_strict=config.is_strict,
        umask=umask,
    )

    def on_ready() -> None:
        try:
            console = os.open(paths.logs / "console.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            record.write(paths.instance_file)
        except OSError as error:
            message, hint = explained(error, paths.instance_file, paths)
            raise ServiceStartError(message, hint=hint) from error
        if config.port == 0:  # a port that was asked for is not the one to keep
            _keep_port(paths.port_file, record.port)
        begin = _background(
            partial(_sweep, inventory),
            partial(lock.wait_for_loss, state.stop),
            partial(refresh_in_background, paths, config, inventory.catalog),
        )
        logger.info("version %s serves %s, process %d", __version__, record.base_url, record.pid)
        _report({"instance": asdict(record)})
        _leave_console(console)
        gc.freeze()  # else a look at all that was loaded would halt every answer for a moment, now and then
        gc.enable()
        _stop_when_idle(state, config.idle_minutes)
        begin()

    server = Server(create_app(state, _access(config, record)), on_ready, models.close)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, server.handle_exit)  # uvicorn takes care of the other signals that end a process
    try:
        server.run_on([tcp] if unix is None else [tcp, unix])
    finally:
        conversations.close()
        lock.remove_traces()
        logger.info("stopped")


def _background(*works: Callable[[], object]) -> Callable[[], None]:
    """Threads for `works`, and what lets them begin: that they can be had is known before the service says that it runs.

    Raises `ServiceStartError`.
    """
    beginning = threading.Event()

    def run(work: Callable[[], object]) -> None:
        beginning.wait()
        work()

    try:
        for work in works:
            threading.Thread(target=run, args=(work,), daemon=True).start()
    except RuntimeError as error:
        hint = "This user may have too many processes already ('ulimit -u')."
        raise ServiceStartError("The service cannot start a thread.", hint=hint) from error
    return beginning.set


def _stop_when_idle(state: ServiceState, minutes: int) -> None:
    """Let the service end after `minutes` without a request, if that was set; downloads and loads are waited for."""

    def is_busy() -> bool:
        return bool(state.downloads or state.background)

    if minutes:
        state.idle_watch = asyncio.create_task(stop_when_idle(state.activity, 60.0 * minutes, is_busy, state.stop))


def engine_starter(paths: Paths, config: Config, budget: ConversationBudget, code: str) -> StartEngine:
    """Starts workers as the settings say. None is kept that may have been started from files of another digest than `code`."""
    options = WorkerOptions(config.engine, paths.conversations if budget.size else None, budget.size, budget.enforce_soon)

    async def start(name: str, directory: Path, provider: str, *, embeds: bool = False) -> EngineProcess:
        engine = await EngineProcess.start(name, directory, provider, options=options, embeds=embeds)
        try:
            await check_code(code)  # it has read them meanwhile
        except BaseException:
            await engine.stop()
            raise
        return engine

    return start


async def check_code(digest: str) -> None:
    """A worker of other code would speak with the service in another way. Raises `ServiceOutdatedError`."""
    if await asyncio.to_thread(code_digest) != digest:
        raise ServiceOutdatedError(
            "foundry was updated while its service was running, which can load no more models now.",
            hint="Run 'foundry service restart'.",
        )


def _sweep(inventory: Inventory) -> None:
    """Delete what interrupted removals left, when the cache is the right one."""
    if inventory.cache_problem() is None:
        sweep_trash(inventory.cache)


def _record(paths: Paths, config: Config, port: int, *, has_unix: bool) -> InstanceRecord:
    return InstanceRecord(
        instance_id=uuid.uuid4().hex,
        pid=os.getpid(),
        started_at=time.time(),
        host=config.host,
        port=port,
        socket=str(paths.socket) if has_unix else "",
        token=secrets.token_urlsafe(32),
        version=__version__,
    )


def _access(config: Config, record: InstanceRecord) -> Access:
    return Access(
        host=config.host,
        port=record.port,
        token=record.token,
        api_key=config.api_key,
        allowed_origins=config.allowed_origins,
        allow_other_users=config.allow_other_users,
    )


def _read_port(path: Path) -> int:
    """The port of the last start, 0 when there was none."""
    try:
        text = path.read_text().strip()
    except (OSError, ValueError):
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and 1024 <= int(text) <= 65535 else 0


def _keep_port(path: Path, port: int) -> None:
    """For the next start, which does without when it cannot be written."""
    try:
        write_atomically(path, str(port).encode())
    except OSError as error:
        logger.warning("the port will not be kept for the next start: %s", error)


def _report(message: dict[str, object]) -> None:
    """Tell whoever started us; when nobody reads, that is no reason to stop."""
    try:
        sys.stdout.buffer.write(json.dumps(message).encode("ascii") + b"\n")  # whatever the encoding of the user is
        sys.stdout.buffer.flush()
    except (OSError, ValueError):
        logger.warning("the process that started the service did not wait for it")


def _leave_console(console: int) -> None:
    """Let go of the starter's standard output; what libraries print goes to the file `console` from now on."""
    os.dup2(console, 1)
    os.dup2(console, 2)
    os.close(console)


if __name__ == "__main__":
    main()

"""Finding, starting and stopping the background service."""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_cli.client.client import ServiceClient
from foundry_cli.client.home_lock import is_held, is_holder
from foundry_cli.errors import FoundryError, ServiceStartError, ServiceUnreachableError, error_for_code
from foundry_cli.home import check_owner, explained, make_home
from foundry_cli.instance import InstanceRecord, read_instance
from foundry_cli.paths import Paths, make_private_directory
from foundry_cli.processes import detached

if TYPE_CHECKING:
    import psutil

START_SECONDS = 30.0
STOP_SECONDS = 18.0  # ten for the drain, some for the workers
_MODULE = "foundry_cli.service"
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 0.02
_ALREADY_RUNNING = "service_already_running"


def find_service(paths: Paths, timeout: float = _ANSWER_SECONDS) -> ServiceClient | None:
    """The service of this home directory, if it answers within `timeout` seconds and is not about to stop.

    It holds the lock of this home, and has the id of the record: the record alone may have come with a copy of another home.
    """
    record = read_instance(paths.instance_file)
    if record is None or not _is_locked(paths):
        return None
    client = ServiceClient(record)
    return client if client.is_alive(timeout) else None


def start_service(paths: Paths, variables: Mapping[str, str] | None = None) -> tuple[ServiceClient, bool]:
    """The running service, and whether it was started now, with `variables` in its environment.

    Raises `ServiceStartError`, `ForbiddenError` in the home of somebody else, or what the service reports.
    """
    check_owner(paths)
    if client := find_service(paths):
        return client, False
    with _only_starter(paths):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if client := find_service(paths):
                return client, False
            if not _is_locked(paths) and (client := _launch(paths, variables or {})):
                return client, True
            time.sleep(_POLL_SECONDS)  # another service is starting, or about to end
    raise ServiceStartError(
        "The service is running and does not answer.", hint="'foundry service restart' ends it and starts another."
    )


@contextmanager
def _only_starter(paths: Paths) -> Iterator[None]:
    """Of many that start at the same time one does the work, and the others find its service afterwards."""
    from filelock import FileLock, Timeout

    try:
        make_home(paths)
        lock = FileLock(paths.start_lock, mode=0o600)
        lock.acquire(timeout=2 * START_SECONDS, poll_interval=_POLL_SECONDS)
    except Timeout as error:
        raise ServiceStartError("Other processes are starting the service and do not come to an end.") from error
    except OSError as error:
        message, hint = explained(error, paths.start_lock, paths)
        raise ServiceStartError(message, hint=hint) from error
    try:
        yield
    finally:
        lock.release()


def find_hanging_service(paths: Paths) -> int | None:
    """Process id of a service that holds the lock and does not answer, 0 when it is not known; None when there is none."""
    if not _is_locked(paths):
        return None
    record = read_instance(paths.instance_file)
    return record.pid if record else 0


def record_problem(paths: Paths) -> str:
    """Why the record of a service that is not found cannot be read; "" when it can, or there is none."""
    try:
        paths.instance_file.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return " ".join(filter(None, explained(error, paths.instance_file, paths)))
    return ""


def require_service(paths: Paths) -> ServiceClient:
    """The running service. Raises `ServiceUnreachableError`."""
    if client := find_service(paths):
        return client
    if find_hanging_service(paths) is not None:
        hint = f"{record_problem(paths)} 'foundry service restart' ends it and starts another.".lstrip()
        raise ServiceUnreachableError("The service is running and does not answer.", hint=hint)
    raise ServiceUnreachableError(
        "Model management service is not running!",
        hint="To start the service, run the following command: foundry service start",
    )


def stop_service(paths: Paths, *, patience: float = STOP_SECONDS) -> bool:
    """Stop the service and wait for its end; False when none was running. Raises `FoundryError` when it does not end.

    A service that does not end within `patience` seconds, or does not answer at all, is killed. Raises `ForbiddenError`
    in the home of somebody else.
    """
    check_owner(paths)
    if not _is_locked(paths):
        return False
    deadline = time.monotonic() + patience
    is_asked = False
    while _is_locked(paths):
        if time.monotonic() > deadline:
            _end_by_force(paths)
            break
        client = None if is_asked else find_service(paths, min(patience, _ANSWER_SECONDS))
        if client is not None:
            with suppress(ServiceUnreachableError):  # it ended meanwhile
                client.stop()
            is_asked = True
        time.sleep(_POLL_SECONDS)
    return True


def _end_by_force(paths: Paths) -> None:
    """Kill the process of the record, or another service, after making sure that it is the one: it has the lock file open."""
    import psutil

    record = read_instance(paths.instance_file)
    services = (process.pid for process in psutil.process_iter() if _is_service(process))
    for pid in [record.pid] if record else services:
        try:
            process = psutil.Process(pid)
            if is_holder(process, paths.lock_file):
                process.kill()
                process.wait(STOP_SECONDS)
                return
        except psutil.Error:
            continue
    raise FoundryError("The service does not stop, and its process cannot be told for certain.")


def _is_service(process: psutil.Process) -> bool:
    """Whether it is a service of any directory."""
    import psutil

    try:
        return _MODULE in process.cmdline()
    except psutil.Error:  # somebody else's, or gone
        return False


def _launch(paths: Paths, variables: Mapping[str, str]) -> ServiceClient | None:
    """Start the process and wait until it serves, see `service/__main__.py`; None when another one is running."""
    process = _spawn(paths, variables)
    line = _read_line(process)
    try:
        answer = json.loads(line or b"null")
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        process.kill()  # nobody will know that it is there
    with suppress(RuntimeError):  # no more threads for this user: then who ends after it is not reaped by us
        threading.Thread(target=process.wait, name="foundry-service", daemon=True).start()  # reaps it when it ends before us
    if not isinstance(answer, dict):
        console = paths.logs / "console.log"
        raise ServiceStartError("The service did not start.", hint=f"Its last words are in {console}: {_last_line(console)}")
    if instance := answer.get("instance"):
        return ServiceClient(InstanceRecord(**instance))
    error = answer.get("error") or {}
    if error.get("code") == _ALREADY_RUNNING:
        return None
    raise error_for_code(error.get("code"))(str(error.get("message")), hint=error.get("hint"))


def _spawn(paths: Paths, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        make_private_directory(paths.logs)
        console = os.open(paths.logs / "console.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        message, hint = explained(error, paths.logs, paths)
        raise ServiceStartError(message, hint=hint) from error
    try:
        return subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=console,
            cwd=Path(sys.executable).anchor,
            env={**os.environ, **variables, "FOUNDRY_HOME": str(paths.home)},
            **detached(sys.platform),
        )
    except OSError as error:
        hint = "This user may have too many processes already ('ulimit -u')." if error.errno == errno.EAGAIN else None
        raise ServiceStartError(f"The service cannot be started: {error.strerror}.", hint=hint) from error
    finally:
        os.close(console)


def _read_line(process: subprocess.Popen[bytes]) -> bytes | None:
    """The first line of the process's output; None when it ends or stays silent too long."""
    assert process.stdout is not None
    with process.stdout as stream:
        if sys.platform != "win32" and not select.select([stream], [], [], START_SECONDS)[0]:
            process.kill()
            return None
        return stream.readline() or None


def _last_line(console: Path) -> str:
    try:
        lines = console.read_text("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")


def _is_locked(paths: Paths) -> bool:
    """Whether a service holds the lock; on a disk that does not say it, whether the one of the record answers."""
    try:
        return is_held(paths.lock_file)
    except PermissionError as error:
        message, hint = explained(error, paths.lock_file, paths)
        raise ServiceStartError(message, hint=hint) from error
    except OSError:
        record = read_instance(paths.instance_file)
        return record is not None and ServiceClient(record).is_alive()

"""Finding, starting and stopping the background service."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from foundry_cli.client.client import ServiceClient
from foundry_cli.errors import FoundryError, ServiceStartError, ServiceUnreachableError, error_for_code
from foundry_cli.instance import InstanceRecord, read_instance
from foundry_cli.paths import Paths, make_private_directory

START_SECONDS = 30.0
STOP_SECONDS = 15.0  # ten for the drain, and some
_POLL_SECONDS = 0.02
_ALREADY_RUNNING = "service_already_running"


_launched: list[subprocess.Popen[bytes]] = []
"""Services started by this process: they outlive it, and nothing is to be said when it ends before them."""


def find_service(paths: Paths) -> ServiceClient | None:
    """The service of this home directory, if it answers."""
    record = read_instance(paths.instance_file)
    if record is None or (record.socket and not os.path.exists(record.socket)):
        return None
    client = ServiceClient(record)
    return client if client.is_alive() else None


def start_service(paths: Paths) -> tuple[ServiceClient, bool]:
    """The running service, and whether it was started now. Raises `ServiceStartError` or what the service reports."""
    if client := find_service(paths):
        return client, False
    answer = _launch(paths)
    if instance := answer.get("instance"):
        return ServiceClient(InstanceRecord(**instance)), True
    error = answer.get("error") or {}
    if error.get("code") == _ALREADY_RUNNING:  # somebody else was faster
        return _wait_until_ready(paths), False
    raise error_for_code(error.get("code"))(str(error.get("message")), hint=error.get("hint"))


def require_service(paths: Paths) -> ServiceClient:
    """The running service. Raises `ServiceUnreachableError`."""
    if client := find_service(paths):
        return client
    raise ServiceUnreachableError(
        "Model management service is not running!",
        hint="To start the service, run the following command: foundry service start",
    )


def stop_service(paths: Paths) -> bool:
    """Stop the service and wait for its end; False when none was running. Raises `FoundryError` when it does not end."""
    client = find_service(paths)
    if client is None:
        return False
    client.stop()
    deadline = time.monotonic() + STOP_SECONDS
    while _is_locked(paths):
        if time.monotonic() > deadline:
            raise FoundryError(f"The service (process {client.record.pid}) did not stop within {STOP_SECONDS:.0f} s.")
        time.sleep(_POLL_SECONDS)
    return True


def _launch(paths: Paths) -> dict[str, Any]:
    """Start the process and return the line it reports, see `service/__main__.py`."""
    try:
        make_private_directory(paths.logs)
        console = os.open(paths.logs / "console.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise ServiceStartError(f"The directory {paths.logs} cannot be used: {error.strerror}.") from error
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "foundry_cli.service"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=console,
            cwd=Path(sys.executable).anchor,
            env={**os.environ, "FOUNDRY_HOME": str(paths.home)},
            **_detached(),
        )
    finally:
        os.close(console)
    _launched.append(process)
    line = _read_line(process)
    if line is None:
        raise ServiceStartError(
            "The service did not start.", hint=f"Its last words are in {paths.logs / 'console.log'}: {_last_line(paths)}"
        )
    return dict(json.loads(line))


def _detached() -> dict[str, Any]:
    """How a process leaves its starter's session, console and signals behind."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
        return {"creationflags": flags}
    return {"start_new_session": True}


def _read_line(process: subprocess.Popen[bytes]) -> bytes | None:
    """The first line of the process's output; None when it ends or stays silent too long."""
    assert process.stdout is not None
    with process.stdout as stream:
        if sys.platform != "win32" and not select.select([stream], [], [], START_SECONDS)[0]:
            process.kill()
            return None
        return stream.readline() or None


def _last_line(paths: Paths) -> str:
    try:
        lines = (paths.logs / "console.log").read_text("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")


def _wait_until_ready(paths: Paths) -> ServiceClient:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if client := find_service(paths):
            return client
        time.sleep(_POLL_SECONDS)
    raise ServiceStartError("Another process is starting or stopping the service, and it does not answer.")


def _is_locked(paths: Paths) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(paths.lock_file, timeout=0):
            return False
    except Timeout:
        return True

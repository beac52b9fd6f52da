"""What the commands say about the running service, as fields and as lines."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from foundry_cli.cli import output
from foundry_cli.client.supervisor import find_hanging_service, find_service
from foundry_cli.log import LOG_NAME
from foundry_cli.paths import Paths

if TYPE_CHECKING:
    from foundry_cli.client.client import ServiceClient
    from foundry_cli.instance import InstanceRecord

STATES = {"ready": "Ready", "not_running": "Not running", "not_answering": "Not answering"}
"""How people read the values of `state`."""


def state_fields(paths: Paths) -> dict[str, Any]:
    """The state with the keys that the original has: `running` and `state` always, the rest of a service that answers."""
    client = find_service(paths)
    return _answering(paths, client.record) if client else silent_fields(paths)


def silent_fields(paths: Paths) -> dict[str, Any]:
    """The state of a service that does not answer."""
    process = find_hanging_service(paths)
    if process is None:
        return {"running": False, "state": "not_running"}
    return {"running": True, "state": "not_answering", **({"pid": process} if process else {})}


def service_fields(paths: Paths, client: ServiceClient) -> dict[str, Any]:
    """The same of a service that answers, and what the original does not say."""
    record, state = client.record, client.status()
    return {
        **_answering(paths, record),
        "endpoints": [record.base_url],
        "port": record.port,
        "socket": record.socket or None,
        "version": record.version,
        "modelDirPath": state["modelDirPath"],
        "validEps": state["validEps"],
        "loadedModels": [model["id"] for model in state["loadedModels"]],
    }


def _answering(paths: Paths, record: InstanceRecord) -> dict[str, Any]:
    started = datetime.fromtimestamp(record.started_at, timezone.utc)
    return {
        "running": True,
        "state": "ready",
        "pid": record.pid,
        "webUrls": [record.base_url],
        "startedAt": started.isoformat(),
        "uptime": duration_text(datetime.now(timezone.utc) - started),
        "logFile": str(paths.logs / LOG_NAME),
    }


def duration_text(duration: timedelta) -> str:
    """`48m 44s`; units that are zero at the beginning are left out."""
    minutes, seconds = divmod(max(0, int(duration.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    while len(parts) > 1 and not parts[0][0]:
        del parts[0]
    return " ".join(f"{value}{unit}" for value, unit in parts)


def print_state(fields: dict[str, Any]) -> None:
    """`state_fields` in two columns. Other programs look for `Web URLs` and the address behind it."""
    lines = {"State": STATES[fields["state"]]}
    if "pid" in fields:
        lines["PID"] = str(fields["pid"])
    if "startedAt" in fields:
        lines["Started"] = f"{datetime.fromisoformat(fields['startedAt']):%Y-%m-%d %H:%M:%SZ}"
        lines["Uptime"] = fields["uptime"]
        lines["Web URLs"] = " ".join(fields["webUrls"])
    width = max(len(name) for name in lines)
    for name, value in lines.items():
        output.line(f"{name:<{width}} {value}")

"""The record of the running service: who it is and where it listens.

The record is a hint for finding the service; whether it lives is known from the kernel lock it holds and from its
answer to `/health`, which repeats `instance_id`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from foundry_cli.paths import write_atomically


@dataclass(frozen=True)
class InstanceRecord:
    """One running service. `socket` is empty where the platform has no Unix sockets."""

    instance_id: str
    pid: int
    started_at: float  # Unix seconds
    host: str
    port: int
    socket: str
    token: str  # proves to the service over TCP that the caller can read this file
    version: str

    @property
    def base_url(self) -> str:
        """Address of the REST interface, without a slash at the end."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def write(self, path: Path) -> None:
        """Store the record atomically, readable by the owner only."""
        write_atomically(path, json.dumps(asdict(self), indent=2).encode() + b"\n")


_TYPES = {"instance_id": str, "pid": int, "host": str, "port": int, "socket": str, "token": str, "version": str}
_LARGEST_RECORD = 65536  # bytes; anything larger was not written by this program


def read_instance(path: Path) -> InstanceRecord | None:
    """The stored record, or None when there is none or it is not one: it is only a hint, so never an error."""
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(_LARGEST_RECORD + 1))
        started_at = float(document["started_at"])
        values = {key: document[key] for key in _TYPES}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    is_right = all(type(values[key]) is kind and _is_usable(key, values[key]) for key, kind in _TYPES.items())
    return InstanceRecord(started_at=started_at, **values) if is_right and values["port"] <= 65535 else None


def _is_usable(key: str, value: str | int) -> bool:
    """Whether it may stand in a header, an address or, that of the socket, in a path, which has any characters but one."""
    if isinstance(value, int):
        return value >= 0
    return "\0" not in value and (key == "socket" or value.isprintable())

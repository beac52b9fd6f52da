"""Which user is at the other end of a loopback TCP connection (Linux: the kernel's table of sockets)."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def peer_is_same_user(peer: tuple[str, int], server_port: int) -> bool:
    """Whether the socket at `peer` (address, port), connected to our `server_port`, belongs to our user or to root."""
    uid = _socket_owner(peer, server_port)
    return uid in (os.getuid(), 0)


def _socket_owner(peer: tuple[str, int], server_port: int) -> int | None:
    addresses = _kernel_forms(peer[0])
    port, remote = f":{peer[1]:04X}", f":{server_port:04X}"
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            local_address, _, _ = fields[1].partition(":")
            if fields[1].endswith(port) and fields[2].endswith(remote) and local_address in addresses:
                return int(fields[7])
    return None


def _kernel_forms(address: str) -> set[str]:
    """The address as the tables write it: each 32-bit word in the machine's byte order, in hexadecimal."""
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        return set()
    forms = {_words(packed)}
    if len(packed) == 4:  # an IPv4 peer of a socket that serves both families
        forms.add(_words(b"\0" * 10 + b"\xff\xff" + packed))
    return forms


def _words(packed: bytes) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))

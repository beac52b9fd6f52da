"""Which user is at the other end of a loopback TCP connection (Linux: the kernel's table of sockets)."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

Address = tuple[str, int]

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def peer_is_same_user(peer: Address, server: Address) -> bool:
    """Whether the socket at `peer`, connected to `server`, belongs to our user or to root. Takes milliseconds."""
    for table in _TABLES:
        try:
            owner = socket_owner(table.read_text(), peer, server)
        except OSError:
            continue
        if owner is not None:
            return owner in (os.getuid(), 0)
    return False


def socket_owner(table: str, local: Address, remote: Address) -> int | None:
    """The user of the socket from `local` to `remote` in `table`, the text of /proc/net/tcp; None when nobody has it.

    A socket that its process has closed is still in the table, as one of user 0: without an inode it has no owner.
    """
    wanted = {(near, far) for near in _kernel_forms(local) for far in _kernel_forms(remote)}
    ending = f":{local[1]:04X} "
    for line in table.splitlines():
        if ending not in line:
            continue
        fields = line.split()
        if (fields[1], fields[2]) in wanted:
            return int(fields[7]) if fields[9] != "0" else None
    return None


def _kernel_forms(address: Address) -> set[str]:
    """The address as the tables write it: each 32-bit word in the machine's byte order, in hexadecimal, and the port."""
    host, port = address
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return set()
    forms = {_words(packed)}
    if len(packed) == 4:  # an IPv4 peer of a socket that serves both families
        forms.add(_words(b"\0" * 10 + b"\xff\xff" + packed))
    return {f"{form}:{port:04X}" for form in forms}


def _words(packed: bytes) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))

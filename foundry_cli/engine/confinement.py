"""What a worker gives up before it opens a model, because a model file may be hostile.

It dies with its parent, leaves no core dump, gains no privileges, writes to no file and makes no connection.
Each measure is applied where the kernel has it; the others do not depend on it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9

# Landlock, linux/landlock.h and Documentation/userspace-api/landlock.rst
_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_FS_EXECUTE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FS_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_BIND_AND_CONNECT = 0b11

KEPT_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "FOUNDRY_LOG_LEVEL",
)  # fmt: skip
"""Variables a worker may see: nothing that could hold a secret."""


def worker_environment() -> dict[str, str]:
    """The environment to start a worker with."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return {**kept, "ORT_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1"}


def die_with_parent(parent: int) -> None:
    """Be killed when the process `parent` ends (Linux; elsewhere the end of the pipe is the sign)."""
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def confine(model: Path) -> None:
    """Give up what running the model in directory `model` does not need."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _landlock(readable=[model, *_library_directories()])


def _library_directories() -> list[Path]:
    """Where code and facts about the machine are read from, also lazily while running."""
    prefixes = [Path(prefix) for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}]
    packages = [Path(entry) for entry in sys.path if entry]
    system = [Path(name) for name in ("/usr", "/lib", "/lib64", "/opt", "/etc", "/proc", "/sys", "/dev")]
    return [*prefixes, *packages, *system]


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _landlock(readable: list[Path]) -> None:
    """Allow reading below `readable` only, writing nowhere, and no TCP at all; nothing on kernels before 5.13."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_SYS_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    if abi < 1:
        return
    handled = _FS_RIGHTS_BY_ABI[max(known for known in _FS_RIGHTS_BY_ABI if known <= abi)]
    attributes = struct.pack("QQ", handled, _NET_BIND_AND_CONNECT) if abi >= 4 else struct.pack("Q", handled)
    ruleset = libc.syscall(_SYS_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        libc.syscall(_SYS_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    if not path.exists():
        return
    rights = _FS_READ_FILE | _FS_EXECUTE | (_FS_READ_DIR if path.is_dir() else 0)
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)

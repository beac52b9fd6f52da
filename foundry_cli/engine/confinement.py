"""What a worker gives up before it opens a model, because a model file may be hostile.

It dies with its parent, leaves no core dump, gains no privileges, reads only the model and the libraries, writes to no
file but those of the devices it computes on and the conversations it keeps, opens no socket and starts no program. Each
measure is applied where the kernel has it; the others do not depend on it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from foundry_cli.engine.system_calls import PR_SET_NO_NEW_PRIVS, prctl, refuse_system_calls

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_SIGKILL = 9

# Landlock, linux/landlock.h and Documentation/userspace-api/landlock.rst
_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_FS_EXECUTE, _FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR, _FS_IOCTL_DEVICE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 15
_FS_REMOVE_FILE, _FS_MAKE_FILE, _FS_TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_FS_PLAIN_FILES = _FS_READ_FILE | _FS_WRITE_FILE | _FS_REMOVE_FILE | _FS_MAKE_FILE
_FS_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_BIND_AND_CONNECT = 0b11
_SCOPE_SOCKETS_AND_SIGNALS = 0b11

KEPT_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "FOUNDRY_LOG_LEVEL",
    "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""Variables a worker may see: nothing that could hold a secret."""

_SYSTEM_FILES = (
    "/usr", "/lib", "/lib64", "/opt", "/sys", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/random",
    "/dev/urandom", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm",
)  # fmt: skip
"""Not all of /proc: the environment of the parent can be read there, and it may hold tokens."""

_DEVICE_PATTERNS = ("nvidia*", "dri", "accel", "kfd", "dxg", "fastrpc*", "dma_heap")
"""Below /dev: the files of GPUs and NPUs, which their libraries open for writing and control."""

_DEVICE_SYSTEM_FILES = ("/proc/driver", "/proc/devices", "/proc/modules", "/etc/OpenCL", "/etc/vulkan", "/etc/rocm")
"""Where these libraries look for drivers and for each other."""

_SET_ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONUTF8": "1",
    "PYTHONSAFEPATH": "1",  # the working directory is the root, from which nothing must be imported
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # weights in huge pages: a token takes up to a fifth less time
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would start before `confine`, which binds its own thread only
}


def worker_environment() -> dict[str, str]:
    """The environment to start a worker with."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return {**kept, **_SET_ENVIRONMENT}


def die_with_parent(parent: int) -> None:
    """Be killed when the process `parent` ends (Linux; elsewhere the end of the pipe is the sign)."""
    if sys.platform != "linux":
        return
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def leave_no_core() -> None:
    """Let what is in memory, prompts and the token, get into no core file and under no debugger of the same user.

    A limit is inherited by processes that are started, the other measure (Linux) is not.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        prctl(_PR_SET_DUMPABLE, 0)


def device_files(root: Path = Path("/dev")) -> list[Path]:
    """The files through which GPUs and NPUs are used."""
    return [path for pattern in _DEVICE_PATTERNS for path in sorted(root.glob(pattern))]


def confine(model: Path, devices: Sequence[Path] = (), writable: Path | None = None) -> None:
    """Give up what running the model in directory `model` does not need. Threads that exist already stay free.

    `devices`: device files, or folders of them, that may be read, written and controlled. `writable`: a folder in which
    plain files may be made, exchanged and removed.
    """
    if sys.platform == "win32":
        return
    leave_no_core()
    if sys.platform == "linux":
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        system = [Path(name) for name in _DEVICE_SYSTEM_FILES] if devices else []
        _landlock([model, *_library_directories(), *system], devices, writable)
        refuse_system_calls()


def _library_directories() -> list[Path]:
    """Where code and facts about the machine are read from, also lazily while running."""
    prefixes = [Path(prefix) for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}]
    packages = [Path(entry) for entry in sys.path if entry]
    system = [Path(name) for name in _SYSTEM_FILES]
    # `python -m` puts the working directory, the root, into sys.path before 3.11: that would allow everything.
    return [path for path in (*prefixes, *packages, *system) if path != Path(path.anchor)]


def _landlock(readable: Sequence[Path], devices: Sequence[Path], writable: Path | None) -> None:
    """Allow reading below `readable`, everything with `devices`, and no TCP at all; nothing on kernels before 5.13."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_SYS_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    if abi < 1:
        return
    attributes = _ruleset_attributes(abi)
    ruleset = libc.syscall(_SYS_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return
    try:
        for path in readable:
            _allow(libc, ruleset, path, _FS_READ_FILE | _FS_EXECUTE)
        for path in devices:
            _allow(libc, ruleset, path, _FS_READ_FILE | _FS_WRITE_FILE | (_FS_IOCTL_DEVICE if abi >= 5 else 0))
        if writable:
            _allow(libc, ruleset, writable, _FS_PLAIN_FILES | (_FS_TRUNCATE if abi >= 3 else 0))
        libc.syscall(_SYS_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _ruleset_attributes(abi: int) -> bytes:
    """Everything this version of Landlock can refuse."""
    attributes = struct.pack("Q", _FS_RIGHTS_BY_ABI[max(known for known in _FS_RIGHTS_BY_ABI if known <= abi)])
    if abi >= 4:
        attributes += struct.pack("Q", _NET_BIND_AND_CONNECT)
    if abi >= 6:
        attributes += struct.pack("Q", _SCOPE_SOCKETS_AND_SIGNALS)
    return attributes


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Allow `rights` on the file `path`, or on everything below the folder `path` and listing it."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = struct.pack("=Qi", rights | (_FS_READ_DIR if path.is_dir() else 0), descriptor)
        libc.syscall(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)

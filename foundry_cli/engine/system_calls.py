"""A seccomp filter against the system calls that a worker never makes and an attacker would need.

Landlock knows neither UDP nor Unix sockets, and a program that is started keeps the confinement but also the reach of
its parent. Linux on the two architectures the runtime is published for; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import platform
import struct

PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

# linux/bpf_common.h, linux/seccomp.h
_LOAD_WORD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _FAIL_WITH_EPERM = 0x7FFF0000, 0x00050001
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_X32_NUMBERS = 0x40000000  # the second set of numbers for the same calls on x86-64

# socket, ptrace, execve, execveat, process_vm_readv, process_vm_writev, io_uring_setup; linux/audit.h, asm/unistd.h
_ARCHITECTURES = {
    "x86_64": (0xC000003E, (41, 101, 59, 322, 310, 311, 425)),
    "aarch64": (0xC00000B7, (198, 117, 221, 281, 270, 271, 425)),
}


def prctl(option: int, first: int, second: int | None = None) -> bool:
    """prctl(2); `second` is an address. Whether it succeeded."""
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, first, ctypes.c_void_p(second), 0, 0) == 0)


def refuse_system_calls() -> bool:
    """Let the calls listed above fail from now on, in this thread and those it starts. Needs PR_SET_NO_NEW_PRIVS."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    instructions = _filter(*_ARCHITECTURES[platform.machine()])
    code = ctypes.create_string_buffer(b"".join(instructions))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code)))
    return prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _filter(architecture: int, refused: tuple[int, ...]) -> list[bytes]:
    """The program: fail for a foreign architecture, a refused number or an x32 one; else allow."""
    checks = [(_IF_EQUAL, number) for number in refused] + [(_IF_AT_LEAST, _X32_NUMBERS)]
    fail = len(checks) + 4  # index of the last instruction
    return [
        _instruction(_LOAD_WORD, _OFFSET_ARCHITECTURE),
        _instruction(_IF_EQUAL, architecture, otherwise=fail - 2),
        _instruction(_LOAD_WORD, _OFFSET_NUMBER),
        *(_instruction(kind, value, then=fail - index - 1) for index, (kind, value) in enumerate(checks, start=3)),
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _FAIL_WITH_EPERM),
    ]


def _instruction(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", code, then, otherwise, value)

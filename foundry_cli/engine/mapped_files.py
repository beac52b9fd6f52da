"""Gives back memory in which nothing is that a file does not hold."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # linux/mman.h
_MAPPING = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) .{4} \S+ \S+ \S+\s+(.*)\n")  # of proc_pid_smaps(5)


def forget_mapped(directory: Path) -> None:
    """Give back the pages of the files in `directory` that are mapped; what is read once more comes from the file again."""
    try:
        mappings = Path("/proc/self/smaps").read_bytes()
    except OSError:  # neither every system has it, nor every kernel of Linux
        return
    prefix = os.fsencode(os.path.realpath(directory)).replace(b"\n", b"\\012") + b"/"
    advise = ctypes.CDLL(None, use_errno=True).madvise
    for start, end in _unchanged_mappings(mappings, prefix):
        advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _unchanged_mappings(mappings: bytes, prefix: bytes) -> Iterator[tuple[int, int]]:
    """First and last address of each mapping of a file below `prefix` that nobody has written to."""
    place, changed = None, 0
    for line in [*mappings.splitlines(keepends=True), b"0-0 ---p 0 0 0  \n"]:
        if mapping := _MAPPING.fullmatch(line):
            if place and not changed:
                yield place
            place = (int(mapping[1], 16), int(mapping[2], 16)) if mapping[3].startswith(prefix) else None
            changed = 0
        elif line.startswith((b"Anonymous:", b"Swap:")):
            changed += int(line.split()[1])

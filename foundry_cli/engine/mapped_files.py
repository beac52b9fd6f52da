"""Gives back memory in which nothing is that a file does not hold."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # linux/mman.h
_MAPPING = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) .{4} \S+ \S+ \S+\s+(.*)\n")  # of proc_pid_smaps(5)


def forget_mapped(directory: Path) -> None:
    """Give back the pages of the files in `directory` that are mapped; what is read once more comes from the file again."""
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None, use_errno=True).madvise
    for start, end in _unchanged_mappings(str(directory).encode() + b"/"):
        advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _unchanged_mappings(prefix: bytes) -> Iterator[tuple[int, int]]:
    """First and last address of each mapping of a file below `prefix` that nobody has written to."""
    found: tuple[int, int] | None = None
    for line in Path("/proc/self/smaps").read_bytes().splitlines(keepends=True):
        if mapping := _MAPPING.fullmatch(line):
            found = (int(mapping[1], 16), int(mapping[2], 16)) if mapping[3].startswith(prefix) else None
        elif found and line.split() == [b"Anonymous:", b"0", b"kB"]:
            yield found

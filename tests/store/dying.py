"""Processes that die in the middle of a change of the file system."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_PROGRAM = """
import os, signal, sys
left = int(sys.argv[1])
events = {"os.remove", "os.rename", "os.rmdir", "os.mkdir"}

def die(event, arguments):  # is called before each change is made
    global left
    if event in events and left >= 0:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

%s
sys.addaudithook(die)
work()
"""


def die_at(change: int, program: str) -> bool:
    """Run `program`, which defines `work()`, and kill it before its change number `change`; whether it was killed."""
    done = subprocess.run([sys.executable, "-B", "-c", _PROGRAM % program, str(change)], capture_output=True, timeout=60)
    assert done.returncode in (0, -9), done.stderr.decode()
    return done.returncode != 0


def kill_everywhere(prepare: Callable[[int], str], check: Callable[[int], None], step: int = 1) -> int:
    """Prepare, run and kill at the first change, then `step` changes later, until the work ends; `check` after each death.

    Returns how many changes there were.
    """
    change = 0
    while die_at(change, prepare(change)):
        check(change)
        change += step
    check(change)
    return change


def program(imports: str, *lines: str) -> str:
    """A program for `die_at`."""
    return "\n".join([imports, "from pathlib import Path", "def work():", *(f"    {line}" for line in lines)])


def literal(path: Path) -> str:
    """`path` as it stands in a program."""
    return f"Path({str(path)!r})"

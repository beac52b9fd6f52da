"""The control groups this process is in, versions 1 and 2: where its limits on processors and memory are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ControlGroups:
    """The hierarchy below `root`, and the file that says where in it the process is."""

    root: Path = Path("/sys/fs/cgroup")
    membership: Path = Path("/proc/self/cgroup")

    def directories(self, controller: str) -> list[Path]:
        """Those with limits of `controller` on this process: its own group first, then the ones around it."""
        try:
            lines = self.membership.read_text().splitlines()
        except OSError:
            lines = []
        found = [self.root, self.root / controller]  # in a container the own group is the root of what is visible
        for line in lines:
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if not controllers or controller in controllers.split(","):
                base = self.root / controller if controllers else self.root
                own = base / path.strip("/")
                found[:0] = [own, *(parent for parent in own.parents if base in parent.parents)]
        return [directory for directory in dict.fromkeys(found) if directory.is_dir()]


def read_number(path: Path) -> int | None:
    """The number in a file; None when there is none, as for `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None

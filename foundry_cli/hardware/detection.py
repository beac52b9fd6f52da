"""Where the parts of the description come from on each platform. Nothing here raises: what cannot be read is left out."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from foundry_cli.hardware import linux, macos, windows
from foundry_cli.hardware.control_groups import ControlGroups, read_number
from foundry_cli.hardware.description import Hardware
from foundry_cli.hardware.processors import usable_cores, usable_processors


def detect_hardware(
    root: Path = Path("/"),
    *,
    platform: str = sys.platform,
    processors: Collection[int] | None = None,
    run: macos.Run = macos.run,
    registry: windows.Registry = windows.read_registry,
) -> Hardware:
    """The machine below `root`. `processors`: those this process may use; None: as the system says. Takes milliseconds."""
    groups = ControlGroups(root / "sys/fs/cgroup", root / "proc/self/cgroup")
    cores = usable_cores(root / "sys/devices/system/cpu", groups, processors)
    logical = usable_processors(groups, processors)
    if platform == "darwin":
        cpu, memory, devices = macos.detect(run, cores, logical)
    elif platform == "win32":
        cpu, memory, devices = windows.detect(registry, cores, logical)
    else:
        cpu, memory = linux.read_cpu(root, cores, logical), linux.read_memory(root)
        devices = list(linux.find_devices(root))
    limits = [limit for directory in groups.directories("memory") if (limit := _memory_limit(directory))]
    return Hardware(platform, cpu, min([memory, *limits]), tuple(devices))


def _memory_limit(directory: Path) -> int | None:
    """Bytes that a control group allows; version 1 writes a huge number for "unlimited", version 2 no number."""
    return read_number(directory / "memory.max") or read_number(directory / "memory.limit_in_bytes")

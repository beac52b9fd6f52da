"""How many processor cores this process may really use, which decides the number of engine threads."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(topology: Path = _TOPOLOGY, cgroup: Path = _CGROUP) -> int:
    """Physical cores within this process's affinity and cgroup quota, at least 1.

    Two hyper-threads of one core count once: the matrix kernels of ONNX Runtime gain nothing from the second.
    """
    return max(1, min(_physical_cores(topology), _quota(cgroup)))


def _allowed_processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical_cores(topology: Path) -> int:
    allowed = _allowed_processors()
    cores = {_core_identity(topology / f"cpu{number}" / "topology", number) for number in allowed}
    if all(identity[0] == "processor" for identity in cores):  # no sysfs: macOS, Windows
        import psutil

        return min(psutil.cpu_count(logical=False) or len(allowed), len(allowed))
    return len(cores)


def _core_identity(directory: Path, number: int) -> tuple[str, str]:
    try:
        return (directory / "physical_package_id").read_text().strip(), (directory / "core_id").read_text().strip()
    except OSError:
        return "processor", str(number)


def _quota(cgroup: Path) -> int:
    """Cores' worth of time that the control group allows, rounded up; a very large number when unlimited."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:  # control groups, version 1
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return 1 << 16
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return 1 << 16
    return max(1, -(-int(quota) // int(period)))

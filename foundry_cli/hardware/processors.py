"""How many processor cores this process may really use, which decides the number of engine threads."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.hardware.control_groups import ControlGroups, read_number

_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class ProcessorLimits:
    """What this process may use: `processors` of its affinity, the `cores` they are on, and the `quota` in cores, if any."""

    processors: int
    cores: int
    quota: int | None

    @property
    def usable_cores(self) -> int:
        """The least of them, at least 1."""
        return max(1, min(self.cores, self.quota or self.cores))

    def text(self) -> str:
        """All of it for people."""
        quota = f"a quota of {self.quota}" if self.quota else "no quota"
        return f"{self.usable_cores} ({self.cores} cores in the affinity, as {self.processors} processors; {quota})"


def processor_limits(
    topology: Path = _TOPOLOGY, groups: ControlGroups | None = None, processors: Collection[int] | None = None
) -> ProcessorLimits:
    """The limits of this process's affinity (`processors`) and control groups."""
    allowed = _allowed_processors() if processors is None else processors
    quotas = _quotas(groups or ControlGroups())
    return ProcessorLimits(len(allowed), _physical_cores(topology, allowed), min(quotas, default=None))


def limits_of_process(pid: int | None) -> ProcessorLimits:
    """The limits of another process; of this one if there is none, or if the system does not tell."""
    if pid is None or not hasattr(os, "sched_getaffinity"):
        return processor_limits()
    try:
        return processor_limits(
            groups=ControlGroups(membership=Path(f"/proc/{pid}/cgroup")), processors=os.sched_getaffinity(pid)
        )
    except OSError:
        return processor_limits()


def usable_cores(
    topology: Path = _TOPOLOGY, groups: ControlGroups | None = None, processors: Collection[int] | None = None
) -> int:
    """Physical cores within this process's affinity (`processors`) and control group quota, at least 1.

    Two hyper-threads of one core count once: the matrix kernels of ONNX Runtime gain nothing from the second.
    """
    return processor_limits(topology, groups, processors).usable_cores


def usable_processors(groups: ControlGroups | None = None, processors: Collection[int] | None = None) -> int:
    """As `usable_cores`, with every hyper-thread counted."""
    allowed = _allowed_processors() if processors is None else processors
    return max(1, min([len(allowed), *_quotas(groups or ControlGroups())]))


def _quotas(groups: ControlGroups) -> list[int]:
    return [quota for directory in groups.directories("cpu") if (quota := _quota(directory))]


def _allowed_processors() -> Collection[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def _physical_cores(topology: Path, allowed: Collection[int]) -> int:
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


def _quota(directory: Path) -> int | None:
    """Cores' worth of time that a control group allows, rounded up; None when unlimited."""
    try:
        quota, period = map(int, (directory / "cpu.max").read_text().split()[:2])
    except (OSError, ValueError):
        quota = read_number(directory / "cpu.cfs_quota_us") or 0
        period = read_number(directory / "cpu.cfs_period_us") or 0
    return -(-quota // period) if quota > 0 and period > 0 else None

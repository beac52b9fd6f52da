"""Cores and memory on machines that are only a tree of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry_cli.hardware.control_groups import ControlGroups
from foundry_cli.hardware.memory import available_memory
from foundry_cli.hardware.processors import processor_limits, usable_cores

MIB = 1 << 20


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def machine(root: Path, cores: list[tuple[int, int]]) -> Path:
    """A processor for each (package, core)."""
    for number, (package, core) in enumerate(cores):
        write(root / f"cpu{number}" / "topology", {"physical_package_id": f"{package}\n", "core_id": f"{core}\n"})
    return root


def groups(root: Path, files: dict[str, str], membership: str = "0::/\n") -> ControlGroups:
    root.mkdir(exist_ok=True)
    write(root, files)
    return ControlGroups(root, write(root.parent, {"membership": membership}) / "membership")


@pytest.mark.parametrize(
    ("cores", "processors", "expected"),
    [
        ([(0, 0), (0, 1)], {0, 1}, 2),
        ([(0, 0), (0, 0), (0, 1), (0, 1)], {0, 1, 2, 3}, 2),  # hyper-threads
        ([(0, 0), (0, 1), (1, 0), (1, 1)], {0, 1, 2, 3}, 4),  # two packages
        ([(0, 0), (0, 0), (0, 1), (0, 1)], {0, 1}, 1),  # bound to one core
        ([(0, 0), (0, 1), (0, 2), (0, 3)], {1, 3}, 2),
    ],
)
def test_physical_cores(tmp_path: Path, cores: list[tuple[int, int]], processors: set[int], expected: int) -> None:
    unlimited = groups(tmp_path / "groups", {})
    assert usable_cores(machine(tmp_path / "cpu", cores), unlimited, processors) == expected


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "0::/", 8),
        ({"cpu.max": "max 100000"}, "0::/", 8),
        ({"cpu.max": "200000 100000"}, "0::/", 2),
        ({"cpu.max": "150000 100000"}, "0::/", 2),
        ({"cpu.max": "1000 100000"}, "0::/", 1),
        ({"cpu.max": "nonsense"}, "0::/", 8),
        ({"cpu.max": ""}, "0::/", 8),
        ({"user.slice/job/cpu.max": "300000 100000"}, "0::/user.slice/job", 3),
        ({"user.slice/cpu.max": "200000 100000", "user.slice/job/cpu.max": "max 1"}, "0::/user.slice/job", 2),
        ({"other/cpu.max": "100000 100000"}, "0::/user.slice/job", 8),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/docker/1", 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/", 8),
        ({"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "0"}, "3:cpu:/", 8),
        ({"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, "4:memory:/b\n3:cpu:/a", 2),
    ],
)
def test_quota(tmp_path: Path, files: dict[str, str], membership: str, expected: int) -> None:
    topology = machine(tmp_path / "cpu", [(0, core) for core in range(8)])
    assert usable_cores(topology, groups(tmp_path / "groups", files, membership), range(8)) == expected


def test_at_least_one_core_without_any_files(tmp_path: Path) -> None:
    nowhere = ControlGroups(tmp_path / "none", tmp_path / "none")
    assert usable_cores(tmp_path / "none", nowhere, {0}) == 1


def test_this_machine() -> None:
    assert usable_cores() >= 1
    assert available_memory() > 0


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({"memory.max": str(8 * MIB), "memory.current": str(3 * MIB)}, "0::/", 5 * MIB),
        ({"memory.max": str(8 * MIB), "memory.current": str(3 * MIB), "memory.stat": f"inactive_file {MIB}"}, "0::/", 6 * MIB),
        ({"memory.max": str(8 * MIB), "memory.current": str(9 * MIB)}, "0::/", 0),
        ({"a/memory.max": str(8 * MIB), "a/memory.current": "0", "a/b/memory.max": "max"}, "0::/a/b", 8 * MIB),
        (
            {"memory/memory.limit_in_bytes": str(4 * MIB), "memory/memory.usage_in_bytes": str(MIB),
             "memory/memory.stat": f"cache 5\ntotal_inactive_file {MIB}"}, "5:memory:/docker/1", 4 * MIB,
        ),
    ],
)  # fmt: skip
def test_memory_of_a_group(tmp_path: Path, files: dict[str, str], membership: str, expected: int) -> None:
    assert available_memory(groups(tmp_path / "groups", files, membership)) == expected


def test_memory_without_limits_is_that_of_the_machine(tmp_path: Path) -> None:
    unlimited = groups(tmp_path / "groups", {"memory.max": "max", "memory.current": "5", "memory.stat": "what is this"})
    assert available_memory(unlimited) > 64 * MIB


def test_limits_are_told(tmp_path: Path) -> None:
    topology = machine(tmp_path / "cpu", [(0, 0), (0, 0), (0, 1), (0, 1)])
    limited = groups(tmp_path / "groups", {"cpu.max": "100000 100000"})
    told = processor_limits(topology, limited, {0, 1, 2, 3}).text()
    assert told == "1 (2 cores in the affinity, as 4 processors; a quota of 1)"
    free = groups(tmp_path / "free", {"cpu.max": "max 100000"})
    assert processor_limits(topology, free, {0, 1}).text() == "1 (1 cores in the affinity, as 2 processors; no quota)"

"""How much memory this process may still take, as the machine and its control groups say."""

from __future__ import annotations

from pathlib import Path

from foundry_cli.hardware.control_groups import ControlGroups, read_number


def available_memory(groups: ControlGroups | None = None) -> int:
    """Bytes that are free or can be made free at once."""
    import psutil

    directories = (groups or ControlGroups()).directories("memory")
    limits = [rest for directory in directories if (rest := _rest(directory)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *limits]))


def _rest(directory: Path) -> int | None:
    """What a group may still take; the file cache in it can be given back."""
    for limit_name, usage_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, usage = read_number(directory / limit_name), read_number(directory / usage_name)
        if limit is not None and usage is not None:
            return limit - usage + _statistic(directory / "memory.stat", cache_name)
    return None


def _statistic(path: Path, name: str) -> int:
    try:
        values = dict(line.split() for line in path.read_text().splitlines())
        return int(values.get(name, 0))
    except (OSError, ValueError):
        return 0

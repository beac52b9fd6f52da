"""Processor, memory and devices of a Mac, as `sysctl` and `system_profiler` tell them."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from foundry_cli.hardware.description import Cpu, Device

Run = Callable[[tuple[str, ...]], str]

_SECONDS = 0.8
_FEATURES = {
    "hw.optional.avx2_0": "avx2", "hw.optional.avx512f": "avx512f", "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod", "hw.optional.arm.FEAT_I8MM": "i8mm", "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}  # fmt: skip
_VENDORS = ("NVIDIA", "AMD", "Intel", "Apple")


def run(command: tuple[str, ...]) -> str:
    """What a program of the system prints; "" when it cannot be run or takes long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def detect(run: Run, physical: int, logical: int) -> tuple[Cpu, int, list[Device]]:
    """Processor, bytes of memory, devices."""
    lines = run(("/usr/sbin/sysctl", "machdep.cpu.brand_string", "hw.memsize", "hw.optional")).splitlines()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = values.get("machdep.cpu.brand_string") or "unknown"
    cpu = Cpu(
        name=name,
        vendor=next((vendor for vendor in _VENDORS if vendor in name), ""),
        architecture=platform.machine(),
        physical_cores=physical,
        logical_cores=logical,
        instruction_sets=tuple(known for key, known in _FEATURES.items() if values.get(key) == "1"),
    )
    memory = values.get("hw.memsize", "")
    devices = _apple_devices(name) if cpu.vendor == "Apple" else list(_cards(run))
    return cpu, int(memory) if memory.isdigit() else 0, devices


def _apple_devices(chip: str) -> list[Device]:
    """Every chip of Apple has both; their memory is the processor's."""
    return [
        Device("GPU", "Apple", f"{chip} GPU", driver="Metal"),
        Device("NPU", "Apple", f"{chip} Neural Engine", driver="Core ML"),
    ]


def _cards(run: Run) -> Iterator[Device]:
    try:
        document = json.loads(run(("/usr/sbin/system_profiler", "-json", "SPDisplaysDataType")) or "{}")
    except ValueError:
        return
    cards = document.get("SPDisplaysDataType") if isinstance(document, dict) else None
    for card in cards if isinstance(cards, list) else []:
        if isinstance(card, dict):
            name = str(card.get("sppci_model") or card.get("_name") or "GPU")
            text = f"{card.get('spdisplays_vendor', '')} {name}"
            vendor = next((vendor for vendor in _VENDORS if vendor in text), "")
            yield Device("GPU", vendor, name, _memory(card), driver="Metal" if _has_metal(card) else "")


def _has_metal(card: dict[str, Any]) -> bool:
    """The key differs between versions: `spdisplays_mtlgpufamilysupport`, before that `spdisplays_metal`."""
    return any(("mtl" in key or "metal" in key) and "metal" in str(value) for key, value in card.items())


def _memory(card: dict[str, Any]) -> int | None:
    found = re.match(r"(\d+)\s*(MB|GB)", str(card.get("spdisplays_vram", "")))
    return int(found[1]) << (20 if found[2] == "MB" else 30) if found else None

"""Processor, memory and devices of a Windows machine, read from the registry."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any

from foundry_cli.hardware.description import Cpu, Device

Registry = Callable[[str], list[dict[str, Any]]]
"""Values of a key of HKEY_LOCAL_MACHINE first, then those of each of its sub-keys."""

_CPU_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_CLASSES = r"SYSTEM\CurrentControlSet\Control\Class"
_DEVICE_CLASSES = (
    ("GPU", rf"{_CLASSES}\{{4d36e968-e325-11ce-bfc1-08002be10318}}"),  # display adapters
    ("NPU", rf"{_CLASSES}\{{f01a9d53-3ff6-48d2-9f97-c8a7004be10c}}"),  # compute accelerators
)
_VENDORS = {
    "ven_10de": "NVIDIA", "ven_8086": "Intel", "ven_1002": "AMD", "ven_1022": "AMD", "ven_17cb": "Qualcomm",
    "ven_qcom": "Qualcomm", "acpi\\qcom": "Qualcomm",
}  # fmt: skip
_CPU_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "Qualcomm Technologies Inc": "Qualcomm"}
_FEATURES = {40: "avx2", 41: "avx512f", 19: "neon", 43: "dotprod"}  # of IsProcessorFeaturePresent


def read_registry(key: str) -> list[dict[str, Any]]:
    """The registry of this machine; nothing elsewhere than on Windows, and for what may not be read."""
    if sys.platform != "win32":
        return []
    import winreg

    def values(handle: Any) -> dict[str, Any]:
        return {name: value for name, value, _ in (winreg.EnumValue(handle, i) for i in range(winreg.QueryInfoKey(handle)[1]))}

    found = []
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as handle:
            found.append(values(handle))
            names = [winreg.EnumKey(handle, index) for index in range(winreg.QueryInfoKey(handle)[0])]
    except OSError:
        return found
    for name in names:
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{key}\{name}") as handle:
                found.append(values(handle))
        except OSError:  # "Properties" is for the system only
            continue
    return found


def detect(registry: Registry, physical: int, logical: int) -> tuple[Cpu, int, list[Device]]:
    """Processor, bytes of memory, devices."""
    import psutil

    values = next(iter(registry(_CPU_KEY)), {})
    cpu = Cpu(
        name=str(values.get("ProcessorNameString") or "unknown").strip(),
        vendor=_CPU_VENDORS.get(str(values.get("VendorIdentifier")), ""),
        architecture=platform.machine(),
        physical_cores=physical,
        logical_cores=logical,
        instruction_sets=tuple(name for number, name in _FEATURES.items() if _has_feature(number)),
    )
    devices = [device for kind, key in _DEVICE_CLASSES for device in _devices(registry, kind, key)]
    return cpu, int(psutil.virtual_memory().total), list(dict.fromkeys(devices))


def _devices(registry: Registry, kind: str, key: str) -> Iterator[Device]:
    """Devices with a driver; Windows also keeps those that were removed, so one that is listed may be gone."""
    for values in registry(key)[1:]:
        identity = str(values.get("MatchingDeviceId", "")).lower()
        vendor = next((vendor for part, vendor in _VENDORS.items() if part in identity), "")
        name = values.get("DriverDesc")
        if vendor and isinstance(name, str):
            memory = values.get("HardwareInformation.qwMemorySize")
            yield Device(
                kind, vendor, name, memory if isinstance(memory, int) and memory else None, str(values.get("DriverVersion", ""))
            )


def _has_feature(number: int) -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(number))

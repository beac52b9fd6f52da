"""GPUs and NPUs on the PCI bus, as sysfs lists them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.hardware.description import Device

_VENDORS = {0x10DE: "NVIDIA", 0x8086: "Intel", 0x1002: "AMD", 0x1022: "AMD", 0x17CB: "Qualcomm"}
"""Others make display adapters that run no models: those of virtual machines and of server boards."""

_DISPLAY, _ACCELERATOR, _SIGNAL_PROCESSOR = 0x03, 0x12, 0x11  # base classes
_NPU_DRIVERS = ("intel_vpu", "amdxdna", "qaic")
_AMD_NPUS = (0x1502, 0x17F0, 0x17F1, 0x17F2)  # of 0x1022; they call themselves signal processors
_PLACEHOLDER_DRIVERS = ("vfio-pci", "pci-stub", "xen-pciback", "pciback")
_NAME_FILES = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids", "usr/share/pci.ids", "var/lib/pciutils/pci.ids")


@dataclass(frozen=True)
class PciDevice:
    """One function on the bus that could run models."""

    path: Path
    vendor_id: int
    device_id: int
    kind: str  # "GPU" or "NPU"
    driver: str  # of the kernel; "" for none

    @property
    def address(self) -> str:
        """As in `0000:01:00.0`."""
        return self.path.name.lower()


def pci_devices(root: Path) -> Iterator[PciDevice]:
    """GPUs and NPUs of known vendors, by address."""
    for path in sorted((root / "sys/bus/pci/devices").glob("*")):
        base_class, vendor, device = (_hexadecimal(path / name) for name in ("class", "vendor", "device"))
        driver = _driver(path)
        kind = _kind(base_class >> 16, vendor, device, driver)
        if kind and vendor in _VENDORS:
            yield PciDevice(path, vendor, device, kind, driver)


def describe_pci(root: Path, pci: PciDevice) -> Device:
    """The device with its name, as far as sysfs or the list of PCI names tells it."""
    vendor = _VENDORS[pci.vendor_id]
    is_reserved = pci.driver in _PLACEHOLDER_DRIVERS
    return Device(
        kind=pci.kind,
        vendor=vendor,
        name=_own_name(pci) or _listed_name(root, pci) or f"{vendor} {pci.kind} {pci.device_id:04x}",
        memory_bytes=_number(pci.path / "mem_info_vram_total"),  # amdgpu only
        driver="" if is_reserved else pci.driver,
        note=f"It is reserved for virtual machines (driver {pci.driver})." if is_reserved else "",
    )


def _kind(base_class: int, vendor: int, device: int, driver: str) -> str:
    if driver in _NPU_DRIVERS or (vendor == 0x1022 and device in _AMD_NPUS and base_class == _SIGNAL_PROCESSOR):
        return "NPU"
    if base_class == _DISPLAY:
        return "GPU"
    if base_class == _ACCELERATOR:
        return "NPU" if vendor in (0x8086, 0x1022, 0x17CB) else "GPU"
    return ""


def _driver(path: Path) -> str:
    try:
        return os.path.basename(os.readlink(path / "driver"))
    except OSError:  # none is bound
        return ""


def _own_name(pci: PciDevice) -> str:
    try:
        return (pci.path / "product_name").read_text(errors="replace").strip()  # amdgpu on cards for servers
    except OSError:
        return ""


def _listed_name(root: Path, pci: PciDevice) -> str:
    """The name in pci.ids: vendors at the beginning of a line, their devices below them behind one tab."""
    file = next((root / name for name in _NAME_FILES if (root / name).is_file()), None)
    if file is None:
        return ""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return ""
    section = re.search(rf"^{pci.vendor_id:04x}  .*\n((?:[\t#].*\n|\n)*)", text, re.MULTILINE)
    found = re.search(rf"^\t{pci.device_id:04x}  (.+)$", section[1] if section else "", re.MULTILINE)
    return f"{_VENDORS[pci.vendor_id]} {found[1].strip()}" if found else ""


def _hexadecimal(path: Path) -> int:
    try:
        return int(path.read_text(), 16)
    except (OSError, ValueError):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None

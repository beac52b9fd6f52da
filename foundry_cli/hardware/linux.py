"""Processor, memory and devices of a Linux machine, read from /proc, /sys and /dev."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from foundry_cli.hardware.description import Cpu, Device
from foundry_cli.hardware.pci import PciDevice, describe_pci, pci_devices

_LARGEST_FILE = 1 << 20  # bytes
_INSTRUCTION_SETS = {
    "avx2": "avx2", "avx512f": "avx512f", "avx512_vnni": "avx512_vnni", "avx512_bf16": "avx512_bf16",
    "avx_vnni": "avx_vnni", "amx_int8": "amx_int8", "amx_bf16": "amx_bf16",
    "asimd": "neon", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16", "sve": "sve", "sve2": "sve2", "sme": "sme",
}  # fmt: skip
"""Flags of /proc/cpuinfo that matter to matrix kernels, and the names people know them by."""

_CPU_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "0x51": "Qualcomm", "0x41": "Arm", "0x61": "Apple"}


def read_text(path: Path) -> str:
    """The first mebibyte of a file without the white space around it; "" when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST_FILE).decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return ""


def read_cpu(root: Path, physical: int, logical: int) -> Cpu:
    """What /proc/cpuinfo says about the first processor."""
    fields: dict[str, str] = {}
    for line in read_text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features", "")).split())
    return Cpu(
        name=fields.get("model name") or read_text(root / "proc/device-tree/model") or "unknown",
        vendor=_CPU_VENDORS.get(fields.get("vendor_id") or fields.get("CPU implementer", ""), ""),
        architecture=platform.machine(),
        physical_cores=physical,
        logical_cores=logical,
        instruction_sets=tuple(name for flag, name in _INSTRUCTION_SETS.items() if flag in flags),
    )


def read_memory(root: Path) -> int:
    """Bytes of the machine; 0 when /proc/meminfo does not say it."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def find_devices(root: Path) -> Iterator[Device]:
    """GPUs and NPUs: on the PCI bus, in the chip itself, and those that a virtual machine or a container is lent."""
    found = list(pci_devices(root))
    nvidia = _nvidia_models(root)
    for pci in found:
        device = describe_pci(root, pci)
        if device.vendor == "NVIDIA":
            yield _with_nvidia_driver(root, replace(device, name=nvidia.pop(pci.address, device.name)))
        else:
            yield replace(device, note=device.note or _missing_device_file(root, device, pci))
    for name in nvidia.values():  # a container that sees the driver, and not the bus
        yield _with_nvidia_driver(root, Device("GPU", "NVIDIA", name, driver="nvidia"))
    yield from _platform_devices(root)
    if (root / "dev/dxg").exists():
        yield _windows_host_device(root)


def _nvidia_models(root: Path) -> dict[str, str]:
    """Names of the GPUs that NVIDIA's driver runs, by PCI address."""
    models = {}
    for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", read_text(file), re.MULTILINE)
        models[file.parent.name.lower()] = found[1].strip() if found else "NVIDIA GPU"
    return models


def _with_nvidia_driver(root: Path, device: Device) -> Device:
    version = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", read_text(root / "proc/driver/nvidia/version"))
    if device.driver == "nouveau":
        return replace(device, note="The driver nouveau offers no CUDA.")
    if device.driver != "nvidia":
        return device
    note = "" if any((root / "dev").glob("nvidia[0-9]*")) else "There is no /dev/nvidia0: was the GPU given to this container?"
    return replace(device, driver=f"nvidia {version[1]}" if version else "nvidia", note=note)


def _missing_device_file(root: Path, device: Device, pci: PciDevice) -> str:
    """A sentence when the driver is there and its device file is not; a bus address has a folder only on real sysfs."""
    folder, files = ("dev/accel", "accel*") if device.kind == "NPU" else ("dev/dri", "renderD*")
    if not device.driver or device.note or any((root / folder).glob(files)):
        return ""
    return f"There is no /{folder}/{files}: was the device given to this container?"


def _platform_devices(root: Path) -> Iterator[Device]:
    """Devices that are part of the chip: Qualcomm's Adreno and Hexagon."""
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*/device/uevent")):
        text = read_text(card)
        if "qcom,adreno" in text or "DRIVER=msm" in text:
            yield Device("GPU", "Qualcomm", "Adreno", driver=_driver_of(text))
            break
    for file in ("dev/fastrpc-cdsp", "dev/fastrpc-cdsp-secure", "dev/fastrpc-nsp"):
        if (root / file).exists():
            yield Device("NPU", "Qualcomm", "Hexagon", driver="fastrpc")
            break


def _driver_of(uevent: str) -> str:
    found = re.search(r"^DRIVER=(\S+)$", uevent, re.MULTILINE)
    return found[1] if found else ""


_WSL_DRIVERS = (("nv", "NVIDIA"), ("iigd", "Intel"), ("u0", "AMD"))
"""How the folders of Windows display drivers begin, which WSL mounts."""


def _windows_host_device(root: Path) -> Device:
    """The GPU that Windows lends to WSL through /dev/dxg."""
    library = root / "usr/lib/wsl"
    folders = [folder.name.lower() for folder in sorted((library / "drivers").glob("*.inf_*"))]
    vendor = next((vendor for start, vendor in _WSL_DRIVERS if any(name.startswith(start) for name in folders)), "")
    if any((library / "lib").glob("libcuda.so*")):
        vendor = "NVIDIA"
    name = f"{vendor} GPU of the Windows host".strip()
    return Device("GPU", vendor, name, driver="dxgkrnl", note="Its driver is the one of Windows, below /usr/lib/wsl.")

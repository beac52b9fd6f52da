"""The machine as values. A device that is listed exists; nothing says that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cpu:
    """The processor. Cores are those that this process may use."""

    name: str
    vendor: str  # "Intel", "AMD", "Apple", "Qualcomm"…; "" when unknown
    architecture: str  # as `platform.machine()` says it: "x86_64", "arm64"…
    physical_cores: int
    logical_cores: int
    instruction_sets: tuple[str, ...] = ()  # those that matter to the matrix kernels: "avx2", "avx512_vnni", "i8mm"…


@dataclass(frozen=True)
class Device:
    """A GPU or NPU."""

    kind: str  # "GPU" or "NPU"
    vendor: str  # "NVIDIA", "Intel", "AMD", "Qualcomm", "Apple"; "" when unknown
    name: str
    memory_bytes: int | None = None  # its own memory; None: shared with the processor, or unknown
    driver: str = ""  # name and version; "" when none was found
    note: str = ""  # what may hinder its use, one sentence


@dataclass(frozen=True)
class Hardware:
    """One machine, as this process sees it."""

    platform: str  # a value of `sys.platform`
    cpu: Cpu
    memory_bytes: int  # that this process may use: the machine's, or the limit of its control group
    devices: tuple[Device, ...] = ()

    def find(self, kind: str, vendors: tuple[str, ...] = ()) -> Device | None:
        """The first device of that kind by one of `vendors` (any when empty; an unknown vendor counts as any)."""
        fitting = [device for device in self.devices if device.kind == kind and _is_by(device.vendor, vendors)]
        return next((device for device in fitting if device.driver), fitting[0] if fitting else None)


def _is_by(vendor: str, vendors: tuple[str, ...]) -> bool:
    return not vendors or not vendor or vendor in vendors

"""What is read from the files of a machine, on trees that look like those of real ones."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.hardware import Device, Hardware, detect_hardware

INTEL_CPU = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) Ultra 7 258V
flags\t\t: fpu sse avx avx2 avx_vnni

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) Ultra 7 258V
flags\t\t: fpu
"""

NVIDIA_VERSION = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)
GCC version:  gcc version 12.3.0
"""

PCI_IDS = """# names
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t7550  Navi 48 [Radeon RX 9070/9070 XT]
\t\t1002 0e0d  A board
8086  Intel Corporation
\t643e  Lunar Lake NPU
\t64a0  Lunar Lake [Intel Arc Graphics 130V / 140V]

C 03  Display controller
\t00  VGA compatible controller
"""


class Tree:
    """The root of a machine, to be filled with files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def pci(self, address: str, class_code: int, vendor: int, device: int, driver: str = "") -> None:
        folder = f"sys/bus/pci/devices/{address}"
        for name, value in (("class", class_code), ("vendor", vendor), ("device", device)):
            self.write(f"{folder}/{name}", f"0x{value:04x}\n")
        if driver:
            target = self.root / "sys/bus/pci/drivers" / driver
            target.mkdir(parents=True, exist_ok=True)
            os.symlink(target, self.root / folder / "driver")

    def detect(self, **options: Any) -> Hardware:
        return detect_hardware(self.root, **{"platform": "linux", "processors": {0, 1}, **options})


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A machine without devices, but for what every virtual one has."""
    tree = Tree(tmp_path)
    tree.write("proc/cpuinfo", INTEL_CPU)
    tree.write("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n")
    tree.pci("0000:00:00.0", 0x060000, 0x8086, 0x1237)  # a bridge
    tree.pci("0000:00:02.0", 0x030000, 0x1234, 0x1111, "bochs-drm")  # a display of a virtual machine
    return tree


def test_processor_and_memory(tree: Tree) -> None:
    machine = tree.detect()
    assert machine.cpu.name == "Intel(R) Core(TM) Ultra 7 258V"
    assert machine.cpu.vendor == "Intel"
    assert machine.cpu.instruction_sets == ("avx2", "avx_vnni")
    assert (machine.cpu.physical_cores, machine.cpu.logical_cores) == (2, 2)
    assert machine.memory_bytes == 16 << 20
    assert machine.devices == ()


def test_two_threads_of_a_core_are_one_core(tree: Tree) -> None:
    for number in range(4):
        tree.write(f"sys/devices/system/cpu/cpu{number}/topology/physical_package_id", "0")
        tree.write(f"sys/devices/system/cpu/cpu{number}/topology/core_id", str(number // 2))
    cpu = tree.detect(processors={0, 1, 2, 3}).cpu
    assert (cpu.physical_cores, cpu.logical_cores) == (2, 4)


def test_the_limits_of_a_container_count(tree: Tree) -> None:
    tree.write("proc/self/cgroup", "0::/pod/container\n")
    tree.write("sys/fs/cgroup/pod/container/memory.max", "max")
    tree.write("sys/fs/cgroup/pod/container/cpu.max", "150000 100000")
    tree.write("sys/fs/cgroup/pod/memory.max", str(8 << 20))
    machine = tree.detect(processors=set(range(16)))
    assert machine.memory_bytes == 8 << 20
    assert machine.cpu.logical_cores == 2


def test_an_arm_processor(tree: Tree) -> None:
    tree.write("proc/cpuinfo", "processor : 0\nFeatures : fp asimd asimddp i8mm sve\nCPU implementer : 0x51\n")
    tree.write("proc/device-tree/model", "Lenovo ThinkPad X13s\0")
    cpu = tree.detect().cpu
    assert (cpu.name, cpu.vendor) == ("Lenovo ThinkPad X13s", "Qualcomm")
    assert cpu.instruction_sets == ("neon", "dotprod", "i8mm", "sve")


def test_nvidia_with_its_driver(tree: Tree) -> None:
    tree.pci("0000:01:00.0", 0x030000, 0x10DE, 0x2684, "nvidia")
    tree.pci("0000:01:00.1", 0x040300, 0x10DE, 0x22BA, "snd_hda_intel")  # its sound
    tree.write("proc/driver/nvidia/version", NVIDIA_VERSION)
    tree.write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ: 1\n")
    tree.write("dev/nvidia0")
    assert tree.detect().devices == (Device("GPU", "NVIDIA", "NVIDIA GeForce RTX 4090", driver="nvidia 580.65.06"),)


def test_nvidia_without_a_driver(tree: Tree) -> None:
    tree.pci("0000:01:00.0", 0x030200, 0x10DE, 0x2684)
    assert tree.detect().devices == (Device("GPU", "NVIDIA", "NVIDIA GPU 2684"),)


def test_nvidia_with_the_driver_of_the_kernel(tree: Tree) -> None:
    tree.pci("0000:01:00.0", 0x030000, 0x10DE, 0x2684, "nouveau")
    (device,) = tree.detect().devices
    assert (device.driver, device.note) == ("nouveau", "The driver nouveau offers no CUDA.")


def test_a_gpu_of_the_host_that_was_not_given_to_the_container(tree: Tree) -> None:
    tree.pci("0000:01:00.0", 0x030200, 0x10DE, 0x2335, "nvidia")
    tree.pci("0000:02:00.0", 0x038000, 0x1002, 0x74A1, "amdgpu")
    nvidia, amd = tree.detect().devices
    assert "/dev/nvidia0" in nvidia.note
    assert "/dev/dri/renderD" in amd.note


def test_a_container_that_sees_the_driver_and_not_the_bus(tree: Tree) -> None:
    tree.write("proc/driver/nvidia/version", NVIDIA_VERSION)
    tree.write("proc/driver/nvidia/gpus/0000:0a:00.0/information", "Model: NVIDIA H200\n")
    tree.write("dev/nvidia0")
    assert tree.detect().devices == (Device("GPU", "NVIDIA", "NVIDIA H200", driver="nvidia 580.65.06"),)


def test_a_gpu_that_is_reserved_for_virtual_machines(tree: Tree) -> None:
    tree.pci("0000:01:00.0", 0x030000, 0x10DE, 0x2684, "vfio-pci")
    (device,) = tree.detect().devices
    assert device.driver == ""
    assert "vfio-pci" in device.note


def test_intel_with_gpu_and_npu(tree: Tree) -> None:
    tree.write("usr/share/misc/pci.ids", PCI_IDS)
    tree.pci("0000:00:03.0", 0x030000, 0x8086, 0x64A0, "xe")
    tree.pci("0000:00:0b.0", 0x120000, 0x8086, 0x643E, "intel_vpu")
    for file in ("dev/dri/renderD128", "dev/accel/accel0"):
        tree.write(file)
    assert tree.detect().devices == (
        Device("GPU", "Intel", "Intel Lunar Lake [Intel Arc Graphics 130V / 140V]", driver="xe"),
        Device("NPU", "Intel", "Intel Lunar Lake NPU", driver="intel_vpu"),
    )


def test_amd_with_gpu_and_npu(tree: Tree) -> None:
    tree.write("usr/share/hwdata/pci.ids", PCI_IDS)
    tree.pci("0000:03:00.0", 0x030000, 0x1002, 0x7550, "amdgpu")
    tree.write("sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total", f"{16 << 30}\n")
    tree.pci("0000:c5:00.1", 0x118000, 0x1022, 0x17F0)  # an older kernel: no driver yet
    tree.pci("0000:c5:00.2", 0x108000, 0x1022, 0x17E0, "ccp")  # the security processor
    tree.write("dev/dri/renderD128")
    assert tree.detect().devices == (
        Device("GPU", "AMD", "AMD Navi 48 [Radeon RX 9070/9070 XT]", 16 << 30, "amdgpu"),
        Device("NPU", "AMD", "AMD NPU 17f0"),
    )


def test_qualcomm(tree: Tree) -> None:
    uevent = "DRIVER=adreno\nOF_NAME=gpu\nOF_COMPATIBLE_0=qcom,adreno-43050a01\n"
    tree.write("sys/class/drm/card0/device/uevent", uevent)
    tree.write("dev/fastrpc-cdsp")
    assert tree.detect().devices == (
        Device("GPU", "Qualcomm", "Adreno", driver="adreno"),
        Device("NPU", "Qualcomm", "Hexagon", driver="fastrpc"),
    )


@pytest.mark.parametrize(
    ("files", "vendor"),
    [(["lib/libcuda.so.1"], "NVIDIA"), (["drivers/iigd_dch.inf_amd64_1/x"], "Intel"), (["drivers/u0403.inf_amd64_1/x"], "AMD"),
     ([], "")],
)  # fmt: skip
def test_wsl_lends_the_gpu_of_windows(tree: Tree, files: list[str], vendor: str) -> None:
    tree.write("dev/dxg")
    for file in files:
        tree.write(f"usr/lib/wsl/{file}")
    (device,) = tree.detect().devices
    assert (device.kind, device.vendor, device.driver) == ("GPU", vendor, "dxgkrnl")


def test_damaged_files_are_left_out(tree: Tree) -> None:
    tree.write("proc/cpuinfo", "\0\xff::\n:\n")
    tree.write("proc/meminfo", "MemTotal: much\n")
    tree.write("proc/driver/nvidia/gpus/0000:01:00.0/information", "")
    tree.write("proc/driver/nvidia/version", "?")
    tree.write("sys/bus/pci/devices/0000:05:00.0/class", "VGA")
    machine = tree.detect()
    assert (machine.cpu.name, machine.memory_bytes) == ("unknown", 0)
    assert [device.name for device in machine.devices] == ["NVIDIA GPU"]


def test_an_empty_root_is_a_machine_of_which_nothing_is_known(tmp_path: Path) -> None:
    machine = detect_hardware(tmp_path, platform="linux")
    assert machine.devices == ()
    assert machine.cpu.physical_cores >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_is_described() -> None:
    machine = detect_hardware()
    assert machine.platform == "linux"
    assert machine.memory_bytes > 1 << 28
    assert 1 <= machine.cpu.physical_cores <= machine.cpu.logical_cores <= (os.cpu_count() or 1)


MAC = """machdep.cpu.brand_string: Apple M3 Pro
hw.memsize: 19327352832
hw.optional.neon: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_SME: 0
"""


def test_a_mac_with_a_chip_of_apple(tree: Tree) -> None:
    asked = []

    def run(command: tuple[str, ...]) -> str:
        asked.append(command[0])
        return MAC

    machine = tree.detect(platform="darwin", run=run)
    assert (machine.cpu.name, machine.cpu.vendor, machine.memory_bytes) == ("Apple M3 Pro", "Apple", 19327352832)
    assert machine.cpu.instruction_sets == ("neon", "dotprod")
    assert [(device.kind, device.name) for device in machine.devices] == [
        ("GPU", "Apple M3 Pro GPU"),
        ("NPU", "Apple M3 Pro Neural Engine"),
    ]
    assert asked == ["/usr/sbin/sysctl"]  # the other program takes a second


def test_a_mac_with_a_chip_of_intel(tree: Tree) -> None:
    card = {
        "sppci_model": "AMD Radeon Pro 5500M",
        "spdisplays_vram": "8 GB",
        "spdisplays_mtlgpufamilysupport": "spdisplays_metal3",
    }

    def run(command: tuple[str, ...]) -> str:
        if "system_profiler" in command[0]:
            return json.dumps({"SPDisplaysDataType": [card, "noise"]})
        return "machdep.cpu.brand_string: Intel(R) Core(TM) i9-9880H\nhw.optional.avx2_0: 1\n"

    machine = tree.detect(platform="darwin", run=run)
    assert machine.cpu.instruction_sets == ("avx2",)
    assert machine.devices == (Device("GPU", "AMD", "AMD Radeon Pro 5500M", 8 << 30, "Metal"),)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"SPDisplaysDataType": {}}', "noise: : :\n"])
def test_a_mac_that_says_nothing_useful(tree: Tree, text: str) -> None:
    machine = tree.detect(platform="darwin", run=lambda _: text)
    assert (machine.cpu.name, machine.devices) == ("unknown", ())


def test_windows(tree: Tree) -> None:
    display = [
        {"Class": "Display"},
        {"DriverDesc": "NVIDIA GeForce RTX 4060", "MatchingDeviceId": "PCI\\VEN_10DE&DEV_2882", "DriverVersion": "32.0.15.7652",
         "HardwareInformation.qwMemorySize": 8 << 30},
        {"DriverDesc": "Microsoft Basic Display Adapter", "MatchingDeviceId": "PCI\\CC_0300"},
        {"DriverDesc": "NVIDIA GeForce RTX 4060", "MatchingDeviceId": "PCI\\VEN_10DE&DEV_2882", "DriverVersion": "32.0.15.7652",
         "HardwareInformation.qwMemorySize": 8 << 30},
    ]  # fmt: skip
    accelerators = [{}, {"DriverDesc": "Snapdragon NPU", "MatchingDeviceId": "ACPI\\QCOM0D0A", "DriverVersion": "30.0"}]
    values = {
        "HARDWARE": [{"ProcessorNameString": "AMD Ryzen 7 7840U  ", "VendorIdentifier": "AuthenticAMD"}],
        "4d36e968": display,
        "f01a9d53": accelerators,
    }
    machine = tree.detect(platform="win32", registry=lambda key: next(v for part, v in values.items() if part in key))
    assert (machine.cpu.name, machine.cpu.vendor) == ("AMD Ryzen 7 7840U", "AMD")
    assert machine.devices == (
        Device("GPU", "NVIDIA", "NVIDIA GeForce RTX 4060", 8 << 30, "32.0.15.7652"),
        Device("NPU", "Qualcomm", "Snapdragon NPU", None, "30.0"),
    )


def test_windows_that_says_nothing(tree: Tree) -> None:
    assert tree.detect(platform="win32", registry=lambda _: []).devices == ()


def test_a_device_with_a_driver_is_found_before_one_without() -> None:
    bare, ready = Device("GPU", "NVIDIA", "one"), Device("GPU", "NVIDIA", "two", driver="nvidia")
    machine = Hardware("linux", detect_hardware().cpu, 1, (bare, ready))
    assert machine.find("GPU", ("NVIDIA",)) is ready
    assert machine.find("GPU") is ready
    assert machine.find("NPU") is None
    assert machine.find("GPU", ("AMD",)) is None

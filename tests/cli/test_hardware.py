"""`foundry hardware`, and the lines about execution providers in `foundry service status`."""

from __future__ import annotations

import json

import pytest

from foundry_cli.cli.hardware import fields, print_hardware
from foundry_cli.execution_providers import ProviderReport
from foundry_cli.hardware import Cpu, Device, Hardware
from tests.conftest import Foundry, RunningService

CPU = "CPUExecutionProvider"

LAPTOP = Hardware(
    "linux",
    Cpu("Intel(R) Core(TM) Ultra 7 258V", "Intel", "x86_64", 8, 8, ("avx2", "avx_vnni")),
    32 << 30,
    (
        Device("GPU", "NVIDIA", "NVIDIA GeForce RTX 4070 Laptop GPU", 8 << 30, "nvidia 580.65.06"),
        Device("GPU", "Intel", "Intel Lunar Lake [Intel Arc Graphics 130V / 140V]", None, "xe", "There is no /dev/dri."),
        Device("NPU", "Intel", "Intel Lunar Lake NPU"),
    ),
)
REPORT = ProviderReport(
    (CPU,), ("WebGpuExecutionProvider is installed and cannot be used: a library or driver that it needs cannot be loaded.",)
)

TEXT = """\
CPU        Intel(R) Core(TM) Ultra 7 258V
           8 cores (8 threads) for models, x86_64: avx2, avx_vnni
Memory     32.00 GB
GPU        NVIDIA GeForce RTX 4070 Laptop GPU
           8.00 GB of its own memory
           driver nvidia 580.65.06
GPU        Intel Lunar Lake [Intel Arc Graphics 130V / 140V]
           driver xe
           There is no /dev/dri.
NPU        Intel Lunar Lake NPU
           no driver found

Execution providers
  works    CPUExecutionProvider
  fails    WebGpuExecutionProvider is installed and cannot be used: a library or
           driver that it needs cannot be loaded.
  missing  CUDAExecutionProvider: install onnxruntime-genai-cuda
  missing  NvTensorRTRTXExecutionProvider: install onnxruntime-genai-cuda and
           onnxruntime-ep-nv-tensorrt-rtx
  missing  OpenVINOExecutionProvider: install onnxruntime-ep-openvino
"""


def test_a_machine_in_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_hardware(LAPTOP, REPORT)
    assert capsys.readouterr().out == TEXT


def test_a_machine_as_json() -> None:
    document = fields(LAPTOP, REPORT)
    assert json.loads(json.dumps(document)) == document
    assert document["cpu"]["physicalCores"] == 8
    assert [device["type"] for device in document["devices"]] == ["GPU", "GPU", "NPU"]
    assert document["devices"][2]["driver"] is None
    assert document["validEps"] == [CPU]
    assert {"name": "CUDAExecutionProvider", "install": "onnxruntime-genai-cuda"} in document["missingEps"]


def test_this_machine(foundry: Foundry) -> None:
    text = foundry("hardware")
    assert text.code == 0
    assert max(map(len, text.stdout.splitlines())) <= 80
    for label in ("CPU", "Memory", "GPU", "NPU", "Execution providers", "  works    CPUExecutionProvider"):
        assert f"\n{label}" in f"\n{text.stdout}"
    document = json.loads(foundry("hardware", "--output", "json").stdout)
    assert document["validEps"][0] == CPU
    assert document["memoryBytes"] > 1 << 28


def test_status_names_the_providers(foundry: Foundry, service: RunningService) -> None:
    home = service.paths.home
    fields = json.loads(foundry("service", "status", "-o", "json", home=home).stdout)
    assert fields["validEps"] == [CPU]
    lines = foundry("service", "status", home=home).stdout.splitlines()
    assert lines[0].endswith("/openai/status")
    assert lines[1].startswith("EP autoregistration status: ")
    assert lines[2] == f"Valid EPs: {CPU}"
    assert len(lines) == 3

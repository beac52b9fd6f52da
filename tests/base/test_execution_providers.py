"""Which execution provider a variant needs, what stands in its way, and what the installed packages really offer."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.execution_providers import (
    CPU,
    CUDA,
    PROVIDERS,
    WEBGPU,
    ProviderReport,
    available_providers,
    find_provider,
    installable_providers,
    obstacle,
    probe_providers,
    provider_obstacle,
    provider_report,
    required_provider,
)
from foundry_cli.hardware import Cpu, Device, Hardware
from foundry_cli.paths import Paths
from foundry_cli.types import ModelInfo

NVIDIA = Device("GPU", "NVIDIA", "GeForce RTX 4090", driver="nvidia 580.65.06")
BARE = Device("GPU", "NVIDIA", "GeForce RTX 4090")
INTEL_NPU = Device("NPU", "Intel", "Lunar Lake NPU", driver="intel_vpu")
INTEL_GPU = Device("GPU", "Intel", "Arc", driver="xe")


def model(name: str, device: str = "GPU", provider: str = "") -> ModelInfo:
    return ModelInfo(name, 1, name, device=device, execution_provider=provider)


def machine(*devices: Device, platform: str = "linux", vendor: str = "Intel") -> Hardware:
    return Hardware(platform, Cpu("A processor", vendor, "x86_64", 4, 8), 16 << 30, devices)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Phi-4-cuda-gpu", CUDA), ("Phi-4-openvino-npu", "OpenVINOExecutionProvider"),
     ("Phi-4-openvino-gpu", "OpenVINOExecutionProvider"), ("phi-4-trtrtx-gpu", "NvTensorRTRTXExecutionProvider"),
     ("Phi-4-qnn-npu", "QNNExecutionProvider"), ("Phi-4-vitis-npu", "VitisAIExecutionProvider"),
     ("Phi-4-generic-cpu", CPU), ("Phi-4-generic-gpu", WEBGPU), ("Phi-4-migraphx-gpu", "MIGraphXExecutionProvider"),
     ("Phi-4-directml-gpu", "DmlExecutionProvider"), ("Phi-4-openvino-cpu", "OpenVINOExecutionProvider"),
     ("cuda-gpu-notes-generic-cpu", CPU), ("a-cuda-gpus", WEBGPU), ("barracuda-gpu", WEBGPU)],
)  # fmt: skip
def test_the_name_of_a_variant_says_which_provider_it_needs(name: str, expected: str) -> None:
    assert required_provider(model(name), [CPU]) == expected


def test_a_generic_gpu_variant_takes_cuda_where_it_is() -> None:
    assert required_provider(model("Phi-4-generic-gpu"), [CPU, CUDA]) == CUDA
    assert required_provider(model("Phi-4-generic-gpu"), [CPU, WEBGPU]) == WEBGPU


@pytest.mark.parametrize(
    ("device", "recorded", "expected"),
    [("CPU", CPU, CPU), ("CPU", "", CPU), ("GPU", CUDA, CUDA), ("NPU", "QNNExecutionProvider", "QNNExecutionProvider"),
     ("NPU", "", ""), ("NPU", "ContosoExecutionProvider", "ContosoExecutionProvider")],
)  # fmt: skip
def test_without_such_a_name_its_record_says_it(device: str, recorded: str, expected: str) -> None:
    assert required_provider(model("my-own-model", device, recorded), [CPU]) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], CPU), ([{"cuda": {}}], CUDA), ([{"OpenVINO": {}}, {"cuda": {}}], "OpenVINOExecutionProvider"),
     ([{"NvTensorRtRtx": {}}], "NvTensorRTRTXExecutionProvider"), ([{"contoso": {}}], CPU), (None, CPU), ("cuda", CPU)],
)  # fmt: skip
def test_of_a_model_without_a_record_the_configuration_says_it(tmp_path: Path, options: object, expected: str) -> None:
    own = replace(model("my-gpu-model"), path=tmp_path)
    assert required_provider(own, [CPU]) == CPU  # no configuration
    config = {"model": {"decoder": {"session_options": {"provider_options": options}}}}
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    assert required_provider(own, [CPU]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("cpu", CPU), ("CUDA", CUDA), (" cuda ", CUDA), ("CUDAExecutionProvider", CUDA), ("cudaexecutionprovider", CUDA),
     ("trtrtx", "NvTensorRTRTXExecutionProvider"), ("WebGPU", WEBGPU), ("dml", "DmlExecutionProvider"),
     ("openvino", "OpenVINOExecutionProvider"), ("qnn", "QNNExecutionProvider"), ("vitis", "VitisAIExecutionProvider"),
     ("migraphx", "MIGraphXExecutionProvider")],
)  # fmt: skip
def test_a_provider_is_found_by_short_and_full_name_in_any_case(text: str, expected: str) -> None:
    found = find_provider(text)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize("text", ["", "tpu", "cuda,cpu", "ExecutionProvider", "cud"])
def test_other_texts_are_no_provider(text: str) -> None:
    assert find_provider(text) is None


def test_no_two_providers_share_a_name() -> None:
    names = [name.lower() for provider in PROVIDERS for name in (provider.name, *provider.short_names)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "device", "available", "hardware", "expected"),
    [
        ("a-generic-cpu", "CPU", [CPU], machine(), ""),
        ("a-cuda-gpu", "GPU", [CPU], machine(), "needs a GPU by NVIDIA; none was found."),
        ("a-cuda-gpu", "GPU", [CPU], machine(INTEL_GPU), "needs a GPU by NVIDIA; none was found."),
        ("a-cuda-gpu", "GPU", [CPU], machine(BARE), "needs a driver for GeForce RTX 4090; none was found."),
        ("a-cuda-gpu", "GPU", [CPU], machine(NVIDIA), f"needs {CUDA}: install onnxruntime-genai-cuda."),
        ("a-cuda-gpu", "GPU", [CPU], None, f"needs {CUDA}: install onnxruntime-genai-cuda."),
        ("a-cuda-gpu", "GPU", [CPU, CUDA], machine(NVIDIA), ""),
        ("a-cuda-gpu", "GPU", [CPU, CUDA], machine(), ""),  # it was tried and works: so the platform told too little
        ("a-cuda-gpu", "GPU", [CPU], machine(platform="darwin"), f"needs {CUDA}, which does not exist for this system."),
        ("a-openvino-npu", "NPU", [CPU], machine(), "needs an NPU by Intel; none was found."),
        ("a-openvino-npu", "NPU", [CPU, "OpenVINOExecutionProvider"], machine(INTEL_GPU),
         "needs an NPU by Intel; none was found."),
        ("a-openvino-npu", "NPU", [CPU, "OpenVINOExecutionProvider"], machine(INTEL_NPU), ""),
        ("a-openvino-npu", "NPU", [CPU], machine(INTEL_NPU),
         "needs OpenVINOExecutionProvider: install onnxruntime-ep-openvino."),
        ("a-openvino-cpu", "CPU", [CPU], machine(vendor="AMD"), "needs a CPU by Intel; this one is by AMD."),
        ("a-qnn-npu", "NPU", [CPU], machine(), "needs an NPU by Qualcomm; none was found."),
        ("a-generic-gpu", "GPU", [CPU], machine(), "needs a GPU; none was found."),
        ("a-generic-gpu", "GPU", [CPU, CUDA], machine(NVIDIA), ""),
        ("a-strange-npu", "NPU", [CPU], machine(), "does not say which execution provider it needs."),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(
    name: str, device: str, available: list[str], hardware: Hardware | None, expected: str
) -> None:
    assert obstacle(model(name, device), available, hardware) == expected


def test_only_providers_with_a_device_and_a_driver_are_worth_installing() -> None:
    def names(*devices: Device) -> set[str]:
        return {provider.name for provider in installable_providers(ProviderReport(), machine(*devices))}

    assert names() == names(BARE) == set()
    assert names(NVIDIA) == {CUDA, "NvTensorRTRTXExecutionProvider", WEBGPU}
    assert names(INTEL_NPU) == {"OpenVINOExecutionProvider"}
    broken = ProviderReport((CPU, WEBGPU), (f"{CUDA} is installed and cannot be used: its library is missing.",))
    assert [p.name for p in installable_providers(broken, machine(NVIDIA))] == ["NvTensorRTRTXExecutionProvider"]


def test_the_installed_packages_are_asked_and_the_answer_is_kept(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    assert available_providers(paths) == (CPU,)
    record = paths.run / "providers.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps({**document, "providers": [CUDA], "notes": ["kept"]}))
    assert provider_report(paths) == ProviderReport((CPU, CUDA), ("kept",))  # not asked again
    assert provider_report(paths, refresh=True) == ProviderReport()
    record.write_text(json.dumps({**document, "providers": [CUDA], "installation": ["other packages"]}))
    assert available_providers(paths) == (CPU,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "reason"),
    [("raise ImportError('no memory')", "no memory"), ("raise MemoryError", "MemoryError"), ("import os; os._exit(3)", "3")],
)
def test_a_probe_that_failed_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str) -> None:
    paths = Paths(tmp_path / "home")
    package = tmp_path / "broken" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(program)
    installed = importlib.util.find_spec("onnxruntime")
    assert installed is not None
    assert installed.origin is not None
    (package / "capi").symlink_to(Path(installed.origin).parent / "capi")  # the library of the real one
    with monkeypatch.context() as broken:
        broken.setenv("PYTHONPATH", str(tmp_path / "broken"))  # of the probe; this process has the same packages as before
        (note,) = provider_report(paths).notes
    assert reason in note
    assert not (paths.run / "providers.json").exists()
    assert provider_report(paths) == ProviderReport()
    assert (paths.run / "providers.json").exists()


def test_a_failure_that_an_earlier_version_remembered_is_not_used(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    provider_report(paths)
    document = json.loads((paths.run / "providers.json").read_text())
    failure = {**document, "notes": ["ONNX Runtime cannot be loaded: out of memory"]}
    (paths.run / "providers.json").write_text(json.dumps(failure))
    assert provider_report(paths) == ProviderReport()


@pytest.mark.parametrize(
    ("name", "hardware", "notes", "expected"),
    [
        ("cuda", machine(), (), f"{CUDA} needs a GPU by NVIDIA; none was found."),
        ("cuda", machine(BARE), (), f"{CUDA} needs a driver for GeForce RTX 4090; none was found."),
        ("cuda", machine(NVIDIA), (), f"{CUDA} needs the package onnxruntime-genai-cuda, which is not installed."),
        ("cuda", machine(NVIDIA), (f"{CUDA} is installed and cannot be used: bad.",),
         f"{CUDA} is installed and cannot be used: bad."),
        ("openvino", machine(), (),
         "OpenVINOExecutionProvider needs the package onnxruntime-ep-openvino, which is not installed."),
        ("dml", machine(), (), "needs DmlExecutionProvider, which does not exist for this system."),
        ("cpu", machine(), (), ""),
    ],
)  # fmt: skip
def test_what_a_provider_lacks_is_named(name: str, hardware: Hardware, notes: tuple[str, ...], expected: str) -> None:
    provider = find_provider(name)
    assert provider is not None
    assert provider_obstacle(provider, ProviderReport(notes=notes), hardware) == expected


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "[]", "{", '{"providers": 3}', "\udcff", '{"installation": []}'])
def test_a_damaged_answer_is_not_used(tmp_path: Path, content: str) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir()
    (paths.run / "providers.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert available_providers(paths) == (CPU,)


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert available_providers(Paths(tmp_path / "file" / "home")) == (CPU,)


PLUG_IN = """
def get_library_path():
    return {path!r}

def get_ep_names():
    return ["WebGpuExecutionProvider"]
"""


def test_packages_that_are_broken_are_noted_and_hide_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library.so").write_text("no library")
    for name, text in {
        "onnxruntime_ep_text": PLUG_IN.format(path=str(tmp_path / "library.so")),
        "onnxruntime_ep_gone": PLUG_IN.format(path=str(tmp_path / "gone.so")),
        "onnxruntime_ep_raises": "raise RuntimeError('out of order')",
        "onnxruntime_ep_silent": "",
        "onnxruntime_ep_prints": "print('noise on standard output')",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    report = probe_providers()
    assert report.names == (CPU,)
    raises, text, gone = sorted(report.notes, key=lambda note: ("library.so" in note, "gone.so" in note))
    assert raises == "onnxruntime_ep_raises is installed and cannot be used: RuntimeError: out of order"
    assert text != gone
    for note in (text, gone):
        assert note.startswith("WebGpuExecutionProvider is installed and cannot be used: ")


@pytest.mark.parametrize(
    ("program", "reason"),
    [("import sys; sys.exit('libcuda is broken')", "libcuda is broken"), ("print('{}')", "exit code 0"),
     ("print('noise')", "exit code 0"), ("", "exit code 0"), ("import os; os.kill(os.getpid(), 11)", "exit code -11"),
     ("import sys; sys.stdin.read(); import signal; signal.pause()", "did not answer within 1 s")],
)  # fmt: skip
def test_a_probe_that_fails_is_a_note(program: str, reason: str) -> None:
    report = probe_providers((sys.executable, "-c", program), timeout=1)
    assert report.names == (CPU,)
    (note,) = report.notes
    assert reason in note


def test_a_probe_that_cannot_be_started_is_a_note() -> None:
    (note,) = probe_providers(("/does/not/exist",)).notes
    assert "No such file" in note

"""Execution providers: the parts of ONNX Runtime that run a model on one kind of device, and what each of them needs.

Which of them the installed packages really offer is asked in a process of its own, because that loads native libraries
of third parties, and is remembered until the packages change.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry_cli.hardware import Hardware
from foundry_cli.home import is_own
from foundry_cli.paths import Paths, write_atomically
from foundry_cli.types import ModelInfo

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
WEBGPU = "WebGpuExecutionProvider"

_PROBE = (sys.executable, "-m", "foundry_cli.engine.provider_probe")
_PROBE_SECONDS = 60.0
_LARGEST_RECORD = 1 << 20  # bytes
_NO_RUNTIME = "ONNX Runtime cannot be loaded"  # how the probe's note begins when an import failed


@dataclass(frozen=True)
class Provider:
    """One execution provider. `package` is what brings it to the machine, in words of pip where pip has it."""

    name: str  # as ONNX Runtime and the catalog call it
    short_names: tuple[str, ...]  # as `ep=` and `--ep` take it
    runtime_name: str  # as the configuration of ONNX Runtime GenAI calls it
    devices: tuple[str, ...]  # kinds of devices it can use
    vendors: tuple[str, ...]  # of these devices; empty: any
    package: str
    platforms: tuple[str, ...] = ()  # values of `sys.platform` it exists for; empty: all


_PC = ("linux", "win32")
PROVIDERS = (
    Provider(CPU, ("cpu",), "CPU", ("CPU",), (), "onnxruntime-genai"),
    Provider(CUDA, ("cuda",), "cuda", ("GPU",), ("NVIDIA",), "onnxruntime-genai-cuda", _PC),
    Provider(
        "NvTensorRTRTXExecutionProvider", ("trtrtx", "nvtensorrtrtx"), "NvTensorRtRtx", ("GPU",), ("NVIDIA",),
        "onnxruntime-genai-cuda and onnxruntime-ep-nv-tensorrt-rtx", _PC,
    ),
    Provider(WEBGPU, ("webgpu",), "WebGPU", ("GPU",), (), "onnxruntime-ep-webgpu"),
    Provider("DmlExecutionProvider", ("dml", "directml"), "DML", ("GPU",), (), "onnxruntime-genai-directml", ("win32",)),
    Provider(
        "OpenVINOExecutionProvider", ("openvino",), "OpenVINO", ("CPU", "GPU", "NPU"), ("Intel",),
        "onnxruntime-ep-openvino", _PC,
    ),
    Provider("QNNExecutionProvider", ("qnn",), "QNN", ("NPU", "GPU"), ("Qualcomm",), "onnxruntime-qnn", _PC),
    Provider("VitisAIExecutionProvider", ("vitis", "vitisai"), "VitisAI", ("NPU",), ("AMD",), "AMD's Ryzen AI Software", _PC),
    Provider(
        "MIGraphXExecutionProvider", ("migraphx",), "MIGraphXExecutionProvider", ("GPU",), ("AMD",),
        "AMD's ROCm and its build of ONNX Runtime", _PC,
    ),
    Provider("CoreMLExecutionProvider", ("coreml",), "CoreML", ("GPU", "NPU"), ("Apple",), "onnxruntime", ("darwin",)),
)  # fmt: skip


@dataclass(frozen=True)
class ProviderReport:
    """What the installed packages offer: names that load, CPU first, and a sentence for each one that does not."""

    names: tuple[str, ...] = (CPU,)
    notes: tuple[str, ...] = ()
    is_complete: bool = True  # False: the packages could not be asked, the notes say why

    def note_about(self, provider: Provider) -> str:
        """Why a provider that is installed cannot be used; "" when nothing is known."""
        return next((note for note in self.notes if note.partition(" ")[0] == provider.name), "")


def find_provider(text: str) -> Provider | None:
    """The provider for a full or short name in any case; None when there is none of that name."""
    wanted = text.strip().lower()
    return next((p for p in PROVIDERS if wanted in (p.name.lower(), *p.short_names)), None)


_FRAGMENT = re.compile(r"(?:^|-)(cuda|trtrtx|openvino|qnn|vitis|migraphx|webgpu|dml|directml|generic)-(cpu|gpu|npu)(?![^-:])")


def required_provider(model: ModelInfo, available: Sequence[str]) -> str:
    """The provider that `model` is made for: by the end of its name, else by its record; "" when nothing says it.

    A generic GPU variant takes CUDA where it is `available`, else WebGPU. Of a model without a record, which somebody
    put on this machine, the device is only guessed: its configuration counts.
    """
    fragments = _FRAGMENT.findall(model.id.lower())
    family, kind = fragments[-1] if fragments else ("", model.device.lower())
    if family and family != "generic":
        provider = find_provider(family)
        assert provider is not None  # every family in the pattern is a short name
        return provider.name
    if family == "generic" and kind == "cpu":
        return CPU
    if not family and (recorded := find_provider(model.execution_provider)):
        return recorded.name
    if not family and not model.execution_provider and model.path is not None:
        return configured_provider(_read_object(model.path / "genai_config.json"))[0]
    if kind == "gpu":
        return CUDA if CUDA in available else WEBGPU
    return CPU if kind == "cpu" else model.execution_provider


def configured_provider(config: object) -> tuple[str, str]:
    """Execution provider and device that the content of genai_config.json asks for; the processor when it asks for none."""
    value: Any = config
    for key in ("model", "decoder", "session_options", "provider_options"):
        value = value.get(key) if isinstance(value, dict) else None
    entries = [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    for name, options in ((name, options) for entry in entries for name, options in entry.items()):
        if (provider := find_provider(name)) and provider.name != CPU:
            asked = str(options.get("device_type", "")).upper() if isinstance(options, dict) else ""
            return provider.name, asked if asked in provider.devices else provider.devices[0]
    return CPU, "CPU"


def provider_obstacle(provider: Provider, report: ProviderReport, hardware: Hardware) -> str:
    """What is missing to use `provider` on this machine, in one sentence; "" when it is in `report`."""
    if provider.name in report.names:
        return ""
    if note := report.note_about(provider):
        return note
    missing = [_missing_device(provider, kind, hardware) for kind in provider.devices]
    reason = missing[0] if all(missing) else f"needs the package {provider.package}, which is not installed."
    return reason if provider.name in reason else f"{provider.name} {reason}"


def obstacle(model: ModelInfo, available: Sequence[str], hardware: Hardware | None = None) -> str:
    """Why `model` cannot run on this machine, in one sentence; "" when nothing is in the way.

    Without `hardware` only the providers count.
    """
    name = required_provider(model, available)
    provider = find_provider(name)
    if provider is None:
        return f"needs the execution provider {name}, which is not known here." if name else _UNKNOWN
    if name in available and (hardware is None or len(provider.devices) == 1):
        return ""  # it was tried: that counts more than what the platform tells about devices
    missing = _missing_device(provider, model.device, hardware) if hardware else ""
    return missing or ("" if name in available else f"needs {name}: install {provider.package}.")


_UNKNOWN = "does not say which execution provider it needs."


def _missing_device(provider: Provider, kind: str, hardware: Hardware) -> str:
    """What `provider` lacks on the machine to use a device of `kind`; "" for nothing."""
    if provider.platforms and hardware.platform not in provider.platforms:
        return f"needs {provider.name}, which does not exist for this system."
    by = f" by {' or '.join(provider.vendors)}" if provider.vendors else ""
    if kind == "CPU":
        is_fitting = not provider.vendors or not hardware.cpu.vendor or hardware.cpu.vendor in provider.vendors
        return "" if is_fitting else f"needs a CPU{by}; this one is by {hardware.cpu.vendor}."
    device = hardware.find(kind, provider.vendors)
    article = "an" if kind == "NPU" else "a"
    if device is None:
        return f"needs {article} {kind}{by}; none was found."
    return "" if device.driver else f"needs a driver for {device.name}; none was found."


def installable_providers(report: ProviderReport, hardware: Hardware) -> list[Provider]:
    """Providers that are not installed and for which the machine has a GPU or NPU with a driver."""
    failing = [note.partition(" ")[0] for note in report.notes]  # a note begins with the name it is about
    missing = [provider for provider in PROVIDERS if provider.name not in (*report.names, *failing)]
    return [p for p in missing if any(kind != "CPU" and not _missing_device(p, kind, hardware) for kind in p.devices)]


def available_providers(paths: Paths) -> tuple[str, ...]:
    """Names of the providers that load here, always with the CPU's first: from memory if the packages are the same."""
    return provider_report(paths).names


def provider_report(paths: Paths, *, refresh: bool = False) -> ProviderReport:
    """What is known from the last probe of the same packages; else (or with `refresh`) a new probe, up to a minute.

    A probe that failed is not remembered.
    """
    key = _installation()
    if not refresh and (report := _read_report(paths, key)):
        return report
    report = probe_providers()
    if not report.is_complete or not is_own(paths):
        return report  # the reason may be gone the next time
    record = {"installation": key, "providers": report.names, "notes": report.notes}
    with suppress(OSError):  # a home that cannot be written: asked again next time
        write_atomically(_record_file(paths), json.dumps(record, indent=1).encode())
    return report


def probe_providers(command: Sequence[str] = _PROBE, timeout: float = _PROBE_SECONDS) -> ProviderReport:
    """Ask the installed packages, in a process of its own. Never raises: what goes wrong is a note."""
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            command, env=environment, cwd=Path(sys.executable).anchor, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=timeout, check=False, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _failure(f"The execution providers did not answer within {timeout:g} s.")
    except OSError as error:
        return _failure(f"The execution providers cannot be asked: {error.strerror}.")
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    if done.returncode == 0 and lines and (report := _parse(lines[-1])):
        return report
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    reason = last[0][:300] if last and done.returncode > 0 else f"exit code {done.returncode}"
    return _failure(f"Asking the execution providers failed: {reason}")


def _failure(note: str) -> ProviderReport:
    return ProviderReport(notes=(note,), is_complete=False)


def _parse(text: str) -> ProviderReport | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _report(document) if isinstance(document, dict) else None


def _report(document: dict[str, Any]) -> ProviderReport | None:
    names, notes = document.get("providers"), document.get("notes")
    if not isinstance(names, list) or not isinstance(notes, list):
        return None
    known = [provider.name for provider in PROVIDERS if provider.name != CPU and provider.name in names]
    texts = tuple(note for note in notes if isinstance(note, str))
    return ProviderReport((CPU, *known), texts, is_complete=not any(note.startswith(_NO_RUNTIME) for note in texts))


def _record_file(paths: Paths) -> Path:
    return paths.run / "providers.json"


def _read_report(paths: Paths, key: list[str]) -> ProviderReport | None:
    document = _read_object(_record_file(paths))
    report = _report(document) if document.get("installation") == key else None
    return report if report and report.is_complete else None


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} when there is none."""
    try:
        if not path.is_file():  # a named pipe would wait for its writer
            return {}
        with path.open("rb") as stream:
            document = json.loads(stream.read(_LARGEST_RECORD))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


_DEVICE_FILES = ("/dev/nvidiactl", "/dev/dri", "/dev/accel", "/dev/kfd", "/dev/dxg", "/dev/fastrpc-cdsp")


def _installation() -> list[str]:
    """What a probe depends on: interpreter, packages of ONNX Runtime, library path, and device files that drivers make."""
    devices = [name for name in _DEVICE_FILES if os.path.exists(name)]
    return [sys.executable, sys.version, os.environ.get("LD_LIBRARY_PATH", ""), *devices, *sorted(_packages())]


def _packages() -> Iterator[str]:
    """What is installed under names that begin with `onnxruntime`; their metadata with the time of installation."""
    for directory in filter(None, dict.fromkeys(sys.path)):
        with suppress(OSError):  # an entry of the path that is an archive or is not there
            for name in os.listdir(directory):
                if name.startswith("onnxruntime"):
                    path = os.path.join(directory, name)
                    # The folder of the code itself changes when Python compiles it.
                    yield f"{path} {os.stat(path).st_mtime_ns if name.endswith('-info') else ''}"

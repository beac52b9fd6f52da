"""`python -m foundry_cli.engine.provider_probe`: tries which execution providers work, and prints them as one line of JSON.

A plug-in counts when its library loads, offers a device of a kind it is used for here, and opens a session on it. A
provider that is built in counts when a session made for it really uses it: the list of ONNX Runtime only says what it was
built for. ONNX Runtime GenAI has no questions to ask; it uses the same libraries.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from foundry_cli.engine.confinement import die_with_parent
from foundry_cli.engine.providers import ProviderLibrary, provider_libraries
from foundry_cli.engine.worker import claim_output
from foundry_cli.execution_providers import CPU, PROVIDERS, find_provider

_PROBE_MODEL = base64.b64decode(
    "CAgSADo7ChAKAXgSAXkiCElkZW50aXR5EgVwcm9iZVoPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0="
)
"""An ONNX graph of one Identity, opset 13."""

_ADD_ONS = {
    "CUDAExecutionProvider": ("is_cuda_available", "onnxruntime-genai-cuda"),
    "NvTensorRTRTXExecutionProvider": ("is_cuda_available", "onnxruntime-genai-cuda"),
    "DmlExecutionProvider": ("is_dml_available", "onnxruntime-genai-directml"),
}
"""Providers that need a part of ONNX Runtime GenAI: the function that tells whether it is there, and its package."""


def main() -> None:
    """Print `{"providers": [...], "notes": [...]}`; what libraries print goes to standard error."""
    die_with_parent(os.getppid())  # a driver that hangs must not outlive whoever asked
    sink = claim_output()
    names, notes = probe()
    sink.write(json.dumps({"providers": names, "notes": notes}).encode() + b"\n")
    sink.flush()


def probe() -> tuple[list[str], list[str]]:
    """Providers that work, and a sentence for each one that is installed and does not."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import
    try:
        import onnxruntime
        import onnxruntime_genai
    except ImportError as error:
        return [CPU], [f"ONNX Runtime cannot be loaded: {error}"]
    onnxruntime.set_default_logger_severity(4)  # its complaints would repeat the notes
    names, notes = [CPU], []
    for name, attempt in _installed(onnxruntime):
        fault = attempt() or _missing_add_on(onnxruntime_genai, name)
        if fault:
            notes.append(f"{name} is installed and cannot be used: {fault}")
        elif name not in names:
            names.append(name)
    return names, notes


def _installed(onnxruntime: Any) -> Iterator[tuple[str, Callable[[], str]]]:
    """Names of the providers, each with an attempt that returns what is wrong with it ("" for nothing)."""
    built_in = set(onnxruntime.get_available_providers())  # before plug-ins are added to it
    for library in provider_libraries():
        yield library.provider or library.package, partial(_try_library, onnxruntime, library)
    for provider in PROVIDERS:
        if provider.name != CPU and provider.name in built_in:
            yield provider.name, partial(_try_built_in, onnxruntime, provider.name)


def _try_library(onnxruntime: Any, library: ProviderLibrary) -> str:
    known = find_provider(library.provider)
    if library.fault or known is None:
        return library.fault or "it is not known here."
    try:
        onnxruntime.register_execution_provider_library(library.provider, library.path)
        offered = [device for device in onnxruntime.get_ep_devices() if device.ep_name == library.provider]
        devices = [device for device in offered if device.device.type.name in known.devices]
        if not devices:
            return "it finds no device that it supports."
        options = onnxruntime.SessionOptions()
        options.add_provider_for_devices(devices[:1], {})
        session = onnxruntime.InferenceSession(_PROBE_MODEL, options, enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - the bindings raise several kinds
        return _first_line(error)
    return _unless_used(session, library.provider)


def _try_built_in(onnxruntime: Any, name: str) -> str:
    try:
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN, when they were installed as Python packages
        session = onnxruntime.InferenceSession(_PROBE_MODEL, providers=[name], enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - as above
        return _first_line(error)
    return _unless_used(session, name)


def _unless_used(session: Any, name: str) -> str:
    """ONNX Runtime leaves a provider out without an error when it cannot be made."""
    return "" if name in session.get_providers() else "a library or driver that it needs cannot be loaded."


def _missing_add_on(runtime: Any, name: str) -> str:
    function, package = _ADD_ONS.get(name, ("", ""))
    if not function or getattr(runtime, function)():
        return ""
    return f"ONNX Runtime GenAI lacks its part for it; install {package}."


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)[:300]  # without places in its source


if __name__ == "__main__":
    main()

"""Whether a model would run here: memory in numbers, and which variant is offered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foundry_cli.hardware import Device, Hardware, detect_hardware
from foundry_cli.suitability import Machine, largest_that_fits, memory_need, reason_against
from foundry_cli.types import ModelInfo

_GIB = 1 << 30
_CONFIG: dict[str, Any] = {
    "model": {
        "context_length": 131072,
        "decoder": {"num_hidden_layers": 32, "num_key_value_heads": 8, "head_size": 128},
    }
}


def _machine(memory: int) -> Machine:
    hardware: Hardware = replace(detect_hardware(), memory_bytes=memory, devices=())
    return Machine(lambda: ("CPUExecutionProvider",), lambda: hardware)


def _model(name: str, size: int, **fields: object) -> ModelInfo:
    return ModelInfo(name=name, version=1, alias="phi", size_bytes=size, **fields)  # type: ignore[arg-type]


def test_memory_is_weights_and_the_default_context() -> None:
    need = memory_need(_model("phi-generic-cpu", 4 * _GIB), _CONFIG)
    assert (need.weights, need.tokens, need.context) == (4 * _GIB, 4096, 2 * 32 * 8 * 128 * 4 * 4096)


def test_a_small_context_counts_as_it_is() -> None:
    config = {"model": {**_CONFIG["model"], "context_length": 512}}
    assert memory_need(_model("phi-generic-cpu", 1), config).tokens == 512


def test_a_config_of_garbage_counts_nothing() -> None:
    for config in (
        {},
        {"model": []},
        {"model": {"decoder": {"head_size": -1}, "context_length": "long"}},
        {"model": {"decoder": 3}},
    ):
        assert memory_need(_model("phi-generic-cpu", 7), config).context == 0


def test_what_needs_more_memory_than_there_is_says_so_with_the_numbers() -> None:
    model = _model("phi-generic-cpu", 4 * _GIB)
    assert reason_against(model, _machine(8 * _GIB), _CONFIG) == ""
    reason = reason_against(model, _machine(4 * _GIB), _CONFIG)
    assert reason == (
        "phi-generic-cpu:1 needs about 5.10 GB of memory (4.00 GB of weights, 1.00 GB for 4096 tokens), "
        "and this machine has 4.00 GB."
    )


def test_a_variant_for_a_device_that_is_not_there_says_which() -> None:
    model = _model("phi-qnn-npu", 1, device="NPU", execution_provider="QNNExecutionProvider")
    assert "NPU" in reason_against(model, _machine(64 * _GIB))


def _with_gpus(*memories: int | None) -> Machine:
    gpus = tuple(Device("GPU", "NVIDIA", "A GPU", memory, driver="nvidia 580") for memory in memories)
    intel = Device("GPU", "Intel", "Another GPU", 64 * _GIB, driver="xe")
    hardware: Hardware = replace(detect_hardware(), memory_bytes=2 * _GIB, devices=(intel, *gpus))
    return Machine(lambda: ("CPUExecutionProvider", "CUDAExecutionProvider"), lambda: hardware)


def test_the_weights_of_a_model_for_the_gpu_are_compared_with_its_memory() -> None:
    model = _model("phi-cuda-gpu", 10 * _GIB, device="GPU", execution_provider="CUDAExecutionProvider")
    assert reason_against(model, _with_gpus(8 * _GIB)) == (
        "phi-cuda-gpu:1 has 10.00 GB of weights, and the GPU has 8.00 GB of memory."
    )
    assert reason_against(model, _with_gpus(8 * _GIB, 16 * _GIB)) == ""
    assert reason_against(model, _with_gpus(None)) == reason_against(model, _with_gpus(8 * _GIB, None)) == ""


def test_the_largest_variant_that_fits_is_offered() -> None:
    small, large = _model("phi-small-generic-cpu", _GIB), _model("phi-large-generic-cpu", 3 * _GIB)
    huge, npu = _model("phi-huge-generic-cpu", 99 * _GIB), _model("phi-qnn-npu", 2 * _GIB, device="NPU")
    assert largest_that_fits([small, large, huge, npu], _machine(8 * _GIB)) == large
    assert largest_that_fits([huge, npu], _machine(8 * _GIB)) is None

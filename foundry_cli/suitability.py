"""Whether a model would run on this machine: the devices and providers it needs, and its memory, in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from foundry_cli.execution_providers import CPU, available_providers, find_provider, obstacle, required_provider
from foundry_cli.hardware import Hardware, detect_hardware
from foundry_cli.paths import Paths
from foundry_cli.types import ModelInfo

DEFAULT_CONTEXT = 4096  # tokens that a chat should have room for
_WORKER_BYTES = 100 << 20  # interpreter and runtime of the process that runs the model
_FLOAT_BYTES = 4  # keys and values
_MOST = 1 << 20


class Machine:
    """What there is to run models on. Looked at when it is needed: asking for providers starts a process the first time."""

    def __init__(self, providers: Callable[[], Sequence[str]], hardware: Callable[[], Hardware] = detect_hardware) -> None:
        self._ask_providers = providers
        self._detect_hardware = hardware

    @classmethod
    def of(cls, paths: Paths) -> Machine:
        """This machine, with the providers that the installed packages offer."""
        return cls(lambda: available_providers(paths))

    @cached_property
    def providers(self) -> tuple[str, ...]:
        """Names of the execution providers."""
        return tuple(self._ask_providers())

    @cached_property
    def hardware(self) -> Hardware:
        """Processor, memory and devices."""
        return self._detect_hardware()

    def device_memory(self, model: ModelInfo) -> int | None:
        """Bytes of the largest GPU that can run `model`, which is made for one; None when one of them does not say."""
        provider = find_provider(required_provider(model, self.providers))
        vendors = provider.vendors if provider else ()
        gpus = [device for device in self.hardware.devices if device.kind == "GPU"]
        sizes = [gpu.memory_bytes for gpu in gpus if not (vendors and gpu.vendor) or gpu.vendor in vendors]
        return max((size for size in sizes if size), default=None) if all(sizes) else None

    def obstacle(self, model: ModelInfo) -> str:
        """Which device or provider that `model` needs is missing, as the end of a sentence; "" when nothing is."""
        names = (CPU,) if required_provider(model, ()) == CPU else self.providers
        return obstacle(model, names, self.hardware)


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a model takes when it is loaded and `tokens` of a conversation are kept."""

    weights: int
    context: int
    tokens: int

    @property
    def total(self) -> int:
        """All of it, with the process around it."""
        return self.weights + self.context + _WORKER_BYTES


def memory_need(model: ModelInfo, genai_config: dict[str, Any] | None = None) -> MemoryNeed:
    """What `model` takes; without its `genai_config.json` the context is not known and counts nothing."""
    section = (genai_config or {}).get("model")
    section = section if isinstance(section, dict) else {}
    decoder = section.get("decoder")
    decoder = decoder if isinstance(decoder, dict) else {}
    tokens = min(_count(section.get("context_length")) or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    sizes = [_count(decoder.get(key)) for key in ("num_hidden_layers", "num_key_value_heads", "head_size")]
    return MemoryNeed(model.size_bytes, 2 * sizes[0] * sizes[1] * sizes[2] * _FLOAT_BYTES * tokens, tokens)


def _count(value: object) -> int:
    return value if type(value) is int and 0 < value <= _MOST else 0


def reason_against(model: ModelInfo, machine: Machine, genai_config: dict[str, Any] | None = None) -> str:
    """Why `model` would not run on `machine`, in a sentence with the numbers; "" when it would."""
    if reason := machine.obstacle(model):
        return f"{model.id} {reason}"
    need = memory_need(model, genai_config)
    if model.device == "CPU" and need.total > machine.hardware.memory_bytes:
        return (
            f"{model.id} needs about {_gigabytes(need.total)} of memory ({_gigabytes(need.weights)} of weights, "
            f"{_gigabytes(need.context)} for {need.tokens} tokens), and this machine has "
            f"{_gigabytes(machine.hardware.memory_bytes)}."
        )
    memory = machine.device_memory(model) if model.device == "GPU" else None
    if memory and need.weights > memory:
        return f"{model.id} has {_gigabytes(need.weights)} of weights, and the GPU has {_gigabytes(memory)} of memory."
    return ""


def largest_that_fits(models: Iterable[ModelInfo], machine: Machine) -> ModelInfo | None:
    """Of `models`, the largest that would run here; None when none would."""
    fitting = [model for model in models if not reason_against(model, machine)]
    return max(fitting, key=lambda model: model.size_bytes, default=None)


def _gigabytes(size: int) -> str:
    return f"{size / (1 << 30):.2f} GB"

"""What the program knows about a model, independent of where the knowledge comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEVICES = ("CPU", "GPU", "NPU")
OTHER_TEMPLATES = "additional_chat_templates"
"""The folder of a model for chat templates beside the usual one, each in a file that has its name."""

OWN_SOURCE = "local"  # of models that no catalog knows
CHAT, EMBEDDINGS = "chat-completion", "embeddings"  # tasks; models of the second make vectors of texts, and write nothing


@dataclass(frozen=True)
class ModelInfo:
    """One variant of a model. `id` is `name:version`; several variants may share an alias."""

    name: str
    version: int
    alias: str
    device: str = "CPU"  # one of DEVICES
    execution_provider: str = "CPUExecutionProvider"
    display_name: str = ""
    publisher: str = ""
    task: str = CHAT
    size_bytes: int = 0
    license: str = ""
    license_description: str = ""
    prompt_template: dict[str, str] | None = None
    parent_uri: str = ""
    uri: str = ""
    provider_type: str = "Local"
    supports_tool_calling: bool = False
    tool_call_start: str = ""
    tool_call_end: str = ""
    supports_reasoning: bool = False
    context_length: int | None = None  # tokens; None when the model does not say
    max_output_tokens: int | None = None
    created: int = 0  # Unix seconds
    min_version: str | None = None  # of the original, that the model asks for
    requires_acceptance: bool = False  # the source demands that the licence is accepted
    source: str = OWN_SOURCE  # name of the catalog source
    path: Path | None = None  # directory with genai_config.json; None: not on this machine
    root: Path | None = None  # directory of everything that belongs to it; `path` or above it
    is_managed: bool = False  # its folder has a manifest: what is said here is what it was when it came
    problem: str = ""  # why its files on this machine cannot be used
    is_bundled: bool = False
    is_external: bool = False  # another server runs it, see `external_models.py`

    @property
    def id(self) -> str:
        """The full name, `name:version`; an external model has no versions."""
        return self.name if self.is_external else f"{self.name}:{self.version}"

    @property
    def makes_embeddings(self) -> bool:
        """Whether it makes vectors of texts, and cannot be talked to."""
        return self.task == EMBEDDINGS

    @property
    def is_cached(self) -> bool:
        """Whether the files are on this machine."""
        return self.path is not None


def split_model_id(text: str) -> tuple[str, int | None]:
    """`name:3` as ("name", 3); a text without a version number at its end as (text, None)."""
    name, colon, version = text.rpartition(":")
    if colon and name and version.isascii() and version.isdigit() and len(version) <= 9:
        return name, int(version)
    return text, None


_DEVICE_RANK = (("-npu:", 0), ("-cuda-gpu:", 2), ("-generic-gpu:", 3), ("-gpu:", 1), ("-generic-cpu:", 5), ("-cpu:", 4))


def variant_order(model: ModelInfo) -> tuple[int, int, int, str]:
    """Sort key of the variants of one alias: NPU, vendor GPU, CUDA, generic GPU, CPU; then newest first."""
    identity = model.id.lower()
    rank = next((rank for part, rank in _DEVICE_RANK if part in identity), 6)
    return rank, -model.version, -model.created, identity

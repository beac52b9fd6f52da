"""Model folders, facts about them, and what a directory holds, for these tests."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from foundry_cli.own_models.checking import ModelFacts

QWEN2 = Path(__file__).parents[1] / "models" / "qwen2-random"


def copy_model(directory: Path) -> Path:
    """A copy of a real, tiny model."""
    return Path(shutil.copytree(QWEN2, directory))


def facts_of(folder: Path, **changes: object) -> ModelFacts:
    """What the engine says about `copy_model`, without asking it."""
    facts: dict[str, object] = {
        "folder": folder,
        "context_length": 2048,
        "eos_token_ids": (2,),
        "control_tokens": ("<|im_end|>",),
        "chat_template": "{{ messages }}",
        "rendered": None,
        "execution_provider": "CPUExecutionProvider",
        "device": "CPU",
    }
    return ModelFacts(**{**facts, **changes})  # type: ignore[arg-type]


def digests(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below `directory`, by its path."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

"""What an answer depends on beside the request: the model and the versions of what runs it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from foundry_cli import __version__
from foundry_cli.types import ModelInfo

_PACKAGES = ("onnxruntime", "onnxruntime-genai", "llguidance")


def system_fingerprint(model: ModelInfo) -> str:
    """OpenAI's `system_fingerprint`: as long as it is the same, the same seed gives the same answer."""
    parts = (model.id, model.execution_provider, __version__, *_versions())
    return f"fp_{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


@lru_cache(1)
def _versions() -> tuple[str, ...]:
    return tuple(_version(package) for package in _PACKAGES)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # of another name, as packages for other devices are
        return ""

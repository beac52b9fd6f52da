"""Model folders for tests of the store: plain files, which nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

from foundry_cli.store.copying import digest_file
from foundry_cli.store.layout import model_root
from foundry_cli.store.manifest import Manifest, StoredFile, write_manifest
from foundry_cli.types import ModelInfo

WEIGHTS = bytes(range(256)) * 6000  # two chunks, the second one short


def write_model(folder: Path, name: str = "tiny:2", below: str = "", **more: bytes) -> dict[str, bytes]:
    """A model without manifest, as the original leaves it; returns its files by path."""
    description = json.dumps({"Name": name, "PromptTemplate": {"user": "<{Content}>"}}).encode()
    files = {
        "genai_config.json": b'{"model": {"context_length": 512}}',
        "inference_model.json": description,
        "model.onnx": WEIGHTS,
    }
    files = {f"{below}{path}": data for path, data in {**files, **more}.items()}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return files


def add_downloaded(cache: Path, model: ModelInfo, below: str = "v1/") -> Path:
    """A model with manifest in the cache, as a download leaves it; returns its root."""
    root = model_root(cache, model)
    files = write_model(root, model.id, below)
    stored = [digest_file(root / path) for path in files]
    listed = tuple(StoredFile(path, file.size, file.sha256, file.chunks) for path, file in zip(files, stored, strict=True))
    write_manifest(root, Manifest(model, listed))
    return root

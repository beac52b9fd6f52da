"""Models with a manifest, as a download leaves them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from foundry_cli.store.cache import plain_files
from foundry_cli.store.copying import digest_file
from foundry_cli.store.manifest import CHUNKS, MANIFEST, Manifest, StoredFile, write_manifest
from foundry_cli.types import ModelInfo, split_model_id

WEIGHTS = b"0123456789" * 300


def describe(model_id: str, **fields: object) -> ModelInfo:
    """What a catalog would say of a model."""
    name, version = split_model_id(model_id)
    known = {"alias": name.lower(), "publisher": "Tests", "license": "MIT", "source": "azure", **fields}
    return ModelInfo(name, version or 0, **known)  # type: ignore[arg-type]


def add_managed(cache: Path, model_id: str, **fields: object) -> Path:
    """A small model that looks like a downloaded one; its root."""
    root = cache / "Tests" / model_id.replace(":", "-")
    (root / "v1").mkdir(parents=True)
    (root / "v1" / "genai_config.json").write_text('{"model": {"context_length": 512}}')
    (root / "v1" / "inference_model.json").write_text(json.dumps({"Name": model_id}))
    (root / "v1" / "model.onnx").write_bytes(WEIGHTS)
    manage(root, describe(model_id, **fields))
    return root


def manage(root: Path, model: ModelInfo) -> None:
    """Write the manifest of all files that are below `root`."""
    paths = sorted(path for path, _ in plain_files(root) if path not in (MANIFEST, CHUNKS))
    files = [replace(digest_file(root / path), path=path) for path in paths]
    stored = tuple(StoredFile(file.path, file.size, file.sha256, file.chunks) for file in files)
    write_manifest(root, Manifest(model, stored))

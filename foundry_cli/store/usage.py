"""When each model was last loaded or unloaded: `usage.json` in the home directory, because a cache may be read-only."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from foundry_cli.paths import Paths, make_private_directory, write_atomically
from foundry_cli.store.manifest import read_object
from foundry_cli.types import ModelInfo

_LARGEST = 16 * 1024 * 1024  # bytes
_PATIENCE_SECONDS = 10.0  # the lock is held while a small file is written
_LATEST = 2e11  # Unix seconds; what is later has no date
_MOST = 10_000  # models that are remembered


def read_usage(paths: Paths) -> dict[str, float]:
    """Unix time of the last use by model id; what cannot be read is not there."""
    document = read_object(paths.usage_file, _LARGEST)
    return {model: float(when) for model, when in document.items() if isinstance(when, (int, float)) and 0 <= when < _LATEST}


def note_use(paths: Paths, model_id: str, when: float | None = None) -> None:
    """Remember that the model was used, now unless `when` says otherwise. When it fails, a date is older than it could be."""
    from filelock import FileLock  # lists of models read this file, and need no lock

    now = time.time() if when is None else when
    with contextlib.suppress(OSError):  # `Timeout` is one
        make_private_directory(paths.home)
        with FileLock(paths.usage_file.with_name(f"{paths.usage_file.name}.lock"), timeout=_PATIENCE_SECONDS):
            newest = sorted({**read_usage(paths), model_id: now}.items(), key=lambda entry: entry[1], reverse=True)[:_MOST]
            write_atomically(paths.usage_file, json.dumps(dict(newest), ensure_ascii=False).encode("utf-8", "replace"))


def last_used(model: ModelInfo, usage: dict[str, float]) -> float:
    """Unix time of the last use of a cached model, or of its arrival when it was never used."""
    return max(usage.get(model.id, 0.0), _arrival(model.root or model.path))


def _arrival(root: Path | None) -> float:
    try:
        return root.stat().st_mtime if root else 0.0
    except OSError:
        return 0.0

"""Where the files of a model lie below the cache directory: `<publisher>/<name>-<version>`, as the original has it."""

from __future__ import annotations

import re
from pathlib import Path

from foundry_cli.types import ModelInfo

_UNUSABLE = re.compile(r"[^\w.+@ -]+")
_LONGEST = 120  # characters of one level; a file system allows 255 bytes


def model_root(cache: Path, model: ModelInfo) -> Path:
    """The folder for everything of `model`; no part of it can lead out of `cache`."""
    name = f"{_plain(model.name)}-{model.version}"
    publisher = _plain(model.publisher)
    return cache / publisher / name if publisher else cache / name


def _plain(text: str) -> str:
    """`text` as the name of a folder on every system."""
    return _UNUSABLE.sub("-", text).strip(" .-")[:_LONGEST].strip(" .-")

"""Where the files of a model lie below the cache directory: `<publisher>/<name>-<version>`, as the original has it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from foundry_cli.types import ModelInfo

_UNUSABLE = re.compile(r"[^\w.+@ -]+")
_LONGEST = 120  # bytes of one level; a file system allows 255
_DIGEST_LENGTH = 8  # hexadecimal digits


def model_root(cache: Path, model: ModelInfo) -> Path:
    """The folder for everything of `model`, and of no other model; no part of it can lead out of `cache`."""
    name, publisher = _plain(model.name), _plain(model.publisher)
    if (name, publisher) != (model.name, model.publisher):  # then another model may have the same plain names
        name = f"{name}-{hashlib.sha256(model.id.encode('utf-8', 'replace')).hexdigest()[:_DIGEST_LENGTH]}"
    folder = f"{name}-{model.version}"
    return cache / publisher / folder if publisher else cache / folder


def _plain(text: str) -> str:
    """`text` as the name of a folder on every system."""
    usable = _UNUSABLE.sub("-", text).strip(" .-").encode("utf-8", "replace")
    return usable[:_LONGEST].decode("utf-8", "ignore").strip(" .-")

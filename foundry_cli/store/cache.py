"""The model cache: a directory tree in which every folder with `genai_config.json` and `inference_model.json` is a model.

The layout is the original's (`<publisher>/<name>-<version>/v<n>/…`), but only the two files count: a model is found at any
depth, whoever put it there, and its name comes from `inference_model.json`. Links are not followed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry_cli.errors import CacheError, ModelInvalidError
from foundry_cli.types import ModelInfo, split_model_id

INCOMPLETE_MARKER = "download.tmp"
_DESCRIPTIONS = ("genai_config.json", "inference_model.json")
_TRASH_PREFIX = ".foundry-trash-"
_DEEPEST = 8  # levels below the cache directory
_LARGEST_DESCRIPTION = 1024 * 1024  # bytes
_LONGEST_NAME = 256  # characters


def scan_cache(cache: Path) -> list[ModelInfo]:
    """All models below `cache`, sorted by path; a missing directory is an empty cache. Raises `CacheError`."""
    try:
        with os.scandir(cache):
            pass
    except FileNotFoundError:
        return []
    except OSError as error:
        hint = "Set another with 'foundry cache cd'."
        raise CacheError(f"The cache directory {cache} cannot be read: {error.strerror}.", hint=hint) from error
    return [_describe(cache, directory) for directory in _model_directories(cache, 0)]


def check_incomplete(cache: Path, name: str) -> None:
    """Raise `ModelInvalidError` when a folder called `name` (in lower case) lacks just one of the two files."""
    base, version = split_model_id(name)
    pattern = re.compile(re.escape(base) + (r"(-\d+)?" if version is None else f"(-{version})?"))
    for directory in (*cache.glob("*/"), *cache.glob("*/*/")):
        unusable = [file for file in _DESCRIPTIONS if not _read_object(directory / file)]
        if pattern.fullmatch(directory.name.lower()) and len(unusable) == 1:
            problem = "damaged" if (directory / unusable[0]).exists() else "missing"
            raise ModelInvalidError(
                f"The folder {directory} is not a complete model: {unusable[0]} is {problem}.",
                hint="'foundry model list' shows the models that can be used.",
                param="model",
            )


def _model_directories(directory: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:  # one unreadable folder must not hide the others
        return
    names = {entry.name for entry in entries}
    if depth and set(_DESCRIPTIONS) <= names and INCOMPLETE_MARKER not in names:
        yield directory
    elif depth < _DEEPEST:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(_TRASH_PREFIX):
                yield from _model_directories(Path(entry.path), depth + 1)


def _describe(cache: Path, directory: Path) -> ModelInfo:
    """What the files say. A damaged description still gives an entry, so that the model can be seen and removed."""
    description = _read_object(directory / "inference_model.json")
    name, version = split_model_id(_plain(description.get("Name")) or _plain(directory.name) or "unnamed")
    model = _read_object(directory / "genai_config.json").get("model")
    context = model.get("context_length") if isinstance(model, dict) else None
    template = description.get("PromptTemplate")
    device = _device(name)
    return ModelInfo(
        name=name,
        version=version or 0,
        alias=name,
        device=device,
        execution_provider="CPUExecutionProvider" if device == "CPU" else "",
        display_name=name,
        publisher=_publisher(cache, directory),
        size_bytes=directory_size(directory),
        prompt_template=_texts(template) if isinstance(template, dict) else None,
        uri=f"local://{name}",
        context_length=context if type(context) is int and context > 0 else None,
        created=int(_modified(directory)),
        path=directory,
    )


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a plain file; {} for anything else, without waiting for the writer of a named pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            document = json.loads(os.read(descriptor, _LARGEST_DESCRIPTION)) if is_file else {}
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _plain(value: object) -> str:
    """`value` as a name that can be shown and sent: no control characters, no halves of characters; "" if none is left."""
    text = value if isinstance(value, str) else ""
    return "".join(character for character in text if character.isprintable()).strip()[:_LONGEST_NAME]


def _texts(template: dict[str, Any]) -> dict[str, str]:
    texts = {key: value for key, value in template.items() if isinstance(value, str)}
    return {key: value.encode("utf-8", "replace").decode() for key, value in texts.items()}


def _device(name: str) -> str:
    return next((device.upper() for device in ("npu", "gpu") if f"-{device}" in name.lower()), "CPU")


def _publisher(cache: Path, directory: Path) -> str:
    levels = directory.relative_to(cache).parts
    return _plain(levels[0]) if len(levels) > 1 else ""


def _modified(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except OSError:
        return 0.0


def directory_size(directory: Path) -> int:
    """Bytes of all files below `directory`; links count nothing."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                status = os.lstat(os.path.join(root, name))
            except OSError:  # removed meanwhile
                continue
            total += status.st_size
    return total


def check_writable(directory: Path) -> None:
    """Create `directory` if it is missing and prove that files can be made in it. Raises `CacheError`."""
    probe = directory / f".foundry-probe-{uuid.uuid4().hex}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CacheError(f"The directory {directory} cannot be used as cache: {error.strerror}.") from error


@dataclass(frozen=True)
class RemovalPlan:
    """What removing a model will delete: one folder, and its parents below the cache if they become empty."""

    model: ModelInfo
    directory: Path
    size_bytes: int


def plan_removal(model: ModelInfo, cache: Path) -> RemovalPlan:
    """The plan for a cached model. Raises `CacheError` when its folder is not inside `cache`."""
    directory = model.path
    if directory is None or cache not in directory.parents:
        raise CacheError(f"The files of {model.id} are not in the cache directory {cache}.")
    return RemovalPlan(model, directory, directory_size(directory))


def remove(plan: RemovalPlan, cache: Path) -> None:
    """Carry out `plan`: the model is gone at once by a rename, then its bytes are deleted. Raises `CacheError`."""
    trash = cache / f"{_TRASH_PREFIX}{uuid.uuid4().hex}"
    try:
        os.rename(plan.directory, trash)
    except OSError as error:
        raise CacheError(f"{plan.directory} cannot be removed: {error.strerror}.") from error
    for parent in plan.directory.parents:
        if parent == cache or not _remove_if_empty(parent):
            break
    shutil.rmtree(trash, ignore_errors=True)  # what stays is swept at the next start


def sweep_trash(cache: Path) -> None:
    """Delete what an interrupted removal left."""
    try:
        left = [entry.path for entry in os.scandir(cache) if entry.name.startswith(_TRASH_PREFIX)]
    except OSError:
        return
    for path in left:
        shutil.rmtree(path, ignore_errors=True)  # refuses links


def _remove_if_empty(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True

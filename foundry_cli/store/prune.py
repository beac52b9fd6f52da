"""What can be deleted from a cache to get room: first a plan, then its execution. Files of others are never part of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.errors import CacheError, InvalidRequestError
from foundry_cli.store.cache import PROBE_PREFIX, TRASH_PREFIX, UNFINISHED, CacheScan, directory_size, scan
from foundry_cli.store.journal import JOURNAL
from foundry_cli.store.manifest import MANIFEST, read_manifest
from foundry_cli.store.ownership import all_paths, own_size
from foundry_cli.store.removal import finish_removal, is_downloading, plan_removal, remove, trash_folders
from foundry_cli.store.usage import last_used
from foundry_cli.types import ModelInfo, split_model_id

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_DAY = 86400.0  # seconds
_QUIET = 3600.0  # seconds without a change, after which a download of the original counts as given up


@dataclass(frozen=True)
class PruneItem:
    """One thing to delete and the reason. `model` is None for remains of interrupted work."""

    path: Path
    size_bytes: int
    reason: str
    model: ModelInfo | None = None
    is_complete: bool = False  # a model that could be used


@dataclass(frozen=True)
class PruneChoice:
    """What to look for, beside remains of interrupted work."""

    partials: bool = True
    older_than: float | None = None  # days without use; None: no model goes because of its age
    max_size: int | None = None  # bytes that complete models may take together; None: as many as they like


def parse_size(text: str) -> int:
    """`10GB`, `500M`, `1.5 TiB` in bytes. Raises `InvalidRequestError`."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InvalidRequestError(f"{text!r} is not a size.", hint="Write a number and a unit, such as 20GB.", param="max-size")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def plan_prune(
    cache: Path, choice: PruneChoice, usage: dict[str, float], now: float, kept: Collection[str] = ()
) -> list[PruneItem]:
    """What `choice` lets go. `kept`: ids of models that stay, being loaded. Raises `CacheError`."""
    found = scan(cache)
    items = _remains(cache, found)
    if choice.partials:
        items += [
            _partial_item(partial.id, partial.root, cache) for partial in found.partials if _is_abandoned(partial.root, now)
        ]
    models = sorted((model for model in found.models if not model.problem), key=lambda model: last_used(model, usage))
    free = [model for model in models if model.id not in kept]
    old = _old(free, choice, usage, now)
    items += [_model_item(model, f"not used for {(now - last_used(model, usage)) / _DAY:.0f} days", cache) for model in old]
    surplus = _surplus(models, [model for model in free if model not in old], old, choice)
    return items + [_model_item(model, "least recently used", cache) for model in surplus]


def execute(item: PruneItem, cache: Path) -> None:
    """Delete one thing of a plan. Raises `ModelInUseError`, `CacheError`."""
    try:
        if item.model is not None:
            remove(plan_removal(item.model, cache), cache)
        elif item.path.name.startswith(TRASH_PREFIX):
            with contextlib.suppress(FileNotFoundError):  # another process is quicker
                shutil.rmtree(item.path)
        elif item.path.is_dir():
            finish_removal(item.path)
        else:
            item.path.unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(f"{item.path} cannot be removed: {error.strerror}.") from error


def _old(free: Sequence[ModelInfo], choice: PruneChoice, usage: dict[str, float], now: float) -> list[ModelInfo]:
    if choice.older_than is None:
        return []
    return [model for model in free if now - last_used(model, usage) > choice.older_than * _DAY]


def _surplus(
    models: Iterable[ModelInfo], candidates: Iterable[ModelInfo], old: Sequence[ModelInfo], choice: PruneChoice
) -> list[ModelInfo]:
    """The least recently used of `candidates`, until the rest of `models` is small enough."""
    if choice.max_size is None:
        return []
    size = sum(model.size_bytes for model in models) - sum(model.size_bytes for model in old)
    surplus = []
    for model in candidates:
        if size <= choice.max_size:
            break
        surplus.append(model)
        size -= model.size_bytes
    return surplus


def _is_abandoned(root: Path, now: float) -> bool:
    """Whether a download can go: nobody works on it, and it is not the repair of a model, nearly all of which is good."""
    if (root / MANIFEST).exists() or is_downloading(root):
        return False
    return (root / JOURNAL).exists() or now - _last_change(root) > _QUIET


def _last_change(root: Path) -> float:
    """Unix time of the last change of anything in a folder."""
    times = [root.lstat().st_mtime]
    for path in all_paths(root):
        with contextlib.suppress(FileNotFoundError):
            times.append((root / path).lstat().st_mtime)
    return max(times)


def _model_item(model: ModelInfo, reason: str, cache: Path) -> PruneItem:
    plan = plan_removal(model, cache)
    return PruneItem(plan.directory, plan.size_bytes, reason, model, is_complete=True)


def _partial_item(model_id: str, root: Path, cache: Path) -> PruneItem:
    name, version = split_model_id(model_id)
    plan = plan_removal(ModelInfo(name, version or 0, name, root=root), cache)
    return PruneItem(root, plan.size_bytes, "download that was not finished", plan.model)


def _remains(cache: Path, found: CacheScan) -> list[PruneItem]:
    """What interrupted work left: removals, journals and parts of files of models that are complete."""
    items = [PruneItem(path, directory_size(path), "removal that was interrupted") for path in trash_folders(cache)]
    items += [PruneItem(path, own_size(path), "removal that was interrupted") for path in found.removed]
    paths = [path for model in found.models if model.root for path in _orphans(model.root)]
    with contextlib.suppress(OSError), os.scandir(cache) as listing:
        paths += [Path(entry.path) for entry in listing if entry.name.startswith(PROBE_PREFIX)]
    return items + [PruneItem(path, path.lstat().st_size, "remains of interrupted work") for path in paths]


def _orphans(root: Path) -> list[Path]:
    manifest = read_manifest(root)
    listed = {file.path for file in manifest.files} if manifest else set()
    unfinished = [path + ending for path in sorted(listed) for ending in UNFINISHED]
    paths = [root / path for path in unfinished if path not in listed]
    return [path for path in (*paths, root / JOURNAL) if path.is_file() and not path.is_symlink()]

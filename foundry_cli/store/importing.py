"""Taking models into the cache from a mirror's directory, another cache (the original's, too), or the folder of one model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from foundry_cli.errors import (
    CacheError,
    DiskFullError,
    DownloadCancelledError,
    FoundryError,
    ModelInvalidError,
    ModelNotFoundError,
    SourceError,
)
from foundry_cli.mirror_index import INDEX, LARGEST_INDEX, read_index
from foundry_cli.paths import Paths
from foundry_cli.store.cache import INCOMPLETE_MARKER, describe, is_described, scan_cache
from foundry_cli.store.copying import Report, shifted, translated
from foundry_cli.store.layout import model_root
from foundry_cli.store.manifest import read_manifest
from foundry_cli.store.model_folder import (
    CONFIG,
    DESCRIPTION,
    ModelFolder,
    check_apart,
    check_room_for,
    copy_folder,
    read_folder,
)
from foundry_cli.store.verdicts import store_verdict
from foundry_cli.types import ModelInfo


@dataclass(frozen=True)
class ImportResult:
    """What became of the models of the source: `skipped` are in the cache already, `failed` has ids with the reasons."""

    imported: tuple[ModelInfo, ...]
    skipped: tuple[ModelInfo, ...]
    failed: tuple[tuple[str, FoundryError], ...]


def import_models(
    source: Path,
    cache: Path,
    report: Report | None = None,
    cancelled: threading.Event | None = None,
    paths: Paths | None = None,
    waiting: Callable[[str], None] = lambda _: None,
) -> ImportResult:
    """Copy the models of `source` into `cache`; SHA-256 is compared where it is known, and stored in any case.

    One that cannot be used does not stop the others. Verdicts on earlier models with the same ids, kept below `paths` (those
    of this user unless given), are forgotten. `waiting` gets the id of a model again and again that another process works on.
    Raises `ModelNotFoundError` when there is no model, `ModelInvalidError` when `source` is a download, `CacheError` when
    `source` and `cache` are not apart, `DiskFullError`, `DownloadCancelledError`.
    """
    check_apart(source, cache)
    present = {model.id.lower() for model in scan_cache(cache) if model.is_cached}
    wanted: dict[str, ModelFolder] = {}
    skipped: list[ModelInfo] = []
    failed: list[tuple[str, FoundryError]] = []
    for found in _find(source):
        if isinstance(found, ModelFolder):
            if found.model.id.lower() in present:
                skipped.append(found.model)
            else:
                wanted.setdefault(found.model.id.lower(), found)
        else:
            failed.append(found)
    folders = list(wanted.values())
    for folder in folders:
        store_verdict(paths or Paths.from_environment(), folder.model.id, None)
    imported = _take(folders, cache, report, cancelled, failed, waiting)
    if not (imported or skipped or failed):
        hint = f"A model has {CONFIG} and {DESCRIPTION}; 'foundry model add' takes a folder without the latter."
        raise ModelNotFoundError(f"There is no model in {source}.", hint=hint)
    return ImportResult(tuple(imported), tuple(skipped), tuple(failed))


def _take(
    folders: list[ModelFolder],
    cache: Path,
    report: Report | None,
    cancelled: threading.Event | None,
    failed: list[tuple[str, FoundryError]],
    waiting: Callable[[str], None],
) -> list[ModelInfo]:
    """Copy each of `folders`; those that cannot be copied are added to `failed`."""
    with translated(f"{cache} cannot be written"):
        cache.mkdir(parents=True, exist_ok=True)
    places = [(folder, model_root(Path(), folder.model).as_posix()) for folder in folders]
    check_room_for(places, cache)
    total, done, imported = sum(folder.size_bytes for folder in folders), 0, []
    for folder, place in places:
        try:
            part, wait = shifted(report, done, total), partial(waiting, folder.model.id)
            copy_folder(folder, cache, place, cancelled=cancelled, report=part, waiting=wait)
        except (DiskFullError, DownloadCancelledError):
            raise
        except FoundryError as error:
            failed.append((folder.model.id, error))
        else:
            imported.append(folder.model)
        done += folder.size_bytes
    return imported


def _find(source: Path) -> Iterator[ModelFolder | tuple[str, FoundryError]]:
    """Every model in `source`; those that are not complete with the reason. Raises `CacheError`, `ModelInvalidError`."""
    if not source.is_dir():
        raise CacheError(f"{source} is not a directory.")
    if (source / INCOMPLETE_MARKER).exists():
        raise ModelInvalidError(f"{source} is a download that is not complete.", hint="Complete it where it is.")
    listed = _read_mirror(source)
    if listed is not None:
        yield from listed
        return
    model = _read_single(source)
    for each in [model] if model else scan_cache(source):
        try:
            yield read_folder(each)
        except (ModelInvalidError, CacheError) as error:
            yield each.id, error


def _read_mirror(source: Path) -> list[ModelFolder] | None:
    """The models of a mirror's directory; None when it is none."""
    try:
        with (source / INDEX).open("rb") as stream:
            content = stream.read(LARGEST_INDEX)
    except OSError:
        return None
    try:
        entries = read_index(content)
    except SourceError:  # an index.json of something else
        return None
    return [ModelFolder(entry.model, source / entry.path, entry.files) for entry in entries]


def _read_single(folder: Path) -> ModelInfo | None:
    """The model that `folder` itself is; None when it is none. A scan looks only at what is below a directory."""
    manifest = read_manifest(folder)
    if manifest:
        return replace(manifest.model, root=folder, path=folder)
    return describe(folder.parent, folder) if is_described(folder) else None

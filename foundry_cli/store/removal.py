"""Removing models and downloads: gone from every list by one rename, then the bytes are deleted.

Files that are not the model's stay where they are. They can be told where a manifest says what the model's are; a folder
without one belongs to its model as a whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.errors import CacheError, DownloadCancelledError, ModelInUseError
from foundry_cli.store.cache import (
    CHUNK_BITMAP,
    DESCRIPTIONS,
    INCOMPLETE_MARKER,
    REMOVED,
    TRASH_PREFIX,
    is_real_folder,
    plain_files,
    scan,
)
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.journal import JOURNAL, JournalReader
from foundry_cli.store.manifest import CHUNKS, MANIFEST, read_object
from foundry_cli.store.plain_file import is_plain
from foundry_cli.types import ModelInfo

PARTIAL = ".partial"
_LARGEST = 64 * 1024 * 1024  # bytes of a manifest
_OWN = {MANIFEST, CHUNKS, DESCRIPTIONS[1], ".download.lock", ".download.progress"}
_LAST = (INCOMPLETE_MARKER, JOURNAL, REMOVED)  # in this order: as long as files are there, it is known whose they are
_OWN_TEMPORARY = re.compile(r"\.(foundry\.[a-z.]+|inference_model\.json)\.\d+\.tmp")


@dataclass(frozen=True)
class RemovalPlan:
    """What removing a model will delete: its files in one folder, and folders that become empty."""

    model: ModelInfo
    directory: Path
    size_bytes: int
    foreign: tuple[str, ...] = ()  # files below `directory` that are not the model's and stay


def plan_removal(model: ModelInfo, cache: Path) -> RemovalPlan:
    """The plan for a model or a download in `cache`. Raises `CacheError` when its folder is not inside."""
    directory = model.root or model.path
    if directory is None or cache not in directory.parents:
        raise CacheError(f"The files of {model.id} are not in the cache directory {cache}.")
    return RemovalPlan(model, directory, own_size(directory), tuple(sorted(foreign_files(directory))))


def remove(plan: RemovalPlan, cache: Path) -> None:
    """Carry out `plan`. Raises `ModelInUseError` while the model is being downloaded, and `CacheError`."""
    directory = plan.directory
    with no_download(plan.model.id, directory):
        try:
            if foreign_files(directory):
                _begin_removal(directory)
                finish_removal(directory)
                trash = None
            else:
                trash = cache / f"{TRASH_PREFIX}{uuid.uuid4().hex}"
                os.rename(directory, trash)
        except OSError as error:
            raise CacheError(f"{directory} cannot be removed: {error.strerror}.") from error
        _remove_empty((directory, *directory.parents), cache)
        if trash is not None:
            shutil.rmtree(trash, ignore_errors=True)  # what stays is swept at the next start


def sweep_trash(cache: Path) -> None:
    """Delete what interrupted removals left."""
    for path in trash_folders(cache):
        shutil.rmtree(path, ignore_errors=True)  # refuses links
    with contextlib.suppress(CacheError):  # whoever lists models is told
        for directory in scan(cache).removed:
            with contextlib.suppress(OSError):
                finish_removal(directory)
                _remove_empty((directory, *directory.parents), cache)


def trash_folders(cache: Path) -> list[Path]:
    """Folders that removals have renamed and not deleted."""
    try:
        with os.scandir(cache) as listing:
            names = sorted(entry.name for entry in listing if entry.name.startswith(TRASH_PREFIX))
    except OSError:
        return []
    return [cache / name for name in names]


def foreign_files(root: Path) -> frozenset[str]:
    """Everything below `root` that is not the model's, as paths with `/`; nothing when that cannot be told."""
    own = _model_files(root)
    return frozenset(path for path in all_paths(root) if path not in own and not _is_own(path)) if own else frozenset()


def own_size(root: Path) -> int:
    """Bytes of all files below `root` that a removal would delete."""
    foreign = foreign_files(root)
    return sum(status.st_size for path, status in plain_files(root) if path not in foreign)


def is_downloading(root: Path) -> bool:
    """Whether a process is downloading into `root` now. Raises `CacheError` when its lock cannot be used."""
    try:
        with no_download(root.name, root):
            return False
    except ModelInUseError:
        return True


def _model_files(root: Path) -> set[str]:
    """The files that the model consists of, and their parts in transfer; empty when they are not known."""
    files = (read_object(root / MANIFEST, _LARGEST) or read_object(root / REMOVED, _LARGEST)).get("files")
    listed = {str(entry.get("path")) for entry in files if isinstance(entry, dict)} if isinstance(files, list) else set()
    journal = JournalReader(root)
    journal.poll()
    listed.update(journal.files)
    return {path + ending for path in listed for ending in ("", PARTIAL)}


def _is_own(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in _OWN or name in _LAST or name.endswith(CHUNK_BITMAP) or bool(_OWN_TEMPORARY.fullmatch(name))


def all_paths(root: Path) -> Iterator[str]:
    """Every file, link, pipe and so on below `root`; links are not followed."""
    for place, folders, names in os.walk(root):
        prefix = os.path.relpath(place, root).replace(os.sep, "/")
        for name in names + [folder for folder in folders if os.path.islink(os.path.join(place, folder))]:
            yield name if prefix == "." else f"{prefix}/{name}"


def _begin_removal(root: Path) -> None:
    """From here on the folder is no model: its manifest has another name, until all of its files are gone."""
    with contextlib.suppress(FileNotFoundError):  # a download, which is no model anyway
        os.replace(root / MANIFEST, root / REMOVED)


def finish_removal(root: Path) -> None:
    """Delete the files of a model whose removal has begun. Raises `OSError`."""
    if (root / MANIFEST).exists():  # it was downloaded again meanwhile
        (root / REMOVED).unlink(missing_ok=True)
        return
    own = _model_files(root)
    doomed = [path for path in all_paths(root) if path in own or _is_own(path)]
    doomed.sort(key=lambda path: _LAST.index(path) if path in _LAST else -1)
    for path in doomed:
        if is_real_folder(root, path.rpartition("/")[0]):
            (root / path).unlink(missing_ok=True)
    for place, _, _ in os.walk(root, topdown=False):
        remove_if_empty(Path(place))


@contextlib.contextmanager
def no_download(model_id: str, root: Path) -> Iterator[None]:
    """Keep downloads out of `root` meanwhile. Raises `ModelInUseError` when there is one."""
    if not is_plain(root / INCOMPLETE_MARKER):
        yield  # there is none that could be held
        return
    lock, is_busy = DownloadLock(root), threading.Event()
    try:
        is_held = lock.acquire(is_busy, lambda _: is_busy.set())
    except DownloadCancelledError:
        is_held = False
    if not is_held:
        raise ModelInUseError(
            f"The model {model_id} is being downloaded.", hint="Stop the download first, or wait for its end."
        )
    if sys.platform == "win32":
        lock.release()  # a folder with an open file cannot be renamed there
    try:
        yield
    finally:
        lock.release()


def _remove_empty(directories: Iterable[Path], cache: Path) -> None:
    """Delete directories up to `cache` as long as they are empty."""
    for directory in directories:
        if directory == cache or not remove_if_empty(directory):
            return


def remove_if_empty(directory: Path) -> bool:
    """Whether `directory` is gone now."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True

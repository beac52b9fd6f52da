"""Removing models and downloads: gone from every list by one rename, then the bytes are deleted.

Files that are not the model's stay where they are, see `ownership.py`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.errors import CacheError, DownloadCancelledError, ModelInUseError
from foundry_cli.paths import SHARED, write_atomically
from foundry_cli.store.cache import INCOMPLETE_MARKER, REMOVED, TRASH_PREFIX, is_real_folder, scan
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.journal import JOURNAL
from foundry_cli.store.manifest import MANIFEST
from foundry_cli.store.ownership import (
    LOCK_OF_ORIGINAL,
    REMAINS_OF_ORIGINAL,
    foreign_files,
    has_list,
    own_files,
    own_size,
)
from foundry_cli.store.plain_file import NotPlainError, is_plain, open_plain
from foundry_cli.types import ModelInfo

_LAST = (INCOMPLETE_MARKER, JOURNAL, REMOVED)  # in this order: as long as files are there, it is known whose they are


@dataclass(frozen=True)
class RemovalPlan:
    """What removing a model will delete: its files in one folder, and folders that become empty."""

    model: ModelInfo
    directory: Path
    size_bytes: int
    foreign: tuple[str, ...] = ()  # files below `directory` that are not the model's and stay
    is_whole: bool = False  # the folder goes with all that is in it, because that was copied


def plan_removal(model: ModelInfo, cache: Path) -> RemovalPlan:
    """The plan for a model or a download in `cache`. Raises `CacheError` when its folder is not inside."""
    directory = model.root or model.path
    if directory is None or cache not in directory.parents:
        raise CacheError(f"The files of {model.id} are not in the cache directory {cache}.")
    return RemovalPlan(model, directory, own_size(directory), tuple(sorted(foreign_files(directory))))


Rename = Callable[[Path, Path], object]


def remove(plan: RemovalPlan, cache: Path, rename: Rename = os.rename) -> None:
    """Carry out `plan`. Raises `ModelInUseError` while the model is being downloaded, and `CacheError`."""
    directory, trash = plan.directory, cache / f"{TRASH_PREFIX}{uuid.uuid4().hex}"
    with no_download(plan.model.id, directory):
        try:
            is_alone = plan.is_whole or not foreign_files(directory)
            if not (is_alone and _is_renamed(directory, trash, rename)):
                _begin_removal(directory)
                finish_removal(directory)
                if plan.is_whole and directory.exists():
                    shutil.rmtree(directory)
        except OSError as error:
            raise CacheError(f"{directory} cannot be removed: {error.strerror}.") from error
        _remove_empty((directory, *directory.parents), cache)
        shutil.rmtree(trash, ignore_errors=True)  # what stays is swept at the next start


def _is_renamed(directory: Path, trash: Path, rename: Rename) -> bool:
    """Whether that was possible: folders of the lower layer of an overlay, such as a container's image, only look writable."""
    try:
        rename(directory, trash)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


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


def is_downloading(root: Path) -> bool:
    """Whether a process is downloading into `root` now, or may be: the lock of another user cannot be looked at."""
    try:
        with no_download(root.name, root):
            return False
    except (ModelInUseError, CacheError):
        return True


def _begin_removal(root: Path) -> None:
    """From here on the folder is no model: what lists its files has another name, until all of them are gone."""
    if is_plain(root / INCOMPLETE_MARKER) and not is_plain(root / MANIFEST):
        return  # a download is no model anyway
    if is_plain(root / MANIFEST) and has_list(root):
        os.replace(root / MANIFEST, root / REMOVED)
    else:
        files = [{"path": path} for path in sorted(own_files(root))]
        write_atomically(root / REMOVED, json.dumps({"files": files}).encode(), SHARED)
        (root / MANIFEST).unlink(missing_ok=True)


def finish_removal(root: Path) -> None:
    """Delete the files of a model whose removal has begun. Raises `OSError`."""
    if (root / MANIFEST).exists():  # it was downloaded again meanwhile
        (root / REMOVED).unlink(missing_ok=True)
        return
    for path in sorted(own_files(root), key=lambda path: _LAST.index(path) if path in _LAST else -1):
        if is_real_folder(root, path.rpartition("/")[0]):
            (root / path).unlink(missing_ok=True)
    for place, _, _ in os.walk(root, topdown=False):
        remove_if_empty(Path(place))


@contextlib.contextmanager
def no_download(model_id: str, root: Path) -> Iterator[None]:
    """Keep downloads out of `root` meanwhile. Raises `ModelInUseError` when there is one, of the original, too."""
    if any(_is_held(place / LOCK_OF_ORIGINAL) for place in (root, root.parent)):
        raise _in_use(model_id)
    if not is_plain(root / INCOMPLETE_MARKER):
        yield  # there is none that could be held
        return
    lock, is_busy = DownloadLock(root), threading.Event()
    try:
        is_held = lock.acquire(is_busy, lambda _: is_busy.set())
    except DownloadCancelledError:
        is_held = False
    if not is_held:
        raise _in_use(model_id)
    if sys.platform == "win32":
        lock.release()  # a folder with an open file cannot be renamed there
    try:
        yield
    finally:
        lock.release()


def _in_use(model_id: str) -> ModelInUseError:
    return ModelInUseError(f"The model {model_id} is being downloaded.", hint="Stop the download first, or wait for its end.")


def _is_held(lock: Path) -> bool:
    """Whether another process has locked the original's file; one that is not there is not made."""
    if sys.platform == "win32":
        return False  # there its holder keeps it from being deleted
    import fcntl

    try:
        descriptor = open_plain(lock, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError, NotPlainError):
        return False
    except OSError:
        return True  # it is not known, so nothing is deleted
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_empty(directories: Iterable[Path], cache: Path) -> None:
    """Delete directories up to `cache` as long as they hold nothing but locks of the original."""
    for directory in directories:
        if directory == cache:
            return
        with contextlib.suppress(OSError):  # it is gone already
            names = os.listdir(directory)
            for name in names if REMAINS_OF_ORIGINAL.issuperset(names) else ():
                (directory / name).unlink()
        if not remove_if_empty(directory):
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

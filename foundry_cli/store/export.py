"""Writing a mirror from cached models: a directory that other machines can fetch from, and that can be used as a cache, too."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from foundry_cli.errors import CacheError, IntegrityError, SourceError
from foundry_cli.mirror_index import INDEX, LARGEST_INDEX, MirrorModel, read_index, write_index
from foundry_cli.paths import SHARED, write_atomically
from foundry_cli.remote import RemoteFile
from foundry_cli.store.copying import Report, digest_file, shifted, translated
from foundry_cli.store.layout import model_root
from foundry_cli.store.manifest import CHUNKS, MANIFEST, Manifest
from foundry_cli.store.model_folder import DESCRIPTION, check_apart, check_room_for, copy_folder, read_folder
from foundry_cli.types import ModelInfo

_READABLE_FILE, _READABLE_DIRECTORY = 0o644, 0o755  # a web server is another user
_LOCK_MODE = 0o664  # several users may write one mirror


@dataclass(frozen=True)
class ExportResult:
    """What was exported now, and how many models the mirror has with it."""

    models: tuple[ModelInfo, ...]
    size_bytes: int
    models_in_mirror: int


def export(
    models: Sequence[ModelInfo],
    destination: Path,
    cache: Path,
    report: Report | None = None,
    cancelled: threading.Event | None = None,
) -> ExportResult:
    """Copy `models` to `destination`, or bring it up to date, and list them in its `index.json`; others in it stay.

    Every byte is checked. When it ends early, the models that are complete are listed. Raises `CacheError` (also for a
    directory inside the cache or one with another `index.json`), `ModelInvalidError`, `IntegrityError`, `DiskFullError`,
    `DownloadCancelledError`.
    """
    check_apart(destination, cache)
    with translated(f"{destination} cannot be written"):
        if not destination.exists():
            destination.mkdir(parents=True)
            destination.chmod(_READABLE_DIRECTORY)
    _read_mirror(destination)
    folders = [(read_folder(model), _place(model)) for model in models]
    check_room_for(folders, destination)
    total, done, listed = sum(folder.size_bytes for folder, _ in folders), 0, []
    try:
        for folder, place in folders:
            manifest = copy_folder(folder, destination, place, cancelled=cancelled, report=shifted(report, done, total))
            listed.append(_list(destination, place, manifest))
            done += folder.size_bytes
    except IntegrityError as error:
        raise IntegrityError(error.message, hint="Run 'foundry cache verify' and 'foundry cache repair'.") from error
    finally:
        count = _add_to_index(destination, listed)
    return ExportResult(tuple(entry.model for entry in listed), done, count)


def _place(model: ModelInfo) -> str:
    """Where the model lies in a mirror: as in a cache."""
    return model_root(Path(), model).as_posix()


def _list(destination: Path, place: str, manifest: Manifest) -> MirrorModel:
    """The entry for a model that is complete, after everything about it was made readable for others."""
    root = destination / place
    with translated(f"{root} cannot be made readable"):
        for path in (*(file.path for file in manifest.files), MANIFEST, CHUNKS):
            _let_others_read(root / path, _READABLE_FILE)
            for folder in PurePosixPath(place, path).parents[:-1]:
                _let_others_read(destination / folder, _READABLE_DIRECTORY)
    files = tuple(
        RemoteFile(file.path, file.size, file.sha256)
        for file in manifest.files
        if PurePosixPath(file.path).name != DESCRIPTION  # whoever fetches the model writes it
    )
    chunks = digest_file(root / CHUNKS)
    return MirrorModel(manifest.model, place, files, RemoteFile(CHUNKS, chunks.size, chunks.sha256))


def _let_others_read(path: Path, mode: int) -> None:
    """Give the rights of `mode` that are missing; no others are taken away. Raises `OSError`."""
    now = stat.S_IMODE(os.stat(path).st_mode)
    if now & mode != mode:
        os.chmod(path, now | mode)


def _add_to_index(destination: Path, listed: Sequence[MirrorModel]) -> int:
    """Replace or add the entries, atomically and one export at a time; returns how many there are now."""
    index = _read_mirror(destination)
    if listed:
        new, lock = (destination / f".{INDEX}.{ending}" for ending in ("new", "lock"))
        with translated(f"{destination / INDEX} cannot be written"), FileLock(lock, mode=_LOCK_MODE):
            index = write_index(listed, _read_mirror(destination))
            write_atomically(new, index, SHARED)
            _let_others_read(new, _READABLE_FILE)
            os.replace(new, destination / INDEX)
    return len(read_index(index)) if index else 0


def _read_mirror(destination: Path) -> bytes:
    """The `index.json` that the directory has already, empty if none. Raises `CacheError` when it is of something else."""
    try:
        with (destination / INDEX).open("rb") as stream:
            content = stream.read(LARGEST_INDEX)
        read_index(content)
        return content
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise CacheError(f"{destination / INDEX} cannot be read: {error.strerror}.") from error
    except SourceError as error:
        raise CacheError(
            f"{destination} holds an {INDEX} of something else.", hint="Choose another directory, or move that file away."
        ) from error

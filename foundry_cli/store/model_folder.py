"""A model as a folder that can be given to somebody else: its files with what is known of them, and a copy of the whole."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from foundry_cli.errors import CacheError, ModelInvalidError
from foundry_cli.paths import SHARED, write_atomically
from foundry_cli.remote import RemoteFile
from foundry_cli.store.cache import CHUNK_BITMAP, INCOMPLETE_MARKER, UNFINISHED
from foundry_cli.store.copying import Report, check_room, copied_bytes, copy_model, translated
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.manifest import MANIFEST, Manifest, StoredFile, first_problem, read_manifest, write_manifest
from foundry_cli.store.plain_file import make_parents
from foundry_cli.types import ModelInfo

CONFIG, DESCRIPTION = "genai_config.json", "inference_model.json"
_OURS = ("foundry.", "download.")  # beginnings of the names of files that are about a model
_UNFINISHED = (*UNFINISHED, CHUNK_BITMAP)  # ends of the names of files that are not complete


@dataclass(frozen=True)
class ModelFolder:
    """A complete model. `files` without SHA-256 are those of a model that came without."""

    model: ModelInfo
    root: Path
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def read_folder(model: ModelInfo) -> ModelFolder:
    """The folder of a model on this machine. Raises `CacheError`, and `ModelInvalidError` for links and what is missing."""
    root = model.root or model.path
    if root is None or model.problem:
        reason = model.problem or "it is not on this machine"
        raise ModelInvalidError(f"{model.id} is not complete: {reason}.", hint=f"Run 'foundry model download {model.id}'.")
    manifest = read_manifest(root)
    if manifest is None:
        with translated(f"{root} cannot be read"):
            return ModelFolder(model, root, tuple(_plain_files(root, "")))
    if problem := first_problem(root, manifest):
        raise ModelInvalidError(f"{model.id} is not complete: {problem}.", hint=f"Run 'foundry cache repair {model.id}'.")
    files = tuple(RemoteFile(file.path, file.size, file.sha256) for file in manifest.files)
    return ModelFolder(manifest.model, root, files)


def copy_folder(
    folder: ModelFolder,
    base: Path,
    relative: str,
    *,
    cancelled: threading.Event | None = None,
    report: Report | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Manifest:
    """Make `base/relative` a complete copy of `folder`, with a manifest; while it is not complete it is no model.

    `waiting` is called again and again while another process works on it.
    What is there already of an earlier attempt, or of the same model, is kept or replaced; a folder with anything else,
    another model too, is refused. Raises `IntegrityError`, `DiskFullError`, `CacheError`, `ModelInvalidError`,
    `DownloadCancelledError`.
    """
    if not any(PurePosixPath(file.path).name == CONFIG for file in folder.files):
        raise ModelInvalidError(f"{folder.model.id} has no {CONFIG}, so it cannot be run.")
    root = base / relative
    with translated(f"{root} cannot be written"):
        _check_ours(root, folder.model)
        make_parents(base, f"{relative}/{MANIFEST}")
        lock = DownloadLock(root)
        while not lock.acquire(cancelled or threading.Event(), lambda _: waiting()):
            pass  # another one has just completed it; its files are kept when they are the same
        try:
            files = copy_model(folder.files, folder.root, root, cancelled=cancelled, report=report)
            manifest = Manifest(folder.model, (*files, *write_descriptions(root, folder.model, files)))
            write_manifest(root, manifest)
            lock.complete()
        finally:
            lock.release()
    return manifest


def check_room_for(folders: Iterable[tuple[ModelFolder, str]], base: Path) -> None:
    """Raise `DiskFullError` when copies of all folders, each with its place below `base`, have no room there."""
    needed, sample = 0, None
    for folder, relative in folders:
        missing = [file for file in folder.files if not _has_size(base / relative / file.path, file.size)]
        needed += sum(file.size - copied_bytes(base / relative / file.path, file.size) for file in missing)
        sample = sample or next((folder.root / file.path for file in missing), None)
    check_room(needed, base, sample)


def check_apart(directory: Path, cache: Path) -> None:
    """Raise `CacheError` when one of the directories is inside the other."""
    one, other = directory.resolve(), cache.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise CacheError(f"{directory} and the cache {cache} are not apart.", hint="Choose a directory outside of the cache.")


def write_descriptions(root: Path, model: ModelInfo, files: Iterable[StoredFile]) -> list[StoredFile]:
    """Write `inference_model.json` beside each `genai_config.json` that has none: it gives the folder its name.

    Returns what was written. Raises `OSError`.
    """
    document = {"Name": model.id, "PromptTemplate": model.prompt_template}
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")
    digest = hashlib.sha256(data).hexdigest()
    present = {file.path for file in files}
    folders = [PurePosixPath(path).parent for path in sorted(present) if PurePosixPath(path).name == CONFIG]
    missing = [path for path in (str(folder / DESCRIPTION) for folder in folders) if path not in present]
    for path in missing:
        write_atomically(root / path, data, SHARED)
    return [StoredFile(path, len(data), digest, (digest,)) for path in missing]


def check_same_model(root: Path, model: ModelInfo) -> None:
    """Raise `CacheError` when `root` holds another model than `model`: its files are not to be replaced."""
    manifest = read_manifest(root)
    if manifest and manifest.model.id.lower() != model.id.lower():
        raise CacheError(
            f"{root}, the folder for {model.id}, holds the model {manifest.model.id}.",
            hint="Move that folder away, or to another place below the same directory.",
        )


def is_model_file(name: str) -> bool:
    """Whether a file with this name in the folder of a model may be the model's: it is not about it, nor unfinished."""
    return not name.startswith((".", *_OURS)) and not name.endswith(_UNFINISHED)


def _check_ours(root: Path, model: ModelInfo) -> None:
    """Raise `CacheError` when `root` is there and holds something else than `model`."""
    check_same_model(root, model)
    if not root.is_dir() or (root / MANIFEST).exists() or (root / INCOMPLETE_MARKER).exists():
        return
    if any(root.iterdir()):
        raise CacheError(f"{root} holds files of somebody else.", hint="Move them away, or choose another directory.")


def _plain_files(root: Path, below: str) -> Iterator[RemoteFile]:
    """All files of a model without manifest, except for those that are about it. Raises `ModelInvalidError` for links."""
    with os.scandir(root / below) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if not is_model_file(entry.name):
            continue
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield from _plain_files(root, path)
        elif stat.S_ISREG(status.st_mode):
            yield RemoteFile(path, status.st_size)
        else:
            raise ModelInvalidError(f"{root / path} is a link or not a plain file; such a model is not copied.")


def _has_size(path: Path, size: int) -> bool:
    try:
        return os.lstat(path).st_size == size
    except OSError:
        return False

"""A model folder becomes a model of the cache: found, named, copied, described. The folder itself is never changed."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.embedding_config import POOLING
from foundry_cli.errors import CacheError, InvalidRequestError, ModelInvalidError, SourceError
from foundry_cli.own_models.checking import ModelFacts
from foundry_cli.own_models.identity import Identity, check_unused, is_damaged, make_identity, name_of_folder
from foundry_cli.own_models.licence import read_licence
from foundry_cli.own_models.unfinished import discard, empty
from foundry_cli.remote import RemoteFile
from foundry_cli.store.cache import INCOMPLETE_MARKER, check_writable
from foundry_cli.store.copying import Report, check_room, copy_model, translated
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.layout import model_root
from foundry_cli.store.manifest import MANIFEST, Manifest, check_paths, read_object, write_manifest
from foundry_cli.store.model_folder import CONFIG, DESCRIPTION, is_model_file, write_descriptions
from foundry_cli.store.removal import plan_removal, remove
from foundry_cli.types import CHAT, EMBEDDINGS, OTHER_TEMPLATES, ModelInfo

PUBLISHER = "Local"
_LARGEST_DESCRIPTION = 1 << 20  # bytes
_KEPT_FOLDERS = {OTHER_TEMPLATES: ".jinja", POOLING: "config.json"}
"""Sub-folders of which files are used, and the ends of their names."""

_DEEPEST = 3  # levels below the folder given
_MOST_CANDIDATES = 10  # that a message names


@dataclass(frozen=True)
class Addition:
    """What adding a folder will do."""

    folder: Path  # with genai_config.json
    identity: Identity
    files: tuple[RemoteFile, ...]
    prompt_template: dict[str, str] | None
    cache: Path
    left_out: tuple[str, ...] = ()  # sub-folders
    damaged: tuple[ModelInfo, ...] = ()  # copies of the model in the cache that cannot be used; they go

    @property
    def size_bytes(self) -> int:
        """Bytes that are copied."""
        return sum(file.size for file in self.files)


def find_model_folder(directory: Path) -> Path:
    """`directory` or the one folder below it with genai_config.json. Raises `ModelInvalidError`, `InvalidRequestError`."""
    directory = Path(os.path.abspath(directory))
    if not os.path.isdir(directory):
        raise InvalidRequestError(f"There is no directory {directory}.", param="directory")
    if os.path.isfile(directory / CONFIG):
        return directory
    found = sorted(_folders_below(directory, 1))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(folder.relative_to(directory)) for folder in found[:_MOST_CANDIDATES])
        raise InvalidRequestError(f"There are {len(found)} models below {directory}.", hint=f"Name one of: {names}.")
    raise ModelInvalidError(
        f"There is no {CONFIG} in {directory}, so it is no model for ONNX Runtime GenAI.", hint=_hint(directory)
    )


def _folders_below(directory: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(directory) as listing:
            folders = [Path(entry.path) for entry in listing if entry.is_dir(follow_symlinks=False)]
    except OSError:  # what cannot be read holds no model that could be added
        return
    for folder in folders:
        if folder.name.startswith("."):
            continue
        if os.path.isfile(folder / CONFIG):  # unlike `Path.is_file` also False where nobody may look
            yield folder
        elif depth < _DEEPEST:
            yield from _folders_below(folder, depth + 1)


def _hint(directory: Path) -> str | None:
    if any(directory.glob("*.safetensors")):
        return f"It looks like a checkpoint: 'foundry model convert {directory} --output DIRECTORY' makes a model of it."
    return None


def plan_addition(
    folder: Path, cache: Path, known: Iterable[ModelInfo], *, name: str | None = None, alias: str | None = None
) -> Addition:
    """What adding `folder` to `cache` will do.

    Raises `InvalidRequestError` for names and places, `ModelInvalidError`.
    """
    known = list(known)
    _check_finished(folder)
    if cache.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise InvalidRequestError(
            f"{folder} is in the cache already.",
            hint="'foundry model list --cached' shows the models there.",
            param="directory",
        )
    description = read_object(folder / DESCRIPTION, _LARGEST_DESCRIPTION)
    identity = make_identity(name, alias, _old_name(description) or name_of_folder(folder))
    check_unused(identity, known)
    template = description.get("PromptTemplate")
    texts = {key: text for key, text in template.items() if isinstance(text, str)} if isinstance(template, dict) else None
    files, left_out = _contents(folder)
    damaged = tuple(model for model in known if model.id.lower() == identity.id.lower() and is_damaged(model))
    return Addition(folder, identity, files, texts, cache, left_out, damaged)


def _check_finished(folder: Path) -> None:
    """Raise `ModelInvalidError` when `folder`, or the one above it as in a cache, is a download that is not complete."""
    for place in (folder, folder.parent):
        if os.path.lexists(place / INCOMPLETE_MARKER):
            raise ModelInvalidError(
                f"{place} is a download that is not complete.", hint="Complete it where it is, then add it."
            )


def _old_name(description: dict[str, object]) -> str | None:
    name = description.get("Name")
    return name if isinstance(name, str) and name else None


def _contents(folder: Path) -> tuple[tuple[RemoteFile, ...], tuple[str, ...]]:
    """The plain files in `folder` and of `_KEPT_FOLDERS`, and the names of other sub-folders, in which no file is looked for.

    Raises `ModelInvalidError` for links and the like, and for names that not every system can have.
    """
    kept = [entry for entry in _entries(folder) if is_model_file(entry.name) and entry.name != DESCRIPTION]
    folders = [entry.name for entry in kept if entry.is_dir()]
    files = {entry.name: entry for entry in kept if entry.name not in folders}
    for name, ending in _KEPT_FOLDERS.items():
        if name in folders:
            kept = [entry for entry in _entries(folder / name) if entry.name.endswith(ending)]
            files |= {f"{name}/{entry.name}": entry for entry in kept}
            folders.remove(name)
    try:
        check_paths(files)
    except SourceError as error:
        raise ModelInvalidError(error.message, hint=f"Rename it in {folder}, or move it away.") from error
    for entry in files.values():
        if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            raise ModelInvalidError(
                f"{entry.path} is a link or not a plain file.", hint=f"Add a copy of the folder: cp -rL {folder} DIRECTORY."
            )
    return tuple(RemoteFile(path, entry.stat().st_size) for path, entry in files.items()), tuple(folders)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise ModelInvalidError(f"The directory {folder} cannot be read: {error.strerror}.") from error


def add(addition: Addition, facts: ModelFacts, report: Report | None = None) -> ModelInfo:
    """Copy the files and make them a model of the cache, instead of damaged copies of it, which are deleted first.

    What it made is gone when it fails or is interrupted. Raises `CacheError`, `DiskFullError`, `IntegrityError`, and
    `InvalidRequestError` when another process was first.
    """
    model = _describe(addition, facts)
    root = model_root(addition.cache, model)
    check_writable(addition.cache)
    check_room(addition.size_bytes, addition.cache, addition.folder / CONFIG)
    for damaged in addition.damaged:
        remove(plan_removal(damaged, addition.cache), addition.cache)
    if root.exists() and not (root / INCOMPLETE_MARKER).exists() and any(root.iterdir()):
        raise CacheError(f"The folder {root} exists already.", hint="Move it away, or give another --name.")
    lock = DownloadLock(root)
    is_held = lock.acquire(threading.Event(), lambda _: None)
    if not is_held or (root / MANIFEST).exists():
        if is_held:
            lock.complete()
        raise InvalidRequestError(f"Another process has just added {model.id}.", param="name")
    try:
        empty(root)  # what an addition left that was killed
        _fill(root, addition, model, report)
        lock.complete()
    except BaseException:
        discard(root, lock)
        with contextlib.suppress(OSError):  # the error above is the one to tell
            root.parent.rmdir()
        raise
    finally:
        lock.release()
    return model


def _fill(root: Path, addition: Addition, model: ModelInfo, report: Report | None) -> None:
    stored = copy_model(addition.files, addition.folder, root, report=report)
    with translated(f"{root} cannot be written"):
        write_manifest(root, Manifest(model, (*stored, *write_descriptions(root, model, stored))))


def _describe(addition: Addition, facts: ModelFacts) -> ModelInfo:
    template = "" if facts.makes_embeddings else facts.chat_template or ""  # as of the model that it was made of
    licence, text = read_licence(addition.folder)
    identity = addition.identity
    return ModelInfo(
        name=identity.name,
        version=identity.version,
        alias=identity.alias,
        device=facts.device,
        execution_provider=facts.execution_provider,
        display_name=identity.name,
        publisher=PUBLISHER,
        size_bytes=addition.size_bytes,
        license=licence,
        license_description=text,
        task=EMBEDDINGS if facts.makes_embeddings else CHAT,
        prompt_template=addition.prompt_template,
        uri=f"local://{identity.name}",
        provider_type="Local",
        supports_tool_calling=re.search(r"\btools\b", template) is not None,
        tool_call_start="<tool_call>" if "<tool_call>" in template else "",
        tool_call_end="</tool_call>" if "</tool_call>" in template else "",
        supports_reasoning="<think>" in template,
        context_length=facts.context_length,
        created=int((addition.folder / CONFIG).stat().st_mtime),
        source="local",
    )

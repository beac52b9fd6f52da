"""The model cache: a directory tree in which every folder with a manifest, or with the original's two files, is a model.

The layout is the original's (`<publisher>/<name>-<version>/v<n>/…`), but only files count: a model is found at any depth,
whoever put it there. With `foundry.manifest.json` the model is what that says; else it is the folder with
`genai_config.json` and `inference_model.json`, and its name comes from the latter. Below the folder of a download there is
no model; a marker of the original makes a folder that only if it looks like a model's. Links are not followed.
"""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foundry_cli.embedding_config import is_embedding_config
from foundry_cli.errors import CacheError, ModelInvalidError
from foundry_cli.store.journal import JOURNAL, JournalReader
from foundry_cli.store.manifest import (
    MANIFEST,
    Manifest,
    first_problem,
    manifest_problem,
    read_manifest,
    read_object,
    read_plain,
)
from foundry_cli.types import CHAT, EMBEDDINGS, ModelInfo, split_model_id

INCOMPLETE_MARKER = "download.tmp"
UNFINISHED = (".partial", ".copying")
"""Endings of the names of files that are being fetched, or copied: what has been fetched is not lost to a copy that fails."""

CHUNK_BITMAP = ".dlstate"  # ending; the original's record of a file in transfer
REMOVED = "foundry.manifest.removed"
"""The manifest of a model whose deletion has begun: its folder is no model any more, and holds files of others."""

TRASH_PREFIX = ".foundry-trash-"
PROBE_PREFIX = ".foundry-probe-"
DESCRIPTIONS = ("genai_config.json", "inference_model.json")
_MODEL_FILE = re.compile(
    r".+\.(onnx.*|ort|jinja|spm)|model\.data|(tokenizer|vocab|merges|special_tokens|added_tokens|spiece|sentencepiece).*"
    r"|(genai_|generation_|preprocessor_|processor_)?config\.json|(vision_|audio_|speech_|pre)?processor(_config)?\.json"
    r"|chat_template\.\w+|inference_model\.json",
    re.IGNORECASE | re.DOTALL,
)
_VERSION_FOLDER = re.compile(r"v\d+", re.IGNORECASE)
_MODEL_FOLDER = re.compile(r".+-\d{1,9}", re.DOTALL)
_DEEPEST = 8  # levels below the cache directory
_LARGEST_DESCRIPTION = 1024 * 1024  # bytes
_LONGEST_NAME = 256  # characters


@dataclass(frozen=True)
class PartialModel:
    """A download that is not complete; its id is told from the name of its folder."""

    id: str
    root: Path
    done_bytes: int
    total_bytes: int | None = None  # None: not known


@dataclass(frozen=True)
class CacheScan:
    """What a cache directory holds, sorted by path."""

    models: tuple[ModelInfo, ...] = ()  # those with a `problem` are damaged
    partials: tuple[PartialModel, ...] = ()
    removed: tuple[Path, ...] = ()  # folders with `REMOVED`
    problems: tuple[str, ...] = ()  # sentences about folders that cannot be read


def scan(cache: Path) -> CacheScan:
    """Everything below `cache`; a missing directory is an empty cache. Raises `CacheError` when it cannot be read."""
    if not is_readable(cache):
        return CacheScan()
    scanner = _Scanner(cache)
    scanner.visit(str(cache), 0)
    return CacheScan(tuple(scanner.models), tuple(scanner.partials), tuple(scanner.removed), tuple(scanner.problems))


def is_readable(cache: Path) -> bool:
    """Whether there is a cache directory. Raises `CacheError` when it cannot be read."""
    try:
        with os.scandir(cache):
            return True
    except FileNotFoundError:
        return False
    except OSError as error:
        hint = "Set another with 'foundry cache cd'."
        raise CacheError(f"The cache directory {cache} cannot be read: {error.strerror}.", hint=hint) from error


def scan_cache(cache: Path) -> list[ModelInfo]:
    """The models below `cache`, damaged ones included. Raises `CacheError`."""
    return list(scan(cache).models)


class _Scanner:
    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self.models: list[ModelInfo] = []
        self.partials: list[PartialModel] = []
        self.removed: list[Path] = []
        self.problems: list[str] = []

    def visit(self, directory: str, depth: int) -> None:
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:  # one unreadable folder must not hide the others
            self.problems.append(f"The folder {_plain(directory, 1000)} cannot be read: {error.strerror}.")
            return
        self.problems += [_about_link(entry.path) for entry in entries if entry.is_symlink() and _leads_to_model(entry.path)]
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        below = [path for path in below if not os.path.basename(path).startswith(TRASH_PREFIX)]
        if depth:
            below = self._take(Path(directory), {entry.name for entry in entries}, below)
        if depth < _DEEPEST:
            for path in below:
                self.visit(path, depth + 1)

    def _take(self, root: Path, names: set[str], below: list[str]) -> list[str]:
        """Note what the folder is; those `below` it that are not a part of that."""
        if _is_partial(root, names):
            self.partials.append(_describe_partial(root))
            others = () if names & {MANIFEST, JOURNAL} else other_models(root, ())
            return [str(root / other) for other in sorted(others)]
        if MANIFEST in names:
            self.models.append(_describe_managed(root))
            return []
        if REMOVED in names:
            self.removed.append(root)
            return []
        if names.issuperset(DESCRIPTIONS):
            self.models.append(describe(self._cache, root))
        return below


def _leads_to_model(link: str) -> bool:
    return os.path.isfile(os.path.join(link, DESCRIPTIONS[0]))


def _about_link(link: str) -> str:
    return f"{_plain(link, 1000)} is a link, which is not followed; 'foundry model add' copies the model that it leads to."


def is_known_name(name: str) -> bool:
    """Whether files of models are called so; what else is in a folder that nobody has described is somebody else's."""
    ending = next((ending for ending in UNFINISHED if name.endswith(ending)), "")
    return bool(_MODEL_FILE.fullmatch(name.removesuffix(ending)))


def _is_partial(root: Path, names: set[str]) -> bool:
    """Whether a download ended here, or goes on: the original leaves no more than markers, which others use, too."""
    if INCOMPLETE_MARKER not in names:
        return MANIFEST not in names and _has_bitmap(root, names)
    if names & {MANIFEST, JOURNAL} or _MODEL_FOLDER.fullmatch(_named_folder(root).name):
        return True
    return any(is_known_name(name) or _VERSION_FOLDER.fullmatch(name) for name in names)


def _has_bitmap(root: Path, names: set[str]) -> bool:
    """Whether there is the original's record of a file of a model in transfer."""
    files = {name.removesuffix(CHUNK_BITMAP) for name in names if name.endswith(CHUNK_BITMAP)}
    if any(map(is_known_name, files)):
        return True
    named = _named_folder(root)
    return bool(_MODEL_FOLDER.fullmatch(named.name) and files and (named != root or files & names))


def other_models(root: Path, listed: Collection[str]) -> frozenset[str]:
    """Folders below `root` that are models of their own, relative with `/`; `listed`: what is known to be the root's."""
    is_own_name = _own_names(root)
    found = []
    for place, folders, names in os.walk(root):
        below = os.path.relpath(place, root).replace(os.sep, "/")
        if below == "." or f"{below}/{DESCRIPTIONS[0]}" in listed:
            continue
        if MANIFEST in names or (set(names).issuperset(DESCRIPTIONS) and not is_own_name(Path(place))):
            found.append(below)
            folders.clear()
    return frozenset(found)


def _own_names(root: Path) -> Callable[[Path], bool]:
    """What tells whether a folder below `root` with the two files is a part of the model in `root`."""
    if all(os.path.lexists(root / name) for name in DESCRIPTIONS) and not os.path.lexists(root / MANIFEST):
        return lambda _: False  # it is the model itself
    own = _letters(_named_folder(root).name)

    def is_own(folder: Path) -> bool:
        name = _plain(read_object(folder / DESCRIPTIONS[1], _LARGEST_DESCRIPTION).get("Name"))
        # Behind the name comes the version, and before that a digest when the name is no good for a folder, see `layout.py`.
        return not name or bool(re.fullmatch(re.escape(_letters(split_model_id(name)[0])) + r"([0-9a-f]{8})?\d*", own))

    return is_own


def _letters(name: str) -> str:
    return re.sub(r"\W+", "", name).lower()


def _named_folder(root: Path) -> Path:
    """The folder whose name is the model's: of `name-4/v4` the upper one."""
    is_version = _VERSION_FOLDER.fullmatch(root.name) and _MODEL_FOLDER.fullmatch(root.parent.name)
    return root.parent if is_version else root


def _describe_partial(root: Path) -> PartialModel:
    journal = JournalReader(root)
    journal.poll()
    if journal.files:
        total = sum(record.size for record in journal.files.values())
        return PartialModel(folder_id(root), root, journal.done_bytes(), total)
    done = sum(min(status.st_size, getattr(status, "st_blocks", status.st_size) * 512) for _, status in plain_files(root))
    return PartialModel(folder_id(root), root, done)


def _describe_managed(root: Path) -> ModelInfo:
    """A model with a manifest: nothing is looked at but whether its files have their sizes, and whether it makes embeddings."""
    manifest = read_manifest(root)
    if manifest is None:
        name, version = split_model_id(folder_id(root))
        return ModelInfo(name, version or 0, name, root=root, problem=manifest_problem(root))
    problem = _find_problem(root, manifest)
    path = None if problem else root / _config_folder(manifest)
    size = manifest.size_bytes
    config = read_object(path / DESCRIPTIONS[0], _LARGEST_DESCRIPTION) if path else None
    task = EMBEDDINGS if is_embedding_config(config) else manifest.model.task  # not every source knows it
    return replace(manifest.model, path=path, root=root, size_bytes=size, is_managed=True, problem=problem, task=task)


def _find_problem(root: Path, manifest: Manifest) -> str:
    folders = {file.path.rpartition("/")[0] for file in manifest.files} - {""}
    for folder in folders:
        if not is_real_folder(root, folder):
            return f"{folder} is not a folder"
    if not any(file.path.rpartition("/")[2] == DESCRIPTIONS[0] for file in manifest.files):
        return f"{DESCRIPTIONS[0]} is missing"
    return first_problem(root, manifest)


def _config_folder(manifest: Manifest) -> str:
    """Where `genai_config.json` is; of several the one nearest to the root."""
    configs = [file.path for file in manifest.files if file.path.rpartition("/")[2] == DESCRIPTIONS[0]]
    return min(configs, key=lambda path: (path.count("/"), path)).rpartition("/")[0]


def is_real_folder(root: Path, folder: str) -> bool:
    """Whether `folder`, a relative path with `/`, is a folder below `root` without a link on the way."""
    place = str(root)
    for part in folder.split("/") if folder else ():
        place = os.path.join(place, part)
        try:
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                return False
        except OSError:
            return False
    return True


def folder_id(root: Path) -> str:
    """The model id that the name of a folder says: `name-4` is `name:4`, and so is `name-4/v4`."""
    name = _plain(_named_folder(root).name) or "unnamed"
    found = re.fullmatch(r"(.+)-(\d{1,9})", name)
    return f"{found[1]}:{int(found[2])}" if found else f"{name}:0"


def check_incomplete(cache: Path, name: str) -> None:
    """Raise `ModelInvalidError` when a folder called `name` (in lower case) lacks just one of the two files."""
    base, version = split_model_id(name)
    pattern = re.compile(re.escape(base) + (r"(-\d+)?" if version is None else f"(-{version})?"))
    for directory in (*cache.glob("*/"), *cache.glob("*/*/")):
        if not pattern.fullmatch(directory.name.lower()):
            continue
        unusable = [file for file in DESCRIPTIONS if not read_object(directory / file, _LARGEST_DESCRIPTION)]
        if len(unusable) == 1:
            problem = "damaged" if (directory / unusable[0]).exists() else "missing"
            raise ModelInvalidError(
                f"The folder {directory} is not a complete model: {unusable[0]} is {problem}.",
                hint="'foundry model list' shows the models that can be used.",
                param="model",
            )


def is_described(directory: Path) -> bool:
    """Whether `directory` has both of the files by which a model is found, and they can be read."""
    return all(read_object(directory / file, _LARGEST_DESCRIPTION) for file in DESCRIPTIONS)


def describe(cache: Path, directory: Path) -> ModelInfo:
    """What the files say. A damaged description still gives an entry, so that the model can be seen and removed."""
    description = read_object(directory / "inference_model.json", _LARGEST_DESCRIPTION)
    name, version = split_model_id(_plain(description.get("Name")) or _plain(directory.name) or "unnamed")
    config = read_object(directory / "genai_config.json", _LARGEST_DESCRIPTION)
    model = config.get("model")
    context = model.get("context_length") if isinstance(model, dict) else None
    template = description.get("PromptTemplate")
    device, provider = _made_for(name, config)
    others = other_models(directory, ())
    return ModelInfo(
        name=name,
        version=version or 0,
        alias=name,
        device=device,
        execution_provider=provider,
        display_name=name,
        publisher=_publisher(cache, directory),
        task=EMBEDDINGS if is_embedding_config(config) else CHAT,
        size_bytes=sum(status.st_size for path, status in plain_files(directory) if not is_inside(path, others)),
        prompt_template=_texts(template) if isinstance(template, dict) else None,
        uri=f"local://{name}",
        supports_tool_calling=_writes_tools(directory),
        context_length=context if type(context) is int and context > 0 else None,
        created=int(_modified(directory)),
        path=directory,
        root=directory,
    )


def _writes_tools(directory: Path) -> bool:
    """Whether the chat template speaks of tools."""
    template = read_plain(directory / "chat_template.jinja", _LARGEST_DESCRIPTION)
    return b"tools" in (template or read_plain(directory / "tokenizer_config.json", _LARGEST_DESCRIPTION))


def _plain(value: object, longest: int = _LONGEST_NAME) -> str:
    """`value` as a name that can be shown and sent: no control characters, no halves of characters; "" if none is left."""
    text = value if isinstance(value, str) else ""
    return "".join(character for character in text if character.isprintable()).strip()[:longest]


def _texts(template: dict[str, Any]) -> dict[str, str]:
    texts = {key: value for key, value in template.items() if isinstance(value, str)}
    return {key: value.encode("utf-8", "replace").decode() for key, value in texts.items()}


def _made_for(name: str, config: dict[str, Any]) -> tuple[str, str]:
    """Device and execution provider: what the configuration says, else the end of the name, which leaves the provider open."""
    from foundry_cli.execution_providers import CPU, configured_provider  # not for models with a manifest

    provider, device = configured_provider(config)
    if provider == CPU and name.lower().endswith(("-npu", "-gpu")):
        return name[-3:].upper(), ""
    return device, provider


def _publisher(cache: Path, directory: Path) -> str:
    levels = directory.relative_to(cache).parts
    return _plain(levels[0]) if len(levels) > 1 else ""


def _modified(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except OSError:
        return 0.0


def plain_files(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below `directory` that is no link, device or pipe, by its path with `/` relative to `directory`."""
    for root, _, names in os.walk(directory):
        prefix = os.path.relpath(root, directory).replace(os.sep, "/")
        for name in names:
            try:
                status = os.lstat(os.path.join(root, name))
            except OSError:  # removed meanwhile
                continue
            if stat.S_ISREG(status.st_mode):
                yield name if prefix == "." else f"{prefix}/{name}", status


def is_inside(path: str, folders: Collection[str]) -> bool:
    """Whether a relative path leads into one of `folders`, which are relative, too."""
    return any(path.startswith(f"{folder}/") for folder in folders)


def directory_size(directory: Path) -> int:
    """Bytes of all files below `directory`; links count nothing."""
    return sum(status.st_size for _, status in plain_files(directory))


def check_writable(directory: Path) -> None:
    """Create `directory` if it is missing and prove that files can be made in it. Raises `CacheError`."""
    probe = directory / f"{PROBE_PREFIX}{uuid.uuid4().hex}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CacheError(f"The directory {directory} cannot be used as cache: {reason}.") from error

"""Whose a file in the folder of a model is: what the program did not create is not touched.

A manifest or a journal lists the files of its model. Without one, as the original leaves its models, known names tell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from foundry_cli.store.cache import (
    CHUNK_BITMAP,
    DESCRIPTIONS,
    INCOMPLETE_MARKER,
    REMOVED,
    UNFINISHED,
    is_inside,
    is_known_name,
    other_models,
    plain_files,
)
from foundry_cli.store.journal import JOURNAL, NEW_JOURNAL, JournalReader
from foundry_cli.store.manifest import CHUNKS, MANIFEST, read_object

LOCK_OF_ORIGINAL = ".download.lock"
REMAINS_OF_ORIGINAL = frozenset({LOCK_OF_ORIGINAL, ".download.progress"})
_LARGEST = 64 * 1024 * 1024  # bytes of a manifest
_OWN = {MANIFEST, CHUNKS, DESCRIPTIONS[1], INCOMPLETE_MARKER, JOURNAL, NEW_JOURNAL, REMOVED, *REMAINS_OF_ORIGINAL}
_OWN_TEMPORARY = re.compile(r"\.(foundry\.[a-z.]+|inference_model\.json)\.\d+\.tmp")


def own_files(root: Path) -> frozenset[str]:
    """Everything below `root` that is the model's, as paths with `/`."""
    listed = _listed_files(root)
    others = other_models(root, listed)
    return frozenset(path for path in all_paths(root) if _is_own(path, listed) and not is_inside(path, others))


def foreign_files(root: Path) -> frozenset[str]:
    """Everything below `root` that is not the model's, as paths with `/`."""
    return frozenset(all_paths(root)) - own_files(root)


def own_size(root: Path) -> int:
    """Bytes of all files below `root` that are the model's."""
    own = own_files(root)
    return sum(status.st_size for path, status in plain_files(root) if path in own)


def all_paths(root: Path) -> Iterator[str]:
    """Every file, link, pipe and so on below `root`; links are not followed."""
    for place, folders, names in os.walk(root):
        prefix = os.path.relpath(place, root).replace(os.sep, "/")
        for name in names + [folder for folder in folders if os.path.islink(os.path.join(place, folder))]:
            yield name if prefix == "." else f"{prefix}/{name}"


def has_list(root: Path) -> bool:
    """Whether it is written down which files are the model's."""
    return bool(_listed_files(root))


def _listed_files(root: Path) -> frozenset[str]:
    """The files that the model consists of, and their parts in transfer; empty when they are not known."""
    files = (read_object(root / MANIFEST, _LARGEST) or read_object(root / REMOVED, _LARGEST)).get("files")
    listed = {str(entry.get("path")) for entry in files if isinstance(entry, dict)} if isinstance(files, list) else set()
    journal = JournalReader(root)
    journal.poll()
    listed.update(journal.files)
    return frozenset(path + ending for path in listed for ending in ("", *UNFINISHED))


def _is_own(path: str, listed: frozenset[str]) -> bool:
    name = _name(path)
    if path in listed or name in _OWN or _OWN_TEMPORARY.fullmatch(name):
        return True
    if name.endswith(CHUNK_BITMAP):
        return not listed or path.removesuffix(CHUNK_BITMAP) in listed or is_known_name(name.removesuffix(CHUNK_BITMAP))
    return not listed and is_known_name(name)


def _name(path: str) -> str:
    return path.rpartition("/")[2]

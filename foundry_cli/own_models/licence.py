"""Under which licence a folder of somebody's model is, as far as its own files say."""

from __future__ import annotations

import re
from pathlib import Path

_LARGEST = 64 * 1024  # characters that are kept
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)
_HEADINGS = (("MIT License", "MIT"), ("Apache License", "apache-2.0"), ("BSD 3-Clause", "bsd-3-clause"))


def read_licence(folder: Path) -> tuple[str, str]:
    """Its short name, and its text; "" for what is not said. The card of a model (README.md) names it by `license:`."""
    text = next((text for name in _FILES if (text := _read(folder / name))), "")
    card = _FRONT_MATTER.match(_read(folder / "README.md"))
    field = _FIELD.search(card[1]) if card else None
    named = field[1] if field else next((name for heading, name in _HEADINGS if heading in text[:500]), "")
    return named, text


def licence_files(folder: Path) -> list[Path]:
    """The files of `folder` that `read_licence` reads."""
    return [path for name in (*_FILES, "README.md") if _is_own(path := folder / name)]


def _is_own(path: Path) -> bool:
    """Whether it is a file of the folder: a link could lead to anything, but in Hugging Face's cache every file is one."""
    return path.is_file() and (not path.is_symlink() or path.resolve().parent == path.parents[2] / "blobs")


def _read(path: Path) -> str:
    if not _is_own(path):
        return ""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(_LARGEST)
    except OSError:  # a licence that cannot be read is one that is not told
        return ""

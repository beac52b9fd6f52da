"""The space that conversations on disk may take, for all models together; what is in them, `conversation_store.py` knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".kv"
PARTIAL = ".partial"


def trim(root: Path, budget: int) -> list[Path]:
    """Remove what was used longest ago below `root`, until the rest has at most `budget` bytes; what was removed."""
    files = sorted(_files(root), key=lambda item: item[1])
    total = sum(size for _, _, size in files)
    removed = []
    for path, _, size in files:
        if total <= budget:
            break
        path.unlink(missing_ok=True)
        removed.append(path)
        total -= size
    return removed


def _files(root: Path) -> Iterator[tuple[Path, float, int]]:
    """Path, time of the last use and bytes."""
    for path in root.rglob("*.*"):
        if path.suffix in (SUFFIX, PARTIAL):
            try:
                status = path.lstat()
            except OSError:
                continue
            yield path, status.st_mtime, status.st_size

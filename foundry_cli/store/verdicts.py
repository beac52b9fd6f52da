"""What `foundry model test` found, by model id: one file for all models, because a cache may be read-only or shared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from foundry_cli.errors import CacheError
from foundry_cli.paths import Paths, make_private_directory, write_atomically
from foundry_cli.store.manifest import read_object

PASSED, FAILED = "passed", "failed"
UNDECIDED = "undecided"  # nothing failed, and what matters most was not shown
_LARGEST = 16 << 20  # bytes
_PATIENCE_SECONDS = 10.0  # the lock is held while a small file is written


@dataclass(frozen=True)
class Verdict:
    """The result of the last test of a model."""

    verdict: str  # PASSED, FAILED or UNDECIDED
    date: str  # ISO 8601, UTC
    failed: tuple[str, ...] = ()  # names of the checks


def read_verdicts(paths: Paths) -> dict[str, Verdict]:
    """All verdicts, by the id of the model in lower case; what cannot be read is not there."""
    entries = ((model_id, _verdict(entry)) for model_id, entry in read_object(paths.verdicts_file, _LARGEST).items())
    return {model_id: verdict for model_id, verdict in entries if verdict}


def store_verdict(paths: Paths, model_id: str, verdict: Verdict | None) -> None:
    """Replace the verdict of a model; None: forget it. Raises `CacheError` when it cannot be stored."""
    from filelock import FileLock, Timeout  # lists of models read verdicts, and need no lock

    if verdict is None and model_id.lower() not in read_object(paths.verdicts_file, _LARGEST):
        return
    try:
        make_private_directory(paths.home)
        with FileLock(paths.verdicts_file.with_name(f"{paths.verdicts_file.name}.lock"), timeout=_PATIENCE_SECONDS):
            _replace(paths, model_id.lower(), verdict)
    except Timeout as error:
        raise CacheError(f"The verdict cannot be stored in {paths.verdicts_file}: another process holds its lock.") from error
    except OSError as error:
        raise CacheError(f"The verdict cannot be stored in {paths.verdicts_file}: {error.strerror}.") from error


def _replace(paths: Paths, key: str, verdict: Verdict | None) -> None:
    """Write the file with another entry for `key`. Raises `OSError`."""
    document: dict[str, Any] = dict(read_object(paths.verdicts_file, _LARGEST))
    document.pop(key, None)
    if verdict is not None:
        document[key] = {"verdict": verdict.verdict, "date": verdict.date, "failed": list(verdict.failed)}
    write_atomically(paths.verdicts_file, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def _verdict(entry: object) -> Verdict | None:
    if not isinstance(entry, dict) or entry.get("verdict") not in (PASSED, FAILED, UNDECIDED):
        return None
    failed = entry.get("failed")
    names = tuple(name for name in failed if isinstance(name, str)) if isinstance(failed, list) else ()
    return Verdict(entry["verdict"], str(entry.get("date") or ""), names)

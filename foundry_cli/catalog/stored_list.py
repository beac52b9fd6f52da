"""The list of a remote source as it is kept on this machine, and when it was last asked for.

The list is a `foundry.modelinfo.json` as the original writes and reads it (versions 1.2.4 and 2.x). What concerns only
us, the last attempt and its failure, is in a file of its own, so that a cache that cannot be written does no harm.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from foundry_cli.model_record import from_record, to_record
from foundry_cli.paths import write_atomically
from foundry_cli.types import ModelInfo

FRESH_SECONDS = 6 * 3600
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0  # seconds between attempts that fail
_LARGEST = 256 * 1024 * 1024  # bytes
_LATEST = 2e11  # Unix seconds; what is later has no date


class StoredList:
    """One stored list. Reading never fails: what cannot be read is not there."""

    def __init__(
        self, file: Path, attempts: Path, source: str, clock: Callable[[], float] = time.time, location: str = ""
    ) -> None:
        """`file` holds the list, `attempts` the record of refreshes; `source` is the name of its models' source.

        `location` is the address that is asked now. A list of another one is shown until this one has answered.
        """
        self.file = file
        self._attempts = attempts
        self._source = source
        self._clock = clock
        self._location = location
        self._known: tuple[tuple[int, int], list[ModelInfo], float] | None = None  # stamp of the file, models, time in it

    def models(self) -> list[ModelInfo]:
        """The models of the list; entries that are no models are left out. Read again only when the file has changed."""
        return list(self._load()[0])

    def _load(self) -> tuple[list[ModelInfo], float | None]:
        """The models, and when they were fetched."""
        try:
            status = self.file.stat()
        except OSError:
            return [], None
        stamp = status.st_mtime_ns, status.st_size
        if self._known is None or self._known[0] != stamp:
            document = self._document()
            entries = document.get("models")
            models = (from_record(entry, source=self._source) for entry in entries) if isinstance(entries, list) else ()
            saved = min(status.st_mtime, _saved(document))  # a copy of an old list is not new
            self._known = stamp, [model for model in models if model is not None], saved
        return self._known[1:]

    def document(self) -> dict[str, Any]:
        """The file as it is, for keys beside the models; {} when there is none."""
        return self._document()

    @property
    def refreshed(self) -> float | None:
        """Unix time of the list; None when there is none."""
        return self._load()[1]

    @property
    def problem(self) -> str:
        """Why the last refresh failed; "" when it did not."""
        return str(self._attempts_here().get("problem") or "")

    @property
    def is_of_another(self) -> bool:
        """Whether the list is known to have come from another address than the one that is asked now."""
        return bool(self._record().get("location", self._location) != self._location)

    def is_stale(self) -> bool:
        """Whether the list is old (six hours), missing, empty or another's, and the pause after the last failure is over."""
        now, refreshed = self._clock(), self.refreshed
        is_fresh = refreshed is not None and 0 <= now - refreshed < FRESH_SECONDS
        if is_fresh and self.models() and not self.is_of_another:
            return False
        record = self._attempts_here()
        failures, last = record.get("failures", 0), record.get("attempted", 0)
        if not isinstance(failures, int) or not isinstance(last, (int, float)) or failures < 1:
            return True
        return not 0 <= now - last < min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE)

    def save(self, models: Iterable[ModelInfo], **extra: Any) -> None:
        """Replace the list; `extra` are further keys of the document. Raises `OSError` when it cannot be written."""
        now = self._clock()
        saved = datetime.fromtimestamp(now, timezone.utc).isoformat()
        records = [{**to_record(model), "cached": False} for model in models]
        document = {"version": 1, "savedAt": saved, "savedAtUnix": int(now), **extra, "models": records}
        write_atomically(self.file, json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
        self._known = None
        self._write({"attempted": now, "asked": self._location, "location": self._location})

    def failed(self, problem: str) -> None:
        """Remember that a refresh failed."""
        failures = self._attempts_here().get("failures", 0)
        count = failures + 1 if isinstance(failures, int) else 1
        kept = {key: value for key, value in self._record().items() if key == "location"}
        self._write({"attempted": self._clock(), "failures": count, "problem": problem, "asked": self._location, **kept})

    def forget(self) -> None:
        """Delete the list and the record of its refreshes."""
        with contextlib.suppress(OSError):
            self.file.unlink()
        with contextlib.suppress(OSError):
            self._attempts.unlink()

    def _document(self) -> dict[str, Any]:
        return _read(self.file)

    def _record(self) -> dict[str, Any]:
        return _read(self._attempts)

    def _attempts_here(self) -> dict[str, Any]:
        """The record, unless it is about another address."""
        record = self._record()
        return record if record.get("asked", self._location) == self._location else {}

    def _write(self, record: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # without a record the next command asks again, nothing worse
            write_atomically(self._attempts, json.dumps(record).encode())


def _saved(document: dict[str, Any]) -> float:
    """The time in the list, as one of the two generations of the original writes it; infinity when there is none."""
    seconds = document.get("savedAtUnix")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < _LATEST:
        return float(seconds)
    try:
        saved = datetime.fromisoformat(re.sub(r"\.\d+|Z$", "", str(document.get("savedAt"))))
        return saved.replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return math.inf


def _read(path: Path) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # never wait for the writer of a pipe
        with os.fdopen(descriptor, "rb") as stream:
            document = json.loads(stream.read(_LARGEST)) if stat.S_ISREG(os.fstat(descriptor).st_mode) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}

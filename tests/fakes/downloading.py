"""Processes that download: lock, transfer, manifest, as the program does it, to be killed and to compete with each other.

One process has everything imported and forks one that downloads whenever it is asked to; so a start costs milliseconds.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundry_cli.errors import FoundryError
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.remote import FileAddress, RemoteFile
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.manifest import MANIFEST, Manifest, write_manifest
from foundry_cli.store.transfer import transfer
from foundry_cli.types import ModelInfo

COMPLETED, BY_ANOTHER, FAILED = 0, 3, 1
"""Exit codes of a download."""


class Downloads:
    """The process that forks. A context manager, which ends it and all its children."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.downloading"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._running: set[int] = set()

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        self._process.communicate(timeout=30)

    def start(self, base: str, files: Sequence[RemoteFile], root: Path, log: Path, file_limit: int = 0) -> int:
        """Begin a download of `files` from `base` into `root`; its process number. What fails is written to `log`."""
        listing = [[file.path, file.size, file.sha256] for file in files]
        pid = self._ask({"base": base, "files": listing, "root": str(root), "log": str(log), "limit": file_limit})
        self._running.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """The exit code of a download; minus the signal that killed it."""
        code = self._ask({"wait": pid})
        self._running.discard(pid)
        return code

    def kill(self, pid: int) -> int:
        """End a download as a power cut would end it; its exit code, which is that of a complete one if it was faster."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def _ask(self, question: dict[str, Any]) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class _Model:
    def __init__(self, base: str, files: list[RemoteFile]) -> None:
        self.files = files
        self._base = base

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        return FileAddress(f"{self._base}/{file.path}")


def download(model: _Model, root: Path) -> int:
    """The whole way to a complete model."""
    client = HttpClient(is_offline=True, retry=RetryPolicy(first_wait=0.01))
    lock = DownloadLock(root)
    is_held = lock.acquire(threading.Event(), lambda done: None)
    if (root / MANIFEST).exists():
        if is_held:
            lock.complete()
        return BY_ANOTHER
    try:
        files = transfer(model, root, client, lambda progress: None)
        write_manifest(root, Manifest(ModelInfo("m", 1, "m"), files))
        lock.complete()
    finally:
        lock.release()
    return COMPLETED


def _child(question: dict[str, Any]) -> int:
    if question["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (question["limit"], question["limit"]))
    try:
        return download(_Model(question["base"], [RemoteFile(*file) for file in question["files"]]), Path(question["root"]))
    except FoundryError as error:
        Path(question["log"]).write_text(f"{error.code}\n{error.message}")
        return FAILED


def main() -> None:
    """Answer the questions on standard input."""
    import requests  # noqa: F401 - so that children need not import it

    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                code = 99
                try:
                    code = _child(question)
                finally:
                    os._exit(code)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

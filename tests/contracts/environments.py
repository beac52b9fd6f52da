"""Environments of published clients: a virtual environment or a node folder per exact list of packages, kept between runs.

They are below `~/.cache/foundry-tests/clients`. What is in the list is pinned; what that needs in turn stays as it was first
installed, until the folder is removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foundry-tests" / "clients"
_COMPLETE = "complete"
_INSTALL_SECONDS = 900


def python_environment(*requirements: str) -> Path:
    """The interpreter of a virtual environment with `requirements`, each `name==version`."""

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])

    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return _environment([python, *requirements], install) / "bin" / "python"


def node_folder(*packages: str) -> Path:
    """A folder whose `node_modules` holds `packages`, each `name@version`; their own install scripts are not run."""

    def install(folder: Path) -> None:
        folder.mkdir()
        (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
        options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"]
        _run(["npm", "install", *options, "--prefix", str(folder), *packages])

    return _environment(["node", *packages], install)


def _environment(parts: list[str], install: Callable[[Path], None]) -> Path:
    """The folder for `parts`, made by `install` unless it is there; of several processes one makes it."""
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    folder = CACHE / f"{'-'.join(parts[:2]).replace('==', '-').replace('@', '-')}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / _COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)  # an installation that was interrupted
            install(folder)
            (folder / _COMPLETE).write_text("\n".join(parts) + "\n")
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")

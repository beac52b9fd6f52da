"""Fresh lists without waiting for the network: a process of its own fetches them, and commands look at what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from foundry_cli.catalog.catalog import Catalog
from foundry_cli.catalog.sources.base import RemoteSource
from foundry_cli.config import Config
from foundry_cli.home import is_own
from foundry_cli.paths import Paths
from foundry_cli.processes import detached

_PATIENCE_SECONDS = 2.0  # when an old list is there
_FIRST_PATIENCE_SECONDS = 8.0  # when there is none yet


def refresh_in_background(paths: Paths, config: Config, catalog: Catalog) -> None:
    """Start fetching lists that are old, and wait a little for them; what takes longer is there the next time."""
    states = [source.state() for source in catalog.sources if isinstance(source, RemoteSource)]
    is_first = all(state.refreshed is None and not state.problem for state in states)  # nothing to show yet, and no failure
    process = start_refresh(paths, config, catalog)
    if process is None:
        return
    try:
        process.wait(_FIRST_PATIENCE_SECONDS if is_first else _PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it goes on by itself, and its end is nobody's business here


def start_refresh(paths: Paths, config: Config, catalog: Catalog) -> subprocess.Popen[bytes] | None:
    """Start the process that fetches old lists; of several one does the work. None when none is old, or the home another's."""
    if not catalog.stale(is_offline=config.is_offline) or not is_own(paths):
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "foundry_cli.catalog"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(sys.executable).anchor,
        env={**os.environ, "FOUNDRY_HOME": str(paths.home)},
        **detached(sys.platform),
    )

"""Fresh lists without waiting for the network: a process of its own fetches them, and commands look at what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from foundry_cli.catalog.catalog import Catalog
from foundry_cli.config import Config
from foundry_cli.paths import Paths
from foundry_cli.processes import detached

_PATIENCE_SECONDS = 2.0  # when an old list is there
_FIRST_PATIENCE_SECONDS = 8.0  # when there is none yet


def refresh_in_background(paths: Paths, config: Config, catalog: Catalog) -> None:
    """Start fetching lists that are old, and wait a little for them; what takes longer is there the next time."""
    stale = catalog.stale(is_offline=config.is_offline)
    if not stale:
        return
    is_first = any(source.state().refreshed is None for source in stale)
    process = subprocess.Popen(
        [sys.executable, "-m", "foundry_cli.catalog"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(sys.executable).anchor,
        env={**os.environ, "FOUNDRY_HOME": str(paths.home)},
        **detached(sys.platform),
    )
    try:
        process.wait(_FIRST_PATIENCE_SECONDS if is_first else _PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it goes on by itself, and its end is nobody's business here

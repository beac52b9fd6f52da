"""`python -m foundry_cli.catalog`: fetch the lists that are old, in the background. Says nothing; failures are remembered."""

from __future__ import annotations

import contextlib

from filelock import FileLock, Timeout

from foundry_cli.catalog.assembly import open_catalog
from foundry_cli.catalog.fetching import fetch_lists
from foundry_cli.config import load_config
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.paths import Paths, make_private_directory

_LOCK_SECONDS = 5  # for another process that does the same


def main() -> None:
    """Refresh what is stale; when another process does so already, wait for its end."""
    paths = Paths.from_environment()
    config = load_config(paths)
    make_private_directory(paths.catalogs)
    with contextlib.suppress(Timeout), FileLock(paths.catalogs / "refresh.lock", timeout=_LOCK_SECONDS, mode=0o600):
        client = HttpClient(is_offline=config.is_offline, retry=RetryPolicy(tries=3))
        list(fetch_lists(open_catalog(paths, config).stale(is_offline=config.is_offline), client))  # each notes its failure


if __name__ == "__main__":
    main()

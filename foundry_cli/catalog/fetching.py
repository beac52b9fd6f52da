"""The lists of several sources, fetched at the same time: one that is silent keeps no other waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from foundry_cli.catalog.sources.base import RemoteSource
from foundry_cli.errors import FoundryError
from foundry_cli.http import HttpClient


def fetch_lists(sources: Sequence[RemoteSource], client: HttpClient) -> Iterator[tuple[RemoteSource, str]]:
    """Refresh all `sources`; each of them, in their order, with what went wrong, or ""."""
    problems: dict[RemoteSource, str] = {}

    def fetch(source: RemoteSource) -> None:
        try:
            source.refresh(client)
        except FoundryError as error:
            problems[source] = error.message

    # Daemons: nobody who has pressed Ctrl-C waits for them.
    threads = [threading.Thread(target=fetch, args=(source,), name="catalog", daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    for source, thread in zip(sources, threads, strict=True):
        thread.join()
        yield source, problems.get(source, "")

"""A mirror with scripted models behind a web server."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry_cli.store.cache import scan_cache
from foundry_cli.store.export import export
from tests.fakes.web import Respond, WebServer, static_files, web_server
from tests.models.scripted import write_scripted_model


def write_mirror(directory: Path, replies: dict[str, str], ballast: int = 0, **record: object) -> Path:
    """Write a mirror with a scripted model for each id in `replies`; `ballast` adds a file of so many bytes to each.

    `record` changes the description of every model in the index.
    """
    cache, mirror = directory / "source", directory / "mirror"
    for model_id, reply in replies.items():
        folder = cache / "Tests" / model_id.replace(":", "-")
        write_scripted_model(folder, [reply], name=model_id)
        if ballast:
            (folder / "ballast.bin").write_bytes(_bytes(ballast))
    export(scan_cache(cache), mirror, cache)
    if record:
        index = json.loads((mirror / "index.json").read_text())
        for model in index["models"]:
            model.update(record)
        (mirror / "index.json").write_text(json.dumps(index))
    return mirror


def _bytes(count: int) -> bytes:
    """Bytes that are the same each time, and different everywhere."""
    return array("Q", range(count // 8 + 1)).tobytes()[:count]


@contextmanager
def served(mirror: Path, respond: Respond | None = None) -> Iterator[WebServer]:
    """`mirror` behind a web server, or behind one that answers with `respond`."""
    with web_server(respond or static_files(mirror)) as server:
        yield server

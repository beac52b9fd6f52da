"""`python -m foundry_cli.download MODEL`: a download for the service, in a process of its own.

Standard output has one JSON object per line: `{"done", "total", "file", "note"}`, and at the end `{"success": true}` or
`{"error": {"code", "message", "hint"}}`. It ends when its standard input does, and keeps what has arrived.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from foundry_cli.config import load_config
from foundry_cli.download.downloading import download
from foundry_cli.download.planning import plan_download
from foundry_cli.errors import FoundryError, UnsuitableModelError
from foundry_cli.http import HttpClient
from foundry_cli.inventory import open_inventory
from foundry_cli.paths import Paths
from foundry_cli.store.transfer import Progress
from foundry_cli.suitability import Machine, reason_against


def main() -> None:
    """Download the model whose id is the only argument."""
    cancelled = threading.Event()
    threading.Thread(target=_watch_parent, args=(cancelled,), daemon=True).start()
    try:
        _download(sys.argv[1], cancelled)
        _say({"success": True})
    except FoundryError as error:
        _say({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
        sys.exit(1)


def _watch_parent(cancelled: threading.Event) -> None:
    sys.stdin.buffer.read()
    cancelled.set()


def _download(name: str, cancelled: threading.Event) -> None:
    paths = Paths.from_environment()
    config = load_config(paths)
    inventory = open_inventory(paths, config)
    model = inventory.resolve(name)
    if model.is_cached:
        return
    client = HttpClient(is_offline=config.is_offline, cancelled=cancelled)
    plan = plan_download(model, inventory, client)
    if reason := reason_against(plan.model, Machine.of(paths), plan.genai_config):
        raise UnsuitableModelError(reason, hint="'foundry model download' with --force downloads it nevertheless.")
    download(plan, client, _report)


def _report(progress: Progress) -> None:
    _say({"done": progress.done, "total": progress.total, "file": progress.file, "note": progress.note})


_one_line = threading.Lock()


def _say(message: dict[str, Any]) -> None:
    with _one_line:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

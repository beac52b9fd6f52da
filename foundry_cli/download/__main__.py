"""`python -m foundry_cli.download MODEL`: a download for the service, in a process of its own.

Standard output has one JSON object per line: `{"done", "total", "file", "note"}`, and at the end `{"success": true}` or
`{"error": {"code", "message", "hint"}}`. It ends when its standard input does, and keeps what has arrived.
`--accept-license` before the model accepts the licence of one whose source asks for that.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from foundry_cli.config import load_config
from foundry_cli.download.downloading import check_cache_in_force, download
from foundry_cli.download.planning import plan_download
from foundry_cli.errors import FoundryError, LicenseNotAcceptedError, UnsuitableModelError
from foundry_cli.http import HttpClient
from foundry_cli.inventory import open_inventory
from foundry_cli.paths import Paths
from foundry_cli.store.transfer import Progress
from foundry_cli.suitability import Machine, reason_against


def main() -> None:
    """Download the model whose id is the last argument."""
    cancelled = threading.Event()
    threading.Thread(target=_watch_parent, args=(cancelled,), daemon=True).start()
    try:
        _download(sys.argv[-1], cancelled, is_accepted="--accept-license" in sys.argv[1:-1])
        _say({"success": True})
    except FoundryError as error:
        _say({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
        sys.exit(1)


def _watch_parent(cancelled: threading.Event) -> None:
    while os.read(0, 4096):  # not through `sys.stdin`, whose lock this thread would hold at the end of the process
        pass
    cancelled.set()


def _download(name: str, cancelled: threading.Event, *, is_accepted: bool) -> None:
    paths = Paths.from_environment()
    config = load_config(paths)
    inventory = open_inventory(paths, config)
    model = inventory.resolve(name)
    if model.is_cached:
        return
    if model.requires_acceptance and not is_accepted:
        raise LicenseNotAcceptedError(
            f"{model.id} is given only to those who accept its licence.",
            hint=f"'foundry model download {model.id}' shows it; or send \"acceptLicense\": true.",
        )
    client = HttpClient(is_offline=config.is_offline, cancelled=cancelled)
    plan = plan_download(model, inventory, client)
    if reason := reason_against(plan.model, Machine.of(paths), plan.genai_config):
        raise UnsuitableModelError(reason, hint="'foundry model download' with --force downloads it nevertheless.")
    download(plan, client, _report)
    check_cache_in_force(plan, inventory, paths)


def _report(progress: Progress) -> None:
    _say({"done": progress.done, "total": progress.total, "file": progress.file, "note": progress.note})


_one_line = threading.Lock()


def _say(message: dict[str, Any]) -> None:
    with _one_line:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

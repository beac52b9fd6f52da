"""The work of `foundry cache list`. Other programs read the first lines: what was added stands below them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from foundry_cli.cli import output
from foundry_cli.cli.inventory import age_text, local_inventory
from foundry_cli.cli.output import Format, gigabytes, symbol
from foundry_cli.inventory import COMPLETE, PARTIAL, CacheEntry, way_out
from foundry_cli.paths import Paths
from foundry_cli.store.usage import read_usage
from foundry_cli.store.verdicts import Verdict, read_verdicts


def show(output_format: Format) -> None:
    """Print what is on this machine."""
    contents = local_inventory().contents()
    paths = Paths.from_environment()
    usage = read_usage(paths)
    if output_format is Format.json:
        verdicts = read_verdicts(paths)
        models = [_fields(entry, usage, verdicts) for entry in contents.entries]
        output.document({"models": models, "problems": list(contents.problems)})
    else:
        _print([entry for entry in contents.entries if entry.state == COMPLETE], usage)
        _print_rest([entry for entry in contents.entries if entry.state != COMPLETE])
        for problem in contents.problems:
            output.note(problem)


def _print(entries: Sequence[CacheEntry], usage: dict[str, float]) -> None:
    if not entries:
        output.line("No models cached on device")
        return
    output.line("Models cached on device:")
    output.line(f"   {'Alias':<50}Model ID")
    for entry in entries:
        output.line(f"{symbol('💾 ') or '   '}{entry.model.alias:<50}{entry.model.id}")
    output.line()
    output.line(f"   {'File Size':<13}{'Last Used':<17}Model ID")
    for entry in entries:
        when = usage.get(entry.model.id)
        used = "-" if when is None else f"{age_text(when)} ago"
        output.line(f"   {gigabytes(entry.model.size_bytes):<13}{used:<17}{entry.model.id}")


def _print_rest(entries: Sequence[CacheEntry]) -> None:
    if not entries:
        return
    output.line()
    output.line("Not complete:")
    for entry in entries:
        output.line(f"   {entry.state:<10}{entry.model.id}: {_condition(entry)}")
        output.line(f"   {'':<10}{way_out(entry.model, entry.state)}")


def _condition(entry: CacheEntry) -> str:
    if entry.state != PARTIAL:
        return entry.model.problem
    total = f" of {gigabytes(entry.total_bytes)}" if entry.total_bytes else ""
    return f"{gigabytes(entry.done_bytes)}{total} downloaded"


def _fields(entry: CacheEntry, usage: dict[str, float], verdicts: dict[str, Verdict]) -> dict[str, Any]:
    model = entry.model
    used = usage.get(model.id)
    verdict = verdicts.get(model.id.lower())
    return {
        "alias": model.alias,
        "id": model.id,
        "fileSizeBytes": entry.total_bytes,
        "path": str(model.path or model.root),
        "bundled": model.is_bundled,
        "lastUsed": None if used is None else datetime.fromtimestamp(used, timezone.utc).isoformat(timespec="seconds"),
        "state": entry.state,
        "doneBytes": entry.done_bytes,
        "problem": model.problem or None,
        "verdict": verdict.verdict if verdict else None,
    }

"""The work of `foundry cache verify` and `foundry cache repair`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from foundry_cli.cli import output
from foundry_cli.cli.inventory import local_inventory, own_inventory
from foundry_cli.cli.output import Format, gigabytes, symbol
from foundry_cli.cli.progress import DownloadProgress
from foundry_cli.errors import ModelInvalidError
from foundry_cli.inventory import DAMAGED, PARTIAL, CacheEntry, Inventory, is_repairable, way_out
from foundry_cli.store.manifest import read_manifest
from foundry_cli.store.transfer import Progress
from foundry_cli.store.verify import FileCheck
from foundry_cli.store.verify import verify as verify_files

GOOD, BAD, UNKNOWN = "good", "damaged", "unknown"


@dataclass(frozen=True)
class Finding:
    """What was found of one model. `state` is GOOD, BAD, or UNKNOWN when there is nothing to compare with."""

    entry: CacheEntry
    state: str
    checks: Sequence[FileCheck] = ()


def verify(names: Sequence[str], output_format: Format) -> bool:
    """Check the models called `names`, or all; whether nothing is damaged."""
    findings, inventory = [], local_inventory()
    for entry in _chosen(inventory, names):
        findings.append(_check(entry))
        if output_format is Format.text:
            _print(findings[-1])
    if output_format is Format.json:
        output.document({"models": [_fields(finding) for finding in findings]})
    elif not findings:
        output.line("No models to verify")
    unreadable = () if names else inventory.scan().problems  # what is in there nobody has verified
    for problem in unreadable:
        output.note(problem)
    return not unreadable and all(finding.state != BAD for finding in findings)


def repair(name: str) -> None:
    """Fetch what is damaged of the model called `name`. Raises `ModelInvalidError`, `DownloadError`."""
    from foundry_cli.cli.download import Downloads

    (entry, *_) = own_inventory().find_entries(name)
    if entry.state == PARTIAL:
        raise ModelInvalidError(f"{entry.model.id} is not complete.", hint=way_out(entry.model, PARTIAL))
    if entry.model.is_bundled:
        raise ModelInvalidError(f"{entry.model.id} is part of the program.", hint="Install the program again to mend it.")
    if not is_repairable(entry.model):
        _refuse_damage(entry)
        output.line(f"Model {entry.model.id} is undamaged.")
        return
    mended = Downloads(say=output.note, stream=sys.stderr).mend(entry.model)
    for check in mended:
        output.line(f"Mended {check.path}: {check.problem}")
    output.line(f"Model {entry.model.id} is undamaged." if not mended else f"Model {entry.model.id} is repaired.")


def _refuse_damage(entry: CacheEntry) -> None:
    """Raise `ModelInvalidError` when a model that cannot be repaired is damaged, or when that cannot be told."""
    finding = _check(entry)
    if finding.state == BAD:
        problem = _problems(finding)[0]
        raise ModelInvalidError(f"{entry.model.id} is damaged: {problem}.", hint=way_out(entry.model, DAMAGED, problem))
    if finding.state == UNKNOWN:
        raise ModelInvalidError(
            f"{entry.model.id} was not downloaded by this program, so there is nothing to compare its files with.",
            hint="Remove it with 'foundry cache remove' and download or add it again.",
        )


def _chosen(inventory: Inventory, names: Sequence[str]) -> list[CacheEntry]:
    if names:
        return [entry for name in names for entry in inventory.find_entries(name)]
    inventory.require_cache()
    return [entry for entry in inventory.contents().entries if not entry.model.is_bundled]


def _check(entry: CacheEntry) -> Finding:
    root = entry.model.root
    manifest = read_manifest(root) if root and entry.state != PARTIAL else None
    if root is None or manifest is None:
        return Finding(entry, BAD if entry.state == DAMAGED else UNKNOWN)
    with reporting() as report:
        checks = verify_files(root, manifest, report)
    return Finding(entry, BAD if any(check.problem for check in checks) else GOOD, checks)


@contextmanager
def reporting() -> Iterator[Callable[[int, int], None]]:
    """Progress on standard error, for work that tells bytes done and in total."""
    with DownloadProgress(sys.stderr) as progress:
        yield lambda done, total: progress(Progress(done, total, "", 0))


def _print(finding: Finding) -> None:
    model = finding.entry.model
    if finding.state == GOOD:
        size = gigabytes(model.size_bytes)
        output.line(f"{symbol('✓ ')}{model.id}: {len(finding.checks)} files, {size}, all as they were downloaded")
    elif finding.state == UNKNOWN:
        output.line(f"{symbol('• ')}{model.id}: {_why_unknown(finding.entry)}")
    else:
        for problem in _problems(finding):
            output.line(f"{symbol('✗ ')}{model.id}: {problem}")
        output.line(f"  {way_out(model, DAMAGED, _problems(finding)[0])}")
    output.flush()


def _why_unknown(entry: CacheEntry) -> str:
    if entry.model.is_bundled:
        return "it is part of the program"
    return "the download is not complete" if entry.state == PARTIAL else "no hashes are known, its files were put there by hand"


def _problems(finding: Finding) -> list[str]:
    found = [f"{check.path}: {check.problem}" for check in finding.checks if check.problem]
    return found or [finding.entry.model.problem]


def _fields(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.entry.model.id,
        "state": finding.state,
        "problems": _problems(finding) if finding.state == BAD else [],
        "files": len(finding.checks),
    }

"""Carrying out a plan: lock, transfer, description, manifest. And repairing what is there already."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from foundry_cli.catalog.sources.mirror import LocalModel
from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.config import load_config
from foundry_cli.download.planning import DownloadPlan, plan_download
from foundry_cli.errors import CacheError, ModelInvalidError, SourceError
from foundry_cli.http import HttpClient
from foundry_cli.inventory import Inventory
from foundry_cli.paths import Paths
from foundry_cli.store.copying import copy_model, drop_unfinished, translated
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.journal import JOURNAL
from foundry_cli.store.manifest import Manifest, StoredFile, first_problem, read_manifest, write_manifest
from foundry_cli.store.model_folder import write_descriptions
from foundry_cli.store.plain_file import disk_error
from foundry_cli.store.repair import begin_repair
from foundry_cli.store.transfer import Progress, Report, transfer
from foundry_cli.store.verify import FileCheck, verify
from foundry_cli.types import ModelInfo


def download(plan: DownloadPlan, client: HttpClient, report: Report) -> bool:
    """Fetch what is missing and make the model complete; False when another process did so meanwhile.

    Raises `DownloadError` and its kinds (what has arrived is kept) and `CacheError`.
    """
    plan.check_disk()
    while True:
        lock = DownloadLock(plan.root)
        if not lock.acquire(client.cancelled, lambda done: report(_waiting(plan, done))):
            if _is_complete(plan.root):
                return False
            continue  # what the other process had made was removed at once
        try:
            if _is_complete(plan.root):  # since the plan was made
                lock.complete()
                return False
            _complete(plan, client, report, lock)
        finally:
            lock.release()
        return True


def check_cache_in_force(plan: DownloadPlan, inventory: Inventory, paths: Paths) -> None:
    """Raise `CacheError` when another cache was set while `plan` was carried out: the model would not be found there."""
    cache = load_config(paths).cache_path(paths)
    if cache != inventory.cache:
        raise CacheError(
            f"{plan.model.id} was downloaded into {inventory.cache}, but the cache directory is {cache} now.",
            hint=f"'foundry cache import {shlex.quote(str(plan.root))}' copies it.",
        )


def _is_complete(root: Path) -> bool:
    """Whether nothing is left to do; a journal is of work that has not ended, a repair for example."""
    manifest = read_manifest(root)
    return manifest is not None and not (root / JOURNAL).exists() and not first_problem(root, manifest)


def _waiting(plan: DownloadPlan, done: int) -> Progress:
    return Progress(done, plan.total, "", done, note="another process is downloading this model")


def _complete(plan: DownloadPlan, client: HttpClient, report: Report, lock: DownloadLock) -> None:
    files = _fetch(plan, client, report)
    try:
        descriptions = write_descriptions(plan.root, plan.model, files)
        write_manifest(plan.root, Manifest(plan.model, (*files, *descriptions)))
        lock.complete()
    except OSError as error:
        raise disk_error(error, plan.root) from error


def _fetch(plan: DownloadPlan, client: HttpClient, report: Report) -> tuple[StoredFile, ...]:
    if not isinstance(plan.remote, LocalModel):
        files = transfer(plan.remote, plan.root, client, report, origin=plan.model.uri)
        with translated(f"{plan.root} cannot be written"):
            for file in files:  # of an earlier attempt to copy it from a directory
                drop_unfinished(plan.root / file.path)
        return files

    def copied(done: int, total: int) -> None:
        report(Progress(done, total, "", 0))

    return copy_model(plan.remote.files, plan.remote.directory, plan.root, cancelled=client.cancelled, report=copied)


def repair(
    model: ModelInfo, inventory: Inventory, client: HttpClient, report: Report, checked: Callable[[int, int], None]
) -> list[FileCheck]:
    """Read all files of a downloaded model and fetch the chunks again that are not what they were; returns what was bad.

    `checked` is told the bytes read and the bytes in all, `report` while chunks are fetched.

    Raises `ModelInvalidError` for a model without manifest, and what `download` raises.
    """
    root = model.root or model.path
    manifest = read_manifest(root) if root else None
    if root is None or manifest is None:
        raise ModelInvalidError(
            f"{model.id} was not downloaded by this program, so there is nothing to compare its files with.",
            hint="Remove it with 'foundry cache remove' and download or add it again.",
        )
    bad = [check for check in verify(root, manifest, checked, client.cancelled) if check.problem]
    if not bad:
        return []
    plan = plan_download(manifest.model, inventory, client)
    _check_same_files(plan, manifest)
    plan = replace(plan, root=root, missing=sum(_bad_bytes(root, check) for check in bad))
    plan.check_disk()
    lock = DownloadLock(root)
    if lock.acquire(client.cancelled, lambda done: report(_waiting(plan, done))):
        try:
            begin_repair(root, manifest, bad)
            _complete(plan, client, report, lock)
        finally:
            lock.release()
    return bad


def _check_same_files(plan: DownloadPlan, manifest: Manifest) -> None:
    """Raise `SourceError` when another source than that of the model, which took its place, has something else by its id."""
    if plan.model.source == manifest.model.source:
        return
    known = {file.path: file for file in manifest.files}
    for file in plan.remote.files:
        stored = known.get(file.path)
        if stored is None or stored.size != file.size or file.sha256 not in (None, stored.sha256):
            raise SourceError(
                f"The {plan.model.id} of the catalog {plan.model.source} is not what was downloaded: {file.path} differs.",
                hint=f"'foundry cache remove {plan.model.id}' deletes what is here, and a download fetches the other one.",
            )


def _bad_bytes(root: Path, check: FileCheck) -> int:
    """Room that a repair needs: a good part of a file is kept as it is."""
    try:
        size = os.lstat(root / check.path).st_size
    except OSError:
        size = 0
    return len(check.bad_chunks) * CHUNK_BYTES or size

"""What a download will do, known before a byte of the model is fetched: how much, whereto, and whether the model will run."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from foundry_cli.catalog.sources.mirror import LocalModel
from foundry_cli.errors import DiskFullError, DownloadError, SourceError
from foundry_cli.http import HttpClient
from foundry_cli.inventory import Inventory
from foundry_cli.remote import RemoteModel
from foundry_cli.store.cache import check_writable
from foundry_cli.store.copying import copied_bytes
from foundry_cli.store.layout import model_root
from foundry_cli.store.manifest import check_paths, read_object
from foundry_cli.store.model_folder import check_same_model
from foundry_cli.store.transfer import missing_bytes
from foundry_cli.suitability import MemoryNeed, memory_need
from foundry_cli.types import ModelInfo

_SPARE_BYTES = 64 << 20  # of the disk, that is left for others
_LARGEST_CONFIG = 1 << 20


@dataclass(frozen=True)
class DownloadPlan:
    """A download that can begin. Sizes are bytes."""

    model: ModelInfo
    root: Path
    remote: RemoteModel
    total: int
    missing: int  # not on disk yet
    free: int  # on the disk of the cache
    need: MemoryNeed
    genai_config: dict[str, Any]

    def check_disk(self) -> None:
        """Raise `DiskFullError` when the rest does not fit."""
        if self.missing + _SPARE_BYTES > self.free:
            raise DiskFullError(
                f"{self.model.id} needs {_megabytes(self.missing)} more on the disk of {self.root.parent}, and "
                f"{_megabytes(_SPARE_BYTES)} to spare; {_megabytes(self.free)} are free.",
                hint="Make room with 'foundry cache prune' or 'foundry cache remove', or use 'foundry cache move'.",
            )


def plan_download(model: ModelInfo, inventory: Inventory, client: HttpClient) -> DownloadPlan:
    """The plan for `model`, after asking its source for the files.

    Raises `DownloadError` and its kinds, and `CacheError` when the cache cannot be written.
    """
    inventory.require_cache()
    check_writable(inventory.cache)
    model, remote = inventory.catalog.open(model, client)
    check_paths(file.path for file in remote.files)
    total = sum(file.size for file in remote.files)
    disk = _disk(inventory.cache)
    if total > disk.total:  # before anything is counted chunk by chunk
        raise DiskFullError(f"{model.id} has {_megabytes(total)}; the whole disk has {_megabytes(disk.total)}.")
    model = replace(model, size_bytes=total)
    root = model_root(inventory.cache, model)
    check_same_model(root, model)
    config = _read_config(remote, client)
    missing = missing_bytes(remote.files, root, model.uri)
    if isinstance(remote, LocalModel):
        missing -= sum(copied_bytes(root / file.path, file.size) for file in remote.files)
    return DownloadPlan(model, root, remote, total, missing, disk.free, memory_need(model, config), config)


class _Disk(NamedTuple):
    total: int
    free: int


def _disk(cache: Path) -> _Disk:
    try:
        usage = shutil.disk_usage(cache)
        return _Disk(usage.total, usage.free)
    except OSError as error:
        raise DownloadError(f"The free space of {cache} cannot be told: {error.strerror}.") from error


def _read_config(remote: RemoteModel, client: HttpClient) -> dict[str, Any]:
    """`genai_config.json` of the model; it is small, and says how much memory a conversation takes."""
    configs = [file for file in remote.files if file.path.rpartition("/")[2] == "genai_config.json"]
    if not configs:
        raise SourceError("The source has no genai_config.json for this model, so it cannot be run.")
    if not 0 < configs[0].size <= _LARGEST_CONFIG:
        raise SourceError(f"{configs[0].path} of the source has {configs[0].size} bytes.")
    if isinstance(remote, LocalModel):
        return read_object(remote.directory / configs[0].path, _LARGEST_CONFIG)
    address = remote.address(configs[0])
    response, content = client.read("GET", address.url, headers=address.headers, largest=_LARGEST_CONFIG)
    try:
        document = json.loads(content) if response.status_code == 200 else {}
    except (ValueError, RecursionError):
        return {}  # the transfer says what is wrong, and it is no reason to ask for memory
    return document if isinstance(document, dict) else {}


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"

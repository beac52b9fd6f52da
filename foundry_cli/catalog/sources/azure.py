"""The catalog of Azure AI Foundry: the list from its catalog service, the files of a model from its registry."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from foundry_cli.catalog.sources.azure_endpoints import MICROSOFT, Endpoints
from foundry_cli.catalog.sources.base import SourceState
from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.errors import CacheError, DownloadCancelledError, DownloadError, OfflineError
from foundry_cli.http import HttpClient
from foundry_cli.remote import RemoteModel
from foundry_cli.types import ModelInfo

if TYPE_CHECKING:
    from foundry_cli.catalog.sources.azure_servers import AzureServers

NAME = "azure"

STANDS_FOR = (2, 2, 1)
"""The version of the original whose models can be used: the newest one whose catalog was seen, and the runtime of this
program is newer than that version's. Models that ask for a newer one are hidden, as the original hides them."""


class AzureSource:
    """The Azure AI Foundry catalog, or another one that speaks one of its two protocols."""

    name = NAME

    def __init__(
        self,
        stored: StoredList,
        *,
        catalog_url: str | None = None,
        registry_url: str | None = None,
        endpoints: Endpoints = MICROSOFT,
    ) -> None:
        """`catalog_url` and `registry_url` are asked instead of `endpoints`; both may hold `{region}`."""
        self._stored = stored
        self._catalog_url = catalog_url
        self._endpoints = replace(endpoints, registry=registry_url) if registry_url else endpoints
        self._unsaved: list[ModelInfo] | None = None

    @property
    def location(self) -> str:
        """The address of the catalog."""
        return without_query(self._catalog_url or self._endpoints.gallery)

    def models(self) -> list[ModelInfo]:
        """Every variant in the stored list, for any device, that this version may use."""
        models = self._stored.models() if self._unsaved is None else self._unsaved
        return [model for model in models if model.min_version is None or not _is_newer(model.min_version)]

    def state(self) -> SourceState:
        """What is stored, and why the last refresh failed."""
        problem = self._stored.problem
        if self._stored.is_of_another:
            problem = f"{problem or f'{self.location} has not answered yet.'} The list is that of another address."
        return SourceState(self.name, self.location, len(self.models()), self._stored.refreshed, problem)

    def is_stale(self) -> bool:
        """Whether the list is missing or older than six hours, and the last failure is long enough ago."""
        return self._stored.is_stale()

    def refresh(self, client: HttpClient) -> None:
        """Fetch the whole list and store it; the stored one stays if that fails.

        Raises `DownloadError` and its kinds, and `CacheError` when the new list cannot be written: it is known to this
        object then, not to the next process.
        """
        with self._remembered_failures():
            listing = self._servers.fetch(client)
            region = {"detectedRegion": listing.region} if listing.region else {}
            try:
                self._stored.save(listing.models, **region)
            except OSError as error:
                self._unsaved = listing.models
                message = f"The list of models cannot be stored in {self._stored.file.parent}: {error.strerror}."
                raise CacheError(message, hint="'foundry cache location' shows where it is kept.") from error
        self._unsaved = None

    def open(self, model: ModelInfo, client: HttpClient) -> RemoteModel:
        """The files of `model`, as its blob container lists them. Raises `DownloadError` and its kinds."""
        from foundry_cli.catalog.sources.blob_container import BlobContainer

        return BlobContainer(client, lambda: self._servers.container_address(model, client))

    @contextlib.contextmanager
    def _remembered_failures(self) -> Iterator[None]:
        try:
            yield
        except (OfflineError, DownloadCancelledError):  # these say nothing about the servers
            raise
        except (DownloadError, CacheError) as error:
            self._stored.failed(error.message)
            raise

    @cached_property
    def _servers(self) -> AzureServers:
        from foundry_cli.catalog.sources.azure_servers import AzureServers  # only for the network: lists are shown at once

        return AzureServers(self._endpoints, self._catalog_url, lambda: self._stored.document().get("detectedRegion"))


def _is_newer(version: str) -> bool:
    """Whether `version` is beyond `STANDS_FOR`; something that is not a version is not."""
    parts = version.split("-")[0].split("+")[0].split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        return False
    numbers = [int(part) for part in parts] + [0, 0, 0]
    return tuple(numbers[: max(len(parts), 3)]) > STANDS_FOR


def without_query(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

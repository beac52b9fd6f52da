"""The catalog of Azure AI Foundry: the list from its catalog service, the files of a model from its registry."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit, urlunsplit

from foundry_cli.catalog.sources.azure_protocol import Listing, detect_region, list_models
from foundry_cli.catalog.sources.azure_regions import (
    CATALOG_REGION,
    REGISTRY_REGION,
    ask_regions,
    check_region,
    is_regional,
)
from foundry_cli.catalog.sources.azure_registry import container_address
from foundry_cli.catalog.sources.base import SourceState
from foundry_cli.catalog.sources.blob_container import BlobContainer
from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.errors import CacheError, DownloadCancelledError, DownloadError, OfflineError
from foundry_cli.http import HttpClient
from foundry_cli.remote import RemoteModel
from foundry_cli.types import ModelInfo

NAME = "azure"

STANDS_FOR = (2, 2, 1)
"""The version of the original whose models can be used: the newest one whose catalog was seen, and the runtime of this
program is newer than that version's. Models that ask for a newer one are hidden, as the original hides them."""


@dataclass(frozen=True)
class Endpoints:
    """Where Microsoft's services are. `{region}` stands for the name of a region."""

    gallery: str = "https://api.catalog.azureml.ms/asset-gallery/v1.0/models"
    cross_region: str = "https://ai.azure.com/api/{region}/ux/v1.0/entities/crossRegion"
    registry: str = "https://{region}.api.azureml.ms"


MICROSOFT = Endpoints()


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
        self._registry_region: str | None = None

    @property
    def location(self) -> str:
        """The address of the catalog."""
        return _without_query(self._catalog_url or self._endpoints.gallery)

    def models(self) -> list[ModelInfo]:
        """Every variant in the stored list, for any device, that this version may use."""
        models = self._stored.models() if self._unsaved is None else self._unsaved
        return [model for model in models if model.min_version is None or not _is_newer(model.min_version)]

    def state(self) -> SourceState:
        """What is stored, and why the last refresh failed."""
        return SourceState(self.name, self.location, len(self.models()), self._stored.refreshed, self._stored.problem)

    def is_stale(self) -> bool:
        """Whether the list is missing or older than six hours, and the last failure is long enough ago."""
        return self._stored.is_stale()

    def refresh(self, client: HttpClient) -> None:
        """Fetch the whole list and store it; the stored one stays if that fails.

        Raises `DownloadError` and its kinds, and `CacheError` when the new list cannot be written: it is known to this
        object then, not to the next process.
        """
        with self._remembered_failures():
            listing = self._fetch(client)
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
        return BlobContainer(client, lambda: self._container_address(model, client))

    @contextlib.contextmanager
    def _remembered_failures(self) -> Iterator[None]:
        try:
            yield
        except (OfflineError, DownloadCancelledError):  # these say nothing about the servers
            raise
        except (DownloadError, CacheError) as error:
            self._stored.failed(error.message)
            raise

    def _fetch(self, client: HttpClient) -> Listing:
        if self._catalog_url is not None:
            return self._from_regions(self._catalog_url, self._known_region(self._catalog_url) or CATALOG_REGION, client)
        try:
            return list_models(_with_tries(client, 3), self._endpoints.gallery, later=client)
        except (OfflineError, DownloadCancelledError):
            raise
        except DownloadError as error:
            return self._from_cross_region(client, error)

    def _from_cross_region(self, client: HttpClient, first_error: DownloadError) -> Listing:
        """The list by the older protocol, whose server is another one."""
        try:
            url = self._endpoints.cross_region
            region = self._known_region(url) or detect_region(_with_tries(client, 1), self._endpoints.gallery)
            return self._from_regions(url, region or CATALOG_REGION, client)
        except DownloadCancelledError:
            raise
        except DownloadError as error:
            raise type(error)(f"{first_error.message} {error.message}", hint=error.hint) from error

    def _from_regions(self, url: str, first: str, client: HttpClient) -> Listing:
        once = _with_tries(client, 1) if is_regional(url) else client
        region, listing = ask_regions("The catalog request", url, first, lambda place: list_models(once, place, later=client))
        return replace(listing, region=listing.region or region)

    def _container_address(self, model: ModelInfo, client: HttpClient) -> str:
        registry = self._endpoints.registry
        once = _with_tries(client, 1) if is_regional(registry) else client
        first = self._registry_region or self._known_region(registry) or REGISTRY_REGION
        region, address = ask_regions(
            "The registry request", registry, first, lambda place: container_address(once, place, model)
        )
        self._registry_region = region  # which answered: a signature is renewed there
        return address

    def _known_region(self, url: str) -> str | None:
        """The region that answered when the stored list was fetched, if `url` has regions."""
        return check_region(self._stored.document().get("detectedRegion")) if is_regional(url) else None


def _with_tries(client: HttpClient, tries: int) -> HttpClient:
    """`client` for requests that another server answers when one does not."""
    hasty = copy.copy(client)  # its connections, its cancellation and whether it may use the network stay the same
    hasty.retry = replace(client.retry, tries=min(tries, client.retry.tries))
    return hasty


def _is_newer(version: str) -> bool:
    """Whether `version` is beyond `STANDS_FOR`; something that is not a version is not."""
    parts = version.split("-")[0].split("+")[0].split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        return False
    numbers = [int(part) for part in parts] + [0, 0, 0]
    return tuple(numbers[: max(len(parts), 3)]) > STANDS_FOR


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

"""Asking the servers of the Azure catalog and registry: which protocol, which region, and what when one does not answer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

from foundry_cli.catalog.sources.azure_endpoints import Endpoints
from foundry_cli.catalog.sources.azure_protocol import Listing, detect_region, list_models
from foundry_cli.catalog.sources.azure_regions import (
    CATALOG_REGION,
    REGISTRY_REGION,
    ask_regions,
    check_region,
    is_regional,
)
from foundry_cli.catalog.sources.azure_registry import container_address
from foundry_cli.errors import DownloadCancelledError, DownloadError, OfflineError
from foundry_cli.http import HttpClient
from foundry_cli.types import ModelInfo


class AzureServers:
    """The servers at `endpoints`; with `catalog_url` only that address is asked for the list."""

    def __init__(self, endpoints: Endpoints, catalog_url: str | None, stored_region: Callable[[], object]) -> None:
        """`stored_region` is the region that answered when the stored list was fetched, if that is known."""
        self._endpoints = endpoints
        self._catalog_url = catalog_url
        self._stored_region = stored_region
        self._registry_region: str | None = None

    def fetch(self, client: HttpClient) -> Listing:
        """The whole list. Raises `DownloadError` and its kinds."""
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

    def container_address(self, model: ModelInfo, client: HttpClient) -> str:
        """Address and signature of the blob container of `model`. Raises `DownloadError` and its kinds."""
        registry = self._endpoints.registry
        once = _with_tries(client, 1) if is_regional(registry) else client
        first = self._registry_region or self._known_region(registry) or REGISTRY_REGION
        region, address = ask_regions(
            "The registry request", registry, first, lambda place: container_address(once, place, model)
        )
        self._registry_region = region  # which answered: a signature is renewed there
        return address

    def _known_region(self, url: str) -> str | None:
        """The region that answered last time, if `url` has regions."""
        return check_region(self._stored_region()) if is_regional(url) else None


def _with_tries(client: HttpClient, tries: int) -> HttpClient:
    """`client` for requests that another server answers when one does not."""
    hasty = copy.copy(client)  # its connections, its cancellation and whether it may use the network stay the same
    hasty.retry = replace(client.retry, tries=min(tries, client.retry.tries))
    return hasty

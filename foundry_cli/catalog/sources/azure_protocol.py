"""The two protocols of the Azure AI Foundry catalog, as requests and pages of answers.

v1 "crossRegion" has a server in each region, v2 "asset-gallery" is one address. The filters ask for neither device nor
execution provider, so that the list holds every variant, also those for providers that nobody here has heard of.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from foundry_cli.catalog.sources.azure_entry import model_of
from foundry_cli.catalog.sources.azure_regions import region_of
from foundry_cli.errors import OfflineError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, host_of
from foundry_cli.types import ModelInfo

logger = logging.getLogger("foundry.catalog")

HEADERS = {"User-Agent": "AzureAiStudio"}
"""Microsoft's servers answer 400 to any other user agent."""

PAGE_SIZE = 50  # entries; what the original asks for
MOST_PAGES = 1000
_LARGEST_PAGE = 64 * 1024 * 1024  # bytes

Cursor = tuple[int | None, str | None]
"""Where the next page begins: `nextSkip` and `continuationToken`."""


@dataclass(frozen=True)
class Listing:
    """What a catalog answered. `region` is None when it does not say; `skipped` entries could not be read."""

    models: list[ModelInfo]
    region: str | None = None
    skipped: int = 0


def is_gallery(url: str) -> bool:
    """Whether `url` speaks protocol v2."""
    return urlsplit(url).path.rstrip("/").endswith("/asset-gallery/v1.0/models")


def list_models(client: HttpClient, url: str, *, later: HttpClient | None = None) -> Listing:
    """All models of the catalog at `url`, each id once. `later` asks for the pages after the first, if given.

    Raises `SourceError`, also for a catalog without models, and `SourceUnreachableError`.
    """
    models: dict[str, ModelInfo] = {}
    skipped, region = 0, None
    for page_region, entries in _pages(client, later or client, url):
        region = region or page_region
        for entry in entries:
            model = model_of(entry)
            if model is None:
                skipped += 1
            else:
                models.setdefault(model.id.lower(), model)
    if skipped:
        logger.info("%d entries of the catalog at %s are no variants that can be used", skipped, host_of(url))
    if not models:
        raise SourceError(
            "No models were returned from the Azure Foundry catalog.",
            hint=f"{host_of(url)} answered, but with {skipped or 'no'} entries that cannot be used. Try again later.",
        )
    return Listing(list(models.values()), region, skipped)


def detect_region(client: HttpClient, gallery_url: str) -> str | None:
    """The region that serves this machine; None when it cannot be found out. Raises `OfflineError`."""
    try:
        headers, _ = ask(client, "POST", gallery_url, {"filters": [], "pageSize": 1})
    except OfflineError:
        raise
    except (SourceError, SourceUnreachableError):
        return None  # the default region is asked then
    return region_of(headers)


def ask(client: HttpClient, method: str, url: str, body: Any = None) -> tuple[Mapping[str, str], dict[str, Any]]:
    """The headers and the JSON object of an answer. Raises `SourceError` and `SourceUnreachableError`."""
    headers = {**HEADERS, **({"x-ms-use-full-service-contracts": "true"} if is_gallery(url) else {})}
    response, content = client.read(method, url, headers=headers, body=body, largest=_LARGEST_PAGE)
    if response.status_code >= 500:  # those after which `client` does not ask again
        raise SourceUnreachableError(f"{host_of(url)} answers with status {response.status_code}.")
    if response.status_code >= 400:
        raise SourceError(f"{host_of(url)} answers with status {response.status_code}.")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{host_of(url)} answers with something that is not JSON.") from error
    if not isinstance(document, dict):
        raise SourceError(f"{host_of(url)} answers with something that is not a JSON object.")
    return response.headers, document


def _pages(client: HttpClient, later: HttpClient, url: str) -> Iterator[tuple[str | None, list[Any]]]:
    """The region and the entries of each page: until one is empty, names no next one, or names one that was asked for."""
    cursor: Cursor = (None, None)
    asked = {cursor}
    for _ in range(MOST_PAGES):
        headers, document = ask(client, "POST", url, request_body(is_gallery(url), cursor))
        entries, cursor = read_page(document, url)
        if entries:
            yield region_of(headers), entries
        if not entries or cursor == (None, None) or cursor in asked:
            return
        asked.add(cursor)
        client = later
    logger.warning("the catalog at %s has more than %d pages; the others are left out", host_of(url), MOST_PAGES)


def request_body(is_gallery: bool, cursor: Cursor) -> dict[str, Any]:
    """The request for the page at `cursor`: in v2 for what may run on devices, in v1 for what carries the tag."""
    skip, token = cursor
    if not is_gallery:
        filters = [_TYPE, _KIND, _LATEST, _filter("annotations/tags/foundryLocal", "")]
        page = {"filters": filters, "pageSize": PAGE_SIZE, "skip": skip, "continuationToken": token}
        registry = {"resourceId": "azureml", "entityContainerType": "Registry"}
        return {"resourceIds": [registry], "indexEntitiesRequest": page}
    on_devices = _filter("annotations/systemCatalogData/deploymentOptions", "Foundry Local on Devices")
    filters = [_TYPE, _KIND, on_devices, _filter("annotations/archived", "true", "NotEquals"), _LATEST]
    following = {"skip": skip, "continuationToken": token}
    return {"filters": filters, "pageSize": PAGE_SIZE, **{key: value for key, value in following.items() if value is not None}}


def _filter(field: str, value: str, operator: str = "eq") -> dict[str, Any]:
    return {"field": field, "operator": operator, "values": [value]}


_TYPE, _KIND, _LATEST = _filter("type", "models"), _filter("kind", "Versioned"), _filter("labels", "latest")


def read_page(document: dict[str, Any], url: str) -> tuple[list[Any], Cursor]:
    """The entries of an answer and where the next page begins, whatever the protocol. Raises `SourceError`."""
    page = document.get("indexEntitiesResponse", document)
    entries = (page.get("value") or page.get("summaries") or _empty(page)) if isinstance(page, dict) else None
    if not isinstance(entries, list):
        raise SourceError(f"{host_of(url)} answers with something that is not a page of a catalog.")
    skip, token = page.get("nextSkip"), page.get("continuationToken")
    is_skip, is_token = type(skip) is int and skip > 0, isinstance(token, str) and bool(token)
    return entries, (skip if is_skip else None, token if is_token else None)


def _empty(page: dict[str, Any]) -> list[Any] | None:
    return [] if "value" in page or "summaries" in page else None

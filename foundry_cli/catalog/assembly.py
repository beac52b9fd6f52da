"""The catalog that the settings ask for: bundled model, mirrors in the order of the settings, Azure AI Foundry."""

from __future__ import annotations

from foundry_cli.catalog.catalog import Catalog
from foundry_cli.catalog.sources.azure import AzureSource, without_query
from foundry_cli.catalog.sources.base import CatalogSource
from foundry_cli.catalog.sources.bundled import BundledSource
from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.config import Config
from foundry_cli.paths import Paths

AZURE_LIST = "foundry.modelinfo.json"


def open_catalog(paths: Paths, config: Config) -> Catalog:
    """All sources of `config`; nothing is read yet."""
    sources: list[CatalogSource] = [BundledSource()]
    if config.mirrors:
        from foundry_cli.catalog.sources.mirror import MirrorSource  # lists are shown at once where nobody has added one

        sources += [MirrorSource(mirror.name, mirror.location, paths.catalogs) for mirror in config.mirrors]
    if config.is_azure_enabled:
        location = without_query(config.catalog_url or "")
        attempts = paths.catalogs / "azure.json"
        stored = StoredList(config.cache_path(paths) / AZURE_LIST, attempts, AzureSource.name, location=location)
        sources.append(AzureSource(stored, catalog_url=config.catalog_url, registry_url=config.registry_url))
    return Catalog(sources)

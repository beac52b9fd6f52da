"""The catalog: all sources as one list."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_cli.catalog.sources.base import CatalogSource
from foundry_cli.types import ModelInfo


class Catalog:
    """Models of all sources; of two with one id, the one of the earlier source counts."""

    def __init__(self, sources: Sequence[CatalogSource]) -> None:
        self._sources = sources

    def models(self) -> list[ModelInfo]:
        """Every model once, in the order of the sources."""
        models: dict[str, ModelInfo] = {}
        for source in self._sources:
            for model in source.models():
                models.setdefault(model.id.lower(), model)
        return list(models.values())

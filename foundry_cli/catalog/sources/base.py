"""The interface of a catalog source."""

from __future__ import annotations

from typing import Protocol

from foundry_cli.types import ModelInfo


class CatalogSource(Protocol):
    """A place that knows models."""

    def models(self) -> list[ModelInfo]:
        """Everything it knows; an empty list when it cannot be asked now."""

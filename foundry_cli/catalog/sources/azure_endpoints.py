"""Where Microsoft's services are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoints:
    """Where Microsoft's services are. `{region}` stands for the name of a region."""

    gallery: str = "https://api.catalog.azureml.ms/asset-gallery/v1.0/models"
    cross_region: str = "https://ai.azure.com/api/{region}/ux/v1.0/entities/crossRegion"
    registry: str = "https://{region}.api.azureml.ms"


MICROSOFT = Endpoints()

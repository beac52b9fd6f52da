"""Regions of Azure: which one answers, and which ones are asked when it does not."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from foundry_cli.errors import OfflineError, SourceUnreachableError

CATALOG_REGION = "eastus"
"""Where the catalog is asked when nothing is known."""

REGISTRY_REGION = "centralus"
"""Where the registry is asked when nothing is known."""

_PLACEHOLDER = "{region}"
_REGION = re.compile(r"[a-z][a-z0-9]{1,39}")
_CLUSTER = re.compile(rf"vienna-({_REGION.pattern})-\d+")

# Nearest first; those of one continent before those of another, as laws on where data may go ask for.
_NEIGHBOURS = {
    "australiaeast": ("australiasoutheast", "southeastasia", "eastasia", "japaneast", "westus2", "eastus"),
    "brazilsouth": ("southcentralus", "eastus", "eastus2", "centralus", "westus2", "westeurope"),
    "canadacentral": ("canadaeast", "eastus", "eastus2", "northcentralus", "centralus", "westus2"),
    "canadaeast": ("canadacentral", "eastus", "eastus2", "northcentralus", "centralus", "westus2"),
    "centralindia": ("southindia", "jioindiawest", "southeastasia", "uaenorth", "westeurope", "eastus"),
    "centralus": ("eastus2", "southcentralus", "northcentralus", "eastus", "westus2", "westeurope"),
    "eastasia": ("southeastasia", "japaneast", "koreacentral", "australiaeast", "westus2", "eastus"),
    "eastus": ("eastus2", "centralus", "southcentralus", "westus2", "westeurope"),
    "eastus2": ("eastus", "centralus", "southcentralus", "northcentralus", "westus2", "westeurope"),
    "francecentral": ("westeurope", "germanywestcentral", "northeurope", "switzerlandnorth", "uksouth", "eastus"),
    "germanywestcentral": ("westeurope", "francecentral", "switzerlandnorth", "northeurope", "swedencentral", "eastus"),
    "italynorth": ("switzerlandnorth", "germanywestcentral", "francecentral", "westeurope", "northeurope", "eastus"),
    "japaneast": ("japanwest", "koreacentral", "eastasia", "southeastasia", "westus2", "eastus"),
    "koreacentral": ("japaneast", "japanwest", "eastasia", "southeastasia", "westus2", "eastus"),
    "northcentralus": ("centralus", "southcentralus", "eastus2", "eastus", "westus2", "westeurope"),
    "northeurope": ("westeurope", "uksouth", "francecentral", "swedencentral", "germanywestcentral", "eastus"),
    "norwayeast": ("swedencentral", "northeurope", "westeurope", "germanywestcentral", "uksouth", "eastus"),
    "polandcentral": ("germanywestcentral", "westeurope", "swedencentral", "northeurope", "francecentral", "eastus"),
    "southafricanorth": ("westeurope", "uksouth", "uaenorth", "northeurope", "francecentral", "eastus"),
    "southcentralus": ("centralus", "eastus2", "northcentralus", "westus2", "eastus", "westeurope"),
    "southeastasia": ("eastasia", "australiaeast", "japaneast", "koreacentral", "westus2", "eastus"),
    "southindia": ("centralindia", "jioindiawest", "southeastasia", "uaenorth", "westeurope", "eastus"),
    "spaincentral": ("francecentral", "westeurope", "italynorth", "northeurope", "uksouth", "eastus"),
    "swedencentral": ("norwayeast", "northeurope", "westeurope", "germanywestcentral", "francecentral", "eastus"),
    "switzerlandnorth": ("germanywestcentral", "francecentral", "westeurope", "italynorth", "northeurope", "eastus"),
    "uaenorth": ("qatarcentral", "centralindia", "southindia", "westeurope", "southeastasia", "eastus"),
    "uksouth": ("ukwest", "northeurope", "westeurope", "francecentral", "swedencentral", "eastus"),
    "westeurope": ("northeurope", "francecentral", "germanywestcentral", "uksouth", "swedencentral", "eastus"),
    "westus": ("westus2", "westus3", "southcentralus", "centralus", "eastus", "eastus2"),
    "westus2": ("westus", "westus3", "southcentralus", "centralus", "eastus2", "eastus"),
    "westus3": ("westus2", "westus", "southcentralus", "centralus", "eastus2", "eastus"),
}
_ELSEWHERE = ("eastus", "westeurope", "southeastasia", "westus2", "centralus")

Answer = TypeVar("Answer")


def region_of(headers: Mapping[str, str]) -> str | None:
    """The region that an answer of the catalog names in its header; None when it names none."""
    match = _CLUSTER.search(headers.get("azureml-served-by-cluster", "").lower())
    return match.group(1) if match else None


def check_region(text: object) -> str | None:
    """`text` if it can be the name of a region, and so may become part of the name of a host; else None."""
    return text if isinstance(text, str) and _REGION.fullmatch(text) else None


def regions_from(first: str) -> list[str]:
    """`first`, its neighbours, and one of the others by chance: the order in which regions are asked."""
    near = [first, *(region for region in _NEIGHBOURS.get(first, _ELSEWHERE) if region != first)]
    return [*near, random.choice([region for region in _NEIGHBOURS if region not in near])]


def is_regional(address: str) -> bool:
    """Whether `address` says with `{region}` that there is one of it in each region."""
    return _PLACEHOLDER in address


def ask_regions(what: str, address: str, first: str, ask: Callable[[str], Answer]) -> tuple[str | None, Answer]:
    """The answer of the first region that gives one, and which it is; None for an `address` without regions.

    `ask` takes the address with the region in it. Raises `SourceUnreachableError` naming `what` and each region with
    its reason; any other error ends the search.
    """
    if not is_regional(address):
        return None, ask(address)
    reasons = []
    for region in regions_from(first):
        try:
            return region, ask(address.replace(_PLACEHOLDER, region))
        except OfflineError:
            raise
        except SourceUnreachableError as error:
            reasons.append(f"{region} ({_reason(error)})")
    raise SourceUnreachableError(
        f"{what} failed across {len(reasons)} regions: {', '.join(reasons)}.",
        hint="Check the network; a proxy must let *.api.azureml.ms, ai.azure.com and *.blob.core.windows.net through.",
    )


def _reason(error: SourceUnreachableError) -> str:
    """What follows the address in a message of `http.py`, shortened."""
    text = error.message.rstrip(".").split(" ", 1)[-1]
    return text.removeprefix("cannot be reached: ").removeprefix("answers with ")

"""Python `foundry-local-sdk` 1.x beside a service that runs already: loading is left to the service.

Arguments: the address of the service, that of a catalog, the directory with the models, one for other files, a model's id.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from foundry_local_sdk import Configuration, FoundryLocalManager


def main() -> None:
    """List, load and unload, through the objects that the SDK gives to programs."""
    url, catalog_url, cache, scratch, model_id = sys.argv[1:]
    configuration = Configuration(
        app_name="contract",
        app_data_dir=scratch,
        model_cache_dir=cache,
        web=Configuration.WebService(external_url=url),
        additional_settings={"AzureCatalogUri": catalog_url},
    )
    FoundryLocalManager.initialize(configuration)
    catalog = FoundryLocalManager.instance.catalog
    facts: dict[str, Any] = {"before": _ids(catalog.get_loaded_models())}
    model = catalog.get_model_variant(model_id)
    facts["model"] = [model.id, model.alias]
    model.load()
    facts["cached"] = _ids(catalog.get_cached_models())
    facts["loaded"] = _ids(catalog.get_loaded_models())
    facts["is_loaded"] = model.is_loaded
    model.unload()
    facts["after"] = _ids(catalog.get_loaded_models())
    print(json.dumps(facts))


def _ids(models: list[Any]) -> list[str]:
    return sorted(model.id for model in models)


if __name__ == "__main__":
    main()

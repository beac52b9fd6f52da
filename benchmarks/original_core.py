"""The web service of the original's core on a home directory, with a model that is in its cache; for `original.py`.

Runs in the environment of `foundry-local-sdk`. Writes where it listens, and ends when its standard input does.
"""

from __future__ import annotations

import sys

from foundry_local_sdk import Configuration, FoundryLocalManager


def main(home: str, model: str) -> None:
    """Load the model, and serve."""
    configuration = Configuration(
        app_name="foundry-bench",
        app_data_dir=home,
        web=Configuration.WebService(urls="http://127.0.0.1:0"),
        additional_settings={"DisableNonessentialTelemetry": "true"},
    )
    FoundryLocalManager.initialize(configuration)
    manager = FoundryLocalManager.instance
    variant = manager.catalog.get_model_variant(model)
    if variant is None:
        raise SystemExit(f"The original does not see the model {model}.")
    variant.load()
    manager.start_web_service()
    print(manager.urls[0], flush=True)
    sys.stdin.read()
    manager.stop_web_service()


if __name__ == "__main__":
    main(*sys.argv[1:])

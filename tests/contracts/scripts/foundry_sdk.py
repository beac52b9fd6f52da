"""Python `foundry-local-sdk` 0.3 to 0.5: from nothing to an answer, and all else. Arguments: an alias, another alias."""

from __future__ import annotations

import json
import sys
from typing import Any

import openai
from foundry_local import FoundryLocalManager


def main() -> None:
    """Start the service, download, load and ask; then everything else that the class offers."""
    alias, other = sys.argv[1:]
    manager = FoundryLocalManager(alias)
    facts: dict[str, Any] = {
        "is_running": manager.is_service_running(),
        "service_uri": manager.service_uri,
        "endpoint": manager.endpoint,
        "catalog": {model.id: model.alias for model in manager.list_catalog_models()},
        "info": _plain(manager.get_model_info(alias)),
        "unknown": manager.get_model_info("no-such-model"),
        "cache": manager.get_cache_location(),
        "cached": _ids(manager.list_cached_models()),
        "loaded": _ids(manager.list_loaded_models()),
        "answer": _ask(manager, alias),
    }
    manager.unload_model(alias)
    facts["loaded after unload"] = _ids(manager.list_loaded_models())
    facts["downloaded"] = manager.download_model(other).id
    facts["cached after download"] = _ids(manager.list_cached_models())
    facts["load answer"] = manager.load_model(other, ttl=60).id
    facts["loaded at the end"] = _ids(manager.list_loaded_models())
    facts["upgradeable"] = hasattr(manager, "is_model_upgradeable") and manager.is_model_upgradeable(other)
    manager.unload_model(other, force=True)
    print(json.dumps(facts))


def _ask(manager: FoundryLocalManager, alias: str) -> dict[str, Any]:
    client = openai.OpenAI(base_url=manager.endpoint, api_key=manager.api_key, max_retries=0)
    model = manager.get_model_info(alias).id
    question: Any = [{"role": "user", "content": "Hi"}]
    whole = client.chat.completions.create(model=model, messages=question)
    stream = client.chat.completions.create(model=model, messages=question, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    return {"whole": whole.choices[0].message.content, "stream": text}


def _ids(models: list[Any]) -> list[str]:
    return sorted(model.id for model in models)


def _plain(model: Any) -> dict[str, Any]:
    return {"id": model.id, "alias": model.alias, "uri": model.uri, "version": str(model.version)}


if __name__ == "__main__":
    main()

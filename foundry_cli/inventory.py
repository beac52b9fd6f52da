"""Every model that can be named: what the catalog knows joined with what is in the cache, and how a name is looked up."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from foundry_cli.catalog.catalog import Catalog
from foundry_cli.catalog.sources.bundled import BundledSource
from foundry_cli.errors import InvalidRequestError, ModelNotFoundError
from foundry_cli.store.cache import check_incomplete, scan_cache
from foundry_cli.types import DEVICES, ModelInfo, split_model_id, variant_order

FILTER_KEYS = ("device", "provider", "task", "alias")
_LONGEST_NAME = 200  # characters that are repeated in messages


class Inventory:
    """The models of one catalog and one cache directory, read from disk at every call."""

    def __init__(self, cache: Path, catalog: Catalog | None = None) -> None:
        self.cache = cache
        self._catalog = catalog or Catalog([BundledSource()])

    def models(self) -> list[ModelInfo]:
        """All models, by alias and then best variant first. Raises `CacheError`."""
        known = {model.id.lower(): model for model in self._catalog.models()}
        for cached in scan_cache(self.cache):
            model = known.setdefault(cached.id.lower(), cached)
            if not model.is_cached:  # the catalog describes it, the cache has it
                known[cached.id.lower()] = replace(model, path=cached.path, size_bytes=cached.size_bytes)
        return sorted(known.values(), key=lambda model: (model.alias.lower(), *variant_order(model)))

    def resolve(self, name: str, device: str | None = None) -> ModelInfo:
        """The model for an id, an id without version or an alias, in any case; `device` narrows an alias.

        Of an alias, the best variant that is on this machine. Raises `ModelNotFoundError` with suggestions.
        """
        models = self.models()
        wanted = name.strip().lower()
        for candidates in (
            [model for model in models if model.id.lower() == wanted],
            sorted((model for model in models if model.name.lower() == wanted), key=lambda model: -model.version),
            [model for model in models if model.alias.lower() == wanted and device in (None, model.device)],
        ):
            if candidates:
                return next((model for model in candidates if model.is_cached), candidates[0])
        if variants := [model for model in models if model.alias.lower() == wanted]:
            raise ModelNotFoundError(
                f"Model {name!r} has no variant for the device {device}.",
                hint=f"There is {', '.join(f'{model.id} ({model.device})' for model in variants)}.",
                param="device",
            )
        check_incomplete(self.cache, wanted)
        raise ModelNotFoundError.named(name[:_LONGEST_NAME], _near(wanted[:_LONGEST_NAME], models))


def _near(wanted: str, models: list[ModelInfo]) -> list[str]:
    base, _ = split_model_id(wanted)
    names = list(dict.fromkeys(name for model in models for name in (model.alias, model.name)))
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(base, lowered, n=3, cutoff=0.5)
    inside = [name for name in lowered if base and (base in name or name in base) and name not in near]
    return [lowered[name] for name in (near + inside)[:3]]


def filter_models(models: list[ModelInfo], text: str) -> list[ModelInfo]:
    """The models that `key=value` lets through: values in any case, `!` negates, a final `*` in an alias is a wildcard.

    Raises `InvalidRequestError` for an unknown key or value.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip().lower(), value.strip().lower()
    if not equals or key not in FILTER_KEYS or not value.removeprefix("!"):
        raise InvalidRequestError(
            f"{text!r} is not a filter.", hint=f"Write <key>=<value>; keys are {', '.join(FILTER_KEYS)}.", param="filter"
        )
    negated, value = value.startswith("!"), value.removeprefix("!")
    if key == "device" and value.upper() not in DEVICES:
        raise InvalidRequestError(f"{value!r} is not a device.", hint=f"Devices are {', '.join(DEVICES)}.", param="filter")
    return [model for model in models if _matches(model, key, value) != negated]


def _matches(model: ModelInfo, key: str, value: str) -> bool:
    fields = {
        "device": model.device,
        "provider": model.execution_provider,
        "task": model.task,
        "alias": model.alias,
    }
    if key == "task" and value == "chat":  # as the table shows it
        value = "chat-completion"
    actual = fields[key].lower()
    if key == "alias" and value.endswith("*"):
        return actual.startswith(value[:-1])
    return actual == value

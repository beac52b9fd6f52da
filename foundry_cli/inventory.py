"""Every model that can be named: what the catalog knows joined with what is in the cache, and how a name is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from foundry_cli.catalog.assembly import open_catalog
from foundry_cli.catalog.catalog import Catalog
from foundry_cli.catalog.sources.bundled import BundledSource
from foundry_cli.config import Config
from foundry_cli.errors import CacheError, InvalidRequestError, ModelInvalidError, ModelNotFoundError
from foundry_cli.paths import Paths
from foundry_cli.store.cache import CacheScan, PartialModel, check_incomplete, is_readable, scan
from foundry_cli.store.cache_marker import check_cache
from foundry_cli.store.manifest import UNREADABLE
from foundry_cli.types import DEVICES, EMBEDDINGS, OWN_SOURCE, ModelInfo, split_model_id, variant_order

FILTER_KEYS = ("device", "provider", "task", "alias")
_LONGEST_NAME = 200  # characters that are repeated in messages

Obstacle = Callable[[ModelInfo], str]
"""Why a model would not run here; "" when it would."""

COMPLETE, PARTIAL, DAMAGED = "complete", "partial", "damaged"


@dataclass(frozen=True)
class CacheEntry:
    """What is on this machine of one model. `state` is COMPLETE, PARTIAL or DAMAGED."""

    model: ModelInfo
    state: str
    done_bytes: int  # on disk
    total_bytes: int | None = None  # None: not known


@dataclass(frozen=True)
class CacheContents:
    """All that is on this machine, in the order of the list of models, and what cannot be read, in sentences."""

    entries: tuple[CacheEntry, ...]
    problems: tuple[str, ...] = ()


class Inventory:
    """The models of one catalog and one cache directory, read from disk at every call.

    A cache that cannot be read takes only its own models away: those that come with the program can still be used.
    """

    def __init__(
        self, cache: Path, catalog: Catalog | None = None, cache_id: str | None = None, *, is_set: bool = False
    ) -> None:
        """`cache_id` is what the marker in the directory must say, see `store.cache_marker`.

        `is_set`: the directory is not the default one, which may be missing.
        """
        self.cache = cache
        self._cache_id = cache_id
        self._is_set = is_set
        self.catalog = catalog or Catalog([BundledSource()])

    def scan(self) -> CacheScan:
        """What the cache directory holds. Raises `CacheError` when it is not available."""
        check_cache(self.cache, self._cache_id, is_set=self._is_set)
        return scan(self.cache)

    def cache_problem(self) -> CacheError | None:
        """Why the cache is not available; None when it is."""
        try:
            check_cache(self.cache, self._cache_id, is_set=self._is_set)
            is_readable(self.cache)
        except CacheError as error:
            return error
        return None

    def require_cache(self) -> None:
        """Raise `CacheError` when the cache is not available."""
        if problem := self.cache_problem():
            raise problem

    def models(self) -> list[ModelInfo]:
        """All models, by alias and then best variant first."""
        return self.models_and_problems()[0]

    def models_and_problems(self) -> tuple[list[ModelInfo], tuple[str, ...]]:
        """All models, and sentences about what of the cache could not be read."""
        found = self._scan_if_available()
        return self._merge(found), found.problems

    def contents(self) -> CacheContents:
        """What is on this machine, the bundled model included."""
        found = self._scan_if_available()
        known = _Known(self.catalog.models())
        entries = [_entry(model) for model in known.by_id.values() if model.is_cached]
        entries += [_entry(_joined(known, model)) for model in found.models]
        entries += [_partial_entry(known.by_id.get(partial.id.lower()), partial) for partial in found.partials]
        return CacheContents(tuple(sorted(entries, key=lambda entry: _order(entry.model))), found.problems)

    def _scan_if_available(self) -> CacheScan:
        """The scan; of a cache that is not available only the reason."""
        try:
            return self.scan()
        except CacheError as error:
            return CacheScan(problems=(f"{error.message} {error.hint or ''}".strip(),))

    def find_entries(self, name: str, device: str | None = None) -> list[CacheEntry]:
        """All of one model that is on this machine: by id, id without version, alias (all narrowed by `device`) or folder.

        Raises `CacheError`, and `ModelNotFoundError` when there is nothing.
        """
        entries = self.contents().entries
        wanted = name.strip().strip("/").lower()
        for candidates in (
            [entry for entry in entries if entry.model.id.lower() == wanted],
            sorted((e for e in entries if e.model.name.lower() == wanted), key=lambda entry: -entry.model.version),
            [entry for entry in entries if entry.model.alias.lower() == wanted],
            [entry for entry in entries if wanted in self._folders(entry)],
        ):
            if candidates := [entry for entry in candidates if _is_for(entry.model, device)]:
                chosen = next((entry for entry in candidates if entry.state == COMPLETE), candidates[0])
                return [entry for entry in entries if entry.model.id.lower() == chosen.model.id.lower()]
        self.require_cache()
        known = self.resolve(name, device)
        raise ModelNotFoundError(f"Model {known.id} is not in the cache.", hint=_LIST_HINT, param="model")

    def resolve(self, name: str, device: str | None = None, obstacle: Obstacle | None = None) -> ModelInfo:
        """The model for an id, an id without version or an alias, in any case, that is for `device`.

        Of an alias, the best variant that runs here (has no `obstacle`), rather one that is on this machine. Raises
        `ModelNotFoundError` with suggestions, and `CacheError` or `ModelInvalidError` when that is why there is none.
        """
        models = self.models()
        wanted = name.strip().lower()
        for candidates in (
            [model for model in models if model.id.lower() == wanted],
            sorted((model for model in models if model.name.lower() == wanted), key=lambda model: -model.version),
            [model for model in models if model.alias.lower() == wanted],
        ):
            if candidates := [model for model in candidates if _is_for(model, device)]:
                return _choose(candidates, obstacle)
        if variants := [model for model in models if wanted in (model.id.lower(), model.name.lower(), model.alias.lower())]:
            raise ModelNotFoundError(
                f"Model {name!r} has no variant for the device {device}.",
                hint=f"There is {', '.join(f'{model.id} ({model.device})' for model in variants)}.",
                param="device",
            )
        unreadable = self._explain_absence(wanted)
        error = ModelNotFoundError.named(name[:_LONGEST_NAME], _near(wanted[:_LONGEST_NAME], models))
        if unreadable:  # it may be in there
            raise ModelNotFoundError(error.message, hint=f"{unreadable[0]} {error.hint}", param=error.param)
        raise error

    def _merge(self, found: CacheScan) -> list[ModelInfo]:
        known = _Known(self.catalog.models())
        all_models = dict(known.by_id)
        for cached in found.models:
            key = cached.id.lower()
            if key not in all_models or not all_models[key].is_cached:  # of two copies the first that is complete counts
                all_models[key] = _joined(known, cached)
        return sorted(all_models.values(), key=_order)

    def _explain_absence(self, wanted: str) -> tuple[str, ...]:
        """Raise what is better to know than that there is no model called `wanted`; else tell what could not be read."""
        found = self.scan()
        for partial in found.partials:
            if wanted in (partial.id.lower(), split_model_id(partial.id)[0].lower()):
                raise _incomplete(partial)
        check_incomplete(self.cache, wanted)
        return found.problems

    def _folders(self, entry: CacheEntry) -> set[str]:
        """The names of the entry's folder, alone and below the cache directory."""
        if entry.model.root is None:
            return set()
        return {entry.model.root.name.lower(), entry.model.root.relative_to(self.cache).as_posix().lower()}


_LIST_HINT = "'foundry cache list' shows what is."


def open_inventory(paths: Paths, config: Config) -> Inventory:
    """What can be named with the settings `config`; nothing is read yet."""
    is_set = config.cache_directory is not None
    return Inventory(config.cache_path(paths), open_catalog(paths, config), config.cache_id, is_set=is_set)


def _is_for(model: ModelInfo, device: str | None) -> bool:
    """Whether `model` runs on `device`; of one that another server runs nobody knows."""
    return device is None or model.is_external or model.device == device


def _choose(candidates: list[ModelInfo], obstacle: Obstacle | None) -> ModelInfo:
    """The first that runs and is here; else the first that runs, that is here, or any."""
    running = [model for model in candidates if obstacle is None or not obstacle(model)]
    here = [model for model in running if model.is_cached] or running or [model for model in candidates if model.is_cached]
    return (here or candidates)[0]


def _order(model: ModelInfo) -> tuple[object, ...]:
    return (model.alias.lower(), *variant_order(model))


class _Known:
    """The models of the catalogs, by id and by name, both in lower case."""

    def __init__(self, models: Iterable[ModelInfo]) -> None:
        self.by_id = {model.id.lower(): model for model in models}

    @cached_property
    def newest_by_name(self) -> dict[str, ModelInfo]:
        """Of each name the newest version; what comes with the program is no version of anything else."""
        in_order = sorted((model for model in self.by_id.values() if not model.is_bundled), key=lambda model: model.version)
        return {model.name.lower(): model for model in in_order}


def _joined(known: _Known, cached: ModelInfo) -> ModelInfo:
    """The catalog describes it, the cache has it: a copy of what comes with the program is a model like others.

    With a manifest of something else the cache describes it itself: an own model, say, whose id another one has, too.
    """
    model = known.by_id.get(cached.id.lower())
    if model is None:
        newest = None if cached.is_managed else known.newest_by_name.get(cached.name.lower())
        return _like_another_version(newest, cached) if newest else cached
    if cached.is_managed and (cached.source == OWN_SOURCE or (cached.uri and model.uri and cached.uri != model.uri)):
        return cached
    return replace(
        model,
        path=cached.path,
        root=cached.root,
        size_bytes=cached.size_bytes or model.size_bytes,
        is_managed=cached.is_managed,
        problem=cached.problem,
        is_bundled=False,
        task=EMBEDDINGS if cached.makes_embeddings else model.task,
    )


def _like_another_version(newest: ModelInfo, cached: ModelInfo) -> ModelInfo:
    """What was put into the cache without a manifest, by the original for example, when catalogs only have another version.

    It goes on to be found by its alias, and to be what it is.
    """
    return replace(
        newest,
        name=cached.name,
        version=cached.version,
        size_bytes=cached.size_bytes,
        prompt_template=cached.prompt_template or newest.prompt_template,
        uri=cached.uri,
        context_length=cached.context_length or newest.context_length,
        created=cached.created,
        min_version=None,
        source=cached.source,
        path=cached.path,
        root=cached.root,
        problem=cached.problem,
        task=EMBEDDINGS if cached.makes_embeddings else newest.task,
    )


def _entry(model: ModelInfo) -> CacheEntry:
    return CacheEntry(model, DAMAGED if model.problem else COMPLETE, model.size_bytes, model.size_bytes)


def _partial_entry(known: ModelInfo | None, partial: PartialModel) -> CacheEntry:
    name, version = split_model_id(partial.id)
    model = replace(known or ModelInfo(name, version or 0, name), path=None, root=partial.root, is_bundled=False)
    total = partial.total_bytes or (known.size_bytes if known else 0) or None
    return CacheEntry(model, PARTIAL, partial.done_bytes, total)


def _incomplete(partial: PartialModel) -> ModelInvalidError:
    model = _partial_entry(None, partial).model
    return ModelInvalidError(f"{model.id} is not complete.", hint=way_out(model, PARTIAL), param="model")


def is_repairable(model: ModelInfo) -> bool:
    """Whether it is known what the files of a cached model were, and where they could be fetched."""
    return model.source != OWN_SOURCE and model.is_managed


def way_out(model: ModelInfo, state: str, problem: str = "") -> str:
    """What can be done about a model that is PARTIAL or DAMAGED; `problem`: what was found, if more is known than it says."""
    if UNREADABLE in (problem or model.problem):
        return f"Check the disk, and who may read {model.root}."
    deletion = f"'foundry cache remove {model.id}' deletes it."
    if state == PARTIAL and model.source != OWN_SOURCE:
        return f"'foundry model download {model.id}' goes on with it, {deletion}"
    if state == PARTIAL:
        return f"Run the command that began it again (download, add or import); {deletion}"
    if is_repairable(model):
        return f"'foundry cache repair {model.id}' fetches again what is wrong, {deletion}"
    return f"It cannot be repaired. {deletion} Then download, add or import it again."


def check_sound(model: ModelInfo) -> None:
    """Raise `ModelInvalidError` with the problem of a damaged model and the way out."""
    if model.problem:
        what = "cannot be used" if UNREADABLE in model.problem else "is damaged"
        message = f"The model {model.id} {what}: {model.problem}."
        raise ModelInvalidError(message, hint=way_out(model, DAMAGED), param="model")


def _near(wanted: str, models: list[ModelInfo]) -> list[str]:
    import difflib

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

"""From what was typed to a model: first what is on this machine, then the catalogs, then Hugging Face."""

from __future__ import annotations

from foundry_cli.cli import output
from foundry_cli.cli.inventory import external_models, local_inventory, local_machine
from foundry_cli.errors import CacheError, InvalidRequestError, ModelNotFoundError, SourceUnreachableError
from foundry_cli.inventory import Inventory, check_sound
from foundry_cli.types import ModelInfo

_HUGGING_FACE = "huggingface"  # the source; its module is not loaded for other models


def find_model(name: str, device: str | None) -> ModelInfo:
    """The model that `name` means, on this machine or not. The network is asked only for what is not here.

    Raises `ModelNotFoundError`, and for a reference to Hugging Face `DownloadError` and its kinds, and `CacheError` when its
    place is taken, by another revision for example.
    """
    model = find_model_to_show(name, device)
    if model.source == _HUGGING_FACE and model.root is None:
        _check_id(model, name.strip())
    return model


def find_model_to_show(name: str, device: str | None) -> ModelInfo:
    """As `find_model`, also one whose place in the cache is taken."""
    if name.strip().lower().startswith("hf:"):
        return _find_on_hugging_face(name)
    if external := [model for model in external_models() if model.id.lower() == name.strip().lower()]:
        return external[0]
    try:
        known = local_inventory().resolve(name, device, local_machine().obstacle)
    except ModelNotFoundError:
        return local_inventory(is_fresh=True).resolve(name, device, local_machine().obstacle)
    if known.source == "local":  # nobody can be asked for its files
        check_sound(known)
    return known


def find_cached_model(name: str, device: str | None) -> ModelInfo:
    """As `find_model`, for a model that must be here, or external. Raises `ModelNotFoundError` with the way to get it."""
    model = find_model(name, device)
    check_sound(model)
    if not model.is_cached and not model.is_external:
        raise ModelNotFoundError(
            f"Model {model.id} is not on this machine.", hint=f"'foundry model download {name}' fetches it.", param="model"
        )
    return model


def find_local_model(name: str, device: str | None) -> ModelInfo:
    """As `find_cached_model`, for a model that must be here. Raises `InvalidRequestError` for an external one."""
    model = find_cached_model(name, device)
    check_own(model)
    return model


def check_own(model: ModelInfo) -> None:
    """Raise `InvalidRequestError` for a model that another server runs."""
    if model.is_external:
        raise InvalidRequestError(
            f"The model {model.id} is run by another server, {model.uri}, so nothing of it is on this machine.",
            hint="'foundry model run' and programs can use it; 'foundry provider list' shows where it is.",
        )


def check_writes(model: ModelInfo) -> None:
    """Raise `InvalidRequestError` for a model that makes embeddings, and writes no text."""
    if model.makes_embeddings:
        raise InvalidRequestError(
            f"The model {model.id} makes embeddings only, so nobody can talk to it.",
            hint="Programs send texts for it to /v1/embeddings; 'foundry model list --type chat' shows models to talk to.",
        )


def _find_on_hugging_face(name: str) -> ModelInfo:
    """The cached model that `name` means, or what the source says. The network is asked unless the cache can tell."""
    from foundry_cli.catalog.sources.huggingface import commit_of, is_same_model, parse_reference
    from foundry_cli.cli.download import Downloads

    downloads = Downloads()
    reference = parse_reference(name)
    cached = _cached(downloads.inventory)
    here = next((model for model in cached if reference and reference.means(model.uri)), None)
    if here is not None:
        return here
    try:
        model = downloads.inventory.catalog.find_reference(name, downloads.client)
    except SourceUnreachableError as error:
        possible = [each for each in cached if reference and each.is_cached and reference.may_mean(each)]
        if len(possible) != 1:
            raise
        output.note(f"{error.message} {possible[0].id} is here, at the revision {commit_of(possible[0].uri)}.")
        return possible[0]
    if model is None:
        raise ModelNotFoundError.named(name)
    return next((each for each in cached if is_same_model(model.uri, each.uri)), model)


def _cached(inventory: Inventory) -> list[ModelInfo]:
    """What the cache says of its own models, damaged ones last: catalogs may describe another revision."""
    try:
        return sorted(inventory.scan().models, key=lambda model: not model.is_cached)
    except CacheError:  # is said by whatever needs the cache
        return []


def _check_id(model: ModelInfo, name: str) -> None:
    """Raise `CacheError` when another model has the id of `model`, which is not on this machine."""
    from foundry_cli.catalog.sources.huggingface import commit_of, is_same_model

    inventory = local_inventory()
    for other in (*_cached(inventory), *inventory.catalog.models()):
        if other.id.lower() != model.id.lower() or is_same_model(model.uri, other.uri):
            continue
        hint = f"'foundry cache remove {other.id}' makes room for it." if other.root and not other.is_bundled else None
        if is_same_model(model.uri, other.uri, any_commit=True):
            at, wanted = commit_of(other.uri), commit_of(model.uri)
            where = "in the cache" if other.root else f"in the catalog {other.source}"
            raise CacheError(f"{model.id} is {where} at the revision {at}, {name} is {wanted}.", hint=hint)
        raise CacheError(f"{model.id} is the id of another model, so {name} cannot be put into the cache.", hint=hint)

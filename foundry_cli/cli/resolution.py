"""From what was typed to a model: first what is on this machine, then the catalogs, then Hugging Face."""

from __future__ import annotations

from foundry_cli.cli.inventory import local_inventory, local_machine
from foundry_cli.errors import ModelNotFoundError
from foundry_cli.inventory import check_sound
from foundry_cli.types import ModelInfo


def find_model(name: str, device: str | None) -> ModelInfo:
    """The model that `name` means, on this machine or not. The network is asked only for what is not here.

    Raises `ModelNotFoundError`, and `DownloadError` for a name that only Hugging Face can know.
    """
    if name.strip().lower().startswith("hf:"):
        return _find_on_hugging_face(name)
    try:
        known = local_inventory().resolve(name, device, local_machine().obstacle)
    except ModelNotFoundError:
        return local_inventory(is_fresh=True).resolve(name, device, local_machine().obstacle)
    if known.source == "local":  # nobody can be asked for its files
        check_sound(known)
    return known


def find_cached_model(name: str, device: str | None) -> ModelInfo:
    """As `find_model`, for a model that must be on this machine. Raises `ModelNotFoundError` with the way to get it."""
    model = find_model(name, device)
    check_sound(model)
    if not model.is_cached:
        raise ModelNotFoundError(
            f"Model {model.id} is not on this machine.", hint=f"'foundry model download {name}' fetches it.", param="model"
        )
    return model


def _find_on_hugging_face(name: str) -> ModelInfo:
    from foundry_cli.catalog.sources.huggingface import parse_reference
    from foundry_cli.cli.download import Downloads

    downloads = Downloads()
    reference = parse_reference(name)
    cached = [model for model in downloads.inventory.models() if model.is_cached]
    here = next((model for model in cached if reference and reference.means(model.uri)), None)
    if here is not None:
        return here
    model = downloads.inventory.catalog.find_reference(name, downloads.client)
    if model is None:
        raise ModelNotFoundError.named(name)
    return next((each for each in cached if each.id == model.id), model)

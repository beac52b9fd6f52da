"""The work of `foundry provider add`, `list` and `remove`."""

from __future__ import annotations

import os
from typing import Any

from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import find_service
from foundry_cli.config import changing, load_config
from foundry_cli.errors import InvalidRequestError, ModelNotFoundError
from foundry_cli.external_models import (
    ExternalModel,
    key_problem,
    read_external_models,
    save_external_model,
    with_external_models,
)
from foundry_cli.paths import Paths


def absolute(path: str | None) -> str | None:
    """`path` as it is from everywhere."""
    return os.path.abspath(os.path.expanduser(path)) if path else path


def add(model: ExternalModel) -> str:
    """Put `model` into the settings, instead of another one of its name. Returns a remark about its key, or "".

    Raises `InvalidRequestError` when the name is that of another model, `ConfigError` when the key file cannot be used.
    """
    paths = Paths.from_environment()
    _check_free(model.name)
    if model.key_file is not None:
        model.read_key()
    save_external_model(paths, model)
    client = find_service(paths)
    known = client.take_over_providers() if client else [{"name": model.name, "problem": key_problem(model)}]
    return next((each["problem"] or "" for each in known if each["name"] == model.name), "")


def known() -> list[dict[str, Any]]:
    """All external models as the running service knows them, or as the settings say when none runs."""
    paths = Paths.from_environment()
    if client := find_service(paths):
        return client.providers()
    models = read_external_models(load_config(paths))
    return [{**model.fields(), "saved": True, "problem": key_problem(model)} for model in models]


def remove(name: str) -> None:
    """Take a model out of the settings, or end its registration with the service. Raises `ModelNotFoundError`."""
    paths = Paths.from_environment()
    with changing(paths):
        config = load_config(paths, environment=False)
        models = read_external_models(config)
        kept = [model for model in models if model.name.lower() != name.strip().lower()]
        if len(kept) < len(models):
            with_external_models(config, kept).save(paths)
    client = find_service(paths)
    if client and len(kept) < len(models):
        client.take_over_providers()
    is_registered = client is not None and _forget(client, name)
    if len(kept) == len(models) and not is_registered:
        hint = f"There is {', '.join(model.name for model in models) or 'none'}."
        raise ModelNotFoundError(f"There is no external model {name!r}.", hint=hint, param="name")


def _forget(client: ServiceClient, name: str) -> bool:
    if all(each["name"].lower() != name.strip().lower() for each in client.providers()):
        return False
    client.forget_provider(name)
    return True


def _check_free(name: str) -> None:
    """Raise `InvalidRequestError` when a model of this machine or a catalog has that name."""
    from foundry_cli.cli.inventory import local_inventory

    wanted = name.lower()
    for model in local_inventory().models():
        if wanted in (model.id.lower(), model.name.lower(), model.alias.lower()):
            raise InvalidRequestError(f"{name!r} is the name of the model {model.id}.", hint="Give another name.", param="name")

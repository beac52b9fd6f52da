"""Names of own models: which ones may be given, and that none is given twice."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.errors import InvalidRequestError
from foundry_cli.types import ModelInfo, split_model_id

LONGEST_NAME = 100  # characters
_NAMELESS = frozenset({"model", "models", "onnx", "out", "output"})  # folders as tools call them
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RULE = f"Use letters, digits, '.', '_' and '-', at most {LONGEST_NAME} of them, beginning with a letter or a digit."


@dataclass(frozen=True)
class Identity:
    """What a model is called."""

    name: str
    version: int
    alias: str

    @property
    def id(self) -> str:
        """The full name, `name:version`."""
        return f"{self.name}:{self.version}"


def make_identity(name: str | None, alias: str | None, suggestion: str) -> Identity:
    """`name`, or else a name made of `suggestion`, both with or without a version (then 1); the alias is the name unless given.

    Raises `InvalidRequestError`.
    """
    base, version = _split(name) if name is not None else _made_of(suggestion)
    return Identity(_checked(base, "name"), version, _checked(alias, "alias") if alias is not None else base)


def has_own_name(folder: Path) -> bool:
    """Whether the name of `folder` says something about the model in it."""
    return folder.name.lower() not in _NAMELESS


def name_of_folder(folder: Path) -> str:
    """The name of a folder for its model; that of the one above when it says nothing."""
    return folder.name if has_own_name(folder) else folder.parent.name


def is_damaged(model: ModelInfo) -> bool:
    """Whether `model` is an own one that cannot be used, so that another may take its id; a catalog can repair its own."""
    return bool(model.problem) and model.source == "local"


def check_unused(identity: Identity, known: Iterable[ModelInfo]) -> None:
    """Raise `InvalidRequestError` when a model of `known` has the id, or another one on this machine answers to the alias.

    Damaged own models do not count.
    """
    names = {identity.name.lower(), identity.alias.lower()}
    for model in known:
        if is_damaged(model):
            continue
        if model.id.lower() == identity.id.lower():
            raise InvalidRequestError(
                f"There is a model {model.id} already.",
                hint=f"Give another name or version, such as --name {identity.name}:{identity.version + 1}.",
                param="name",
            )
        taken = names & {model.alias.lower(), model.name.lower()}
        if taken and model.is_cached and model.name.lower() != identity.name.lower():
            removal = "" if model.is_bundled else f", or remove that one with 'foundry cache remove {model.id}'"
            raise InvalidRequestError(
                f"The model {model.id} answers to {min(taken)!r} already.",
                hint=f"Give another --name or --alias{removal}.",
                param="alias",
            )


def _split(text: str) -> tuple[str, int]:
    base, version = split_model_id(text)
    if version == 0:
        raise InvalidRequestError(f"{text!r} has the version 0; versions begin with 1.", param="name")
    return base, version or 1


def _checked(text: str, param: str) -> str:
    if len(text) > LONGEST_NAME or not _NAME.fullmatch(text):
        raise InvalidRequestError(f"{text[:LONGEST_NAME]!r} cannot be the {param} of a model.", hint=_RULE, param=param)
    return text


def _made_of(suggestion: str) -> tuple[str, int]:
    """`suggestion`, the name of a folder or one of an earlier life, without what a name may not have."""
    base, version = split_model_id(suggestion)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-._")[:LONGEST_NAME]
    if not name:
        message = f"{suggestion!r} does not give a name for the model."
        raise InvalidRequestError(message, hint="Give one with --name.", param="name")
    return name, version or 1

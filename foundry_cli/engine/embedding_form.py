"""How one vector is made of those of all tokens: as the files of Sentence Transformers say that lie beside the model.

Formats: modules.json and 1_Pooling/config.json of https://sbert.net. Without them it is the vector of the last token, scaled
to length 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundry_cli.embedding_config import MODULES, POOLING
from foundry_cli.engine.model_files import read_json
from foundry_cli.errors import ModelInvalidError

_LARGEST_MODULES = 1 << 20  # bytes
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")

States = NDArray[np.float32]
"""Shape (tokens, size): the hidden states behind the last layer."""


class Pooling(str, Enum):
    """Of which tokens the vector is made; the values are those of `pooling_mode` in 1_Pooling/config.json."""

    last = "lasttoken"
    mean = "mean"
    first = "cls"


_OLDER_KEYS = {
    "pooling_mode_lasttoken": Pooling.last,
    "pooling_mode_mean_tokens": Pooling.mean,
    "pooling_mode_cls_token": Pooling.first,
}


@dataclass(frozen=True)
class EmbeddingForm:
    """What becomes of the hidden states of a text."""

    pooling: Pooling = Pooling.last
    is_normalized: bool = True  # scaled to length 1


def read_form(directory: Path) -> EmbeddingForm:
    """What the files in `directory` say. Raises `ModelInvalidError` for what is damaged, or not computed here."""
    kinds = _module_kinds(directory / MODULES)
    folder = directory / POOLING
    is_there = not folder.is_symlink() and (folder / "config.json").exists()
    if kinds and "Pooling" in kinds and not is_there:
        raise ModelInvalidError(f"{POOLING}/config.json, which {MODULES} names, is missing in {directory}.", hint=_HINT)
    pooling = _read_pooling(folder / "config.json") if is_there else Pooling.last
    return EmbeddingForm(pooling, is_normalized=kinds is None or "Normalize" in kinds)


_HINT = "Copy or download the model again, with all of its files."


def _module_kinds(path: Path) -> list[str] | None:
    """The kinds of the parts in modules.json, None when it is not there."""
    if not path.is_file() or path.is_symlink():
        return None
    try:
        if path.stat().st_size > _LARGEST_MODULES:
            raise ValueError("it is too large")
        kinds = [str(entry["type"]).rpartition(".")[2] for entry in json.loads(path.read_bytes())]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelInvalidError(f"{path} is damaged: {error}", hint=_HINT) from error
    if unknown := [kind for kind in kinds if kind not in _KNOWN_MODULES]:
        raise ModelInvalidError(f"{path} names a part {unknown[0][:40]!r}, which is not computed here.")
    return kinds


def _read_pooling(path: Path) -> Pooling:
    config = read_json(path)
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    mode = _OLDER_KEYS.get(chosen[0]) if len(chosen) == 1 else _newer_mode(config)
    if mode is None:
        known = ", ".join(kind.value for kind in Pooling)
        raise ModelInvalidError(f"{path} asks for another kind of pooling than {known}, or for several.")
    return mode


def _newer_mode(config: dict[str, Any]) -> Pooling | None:
    mode = config.get("pooling_mode")
    return next((kind for kind in Pooling if kind.value == mode), None)


class PooledStates:
    """One vector of hidden states that come piece by piece."""

    def __init__(self, pooling: Pooling) -> None:
        self._pooling = pooling
        self._vector: NDArray[np.float64] | None = None
        self._count = 0  # of tokens in it

    def add(self, states: States) -> None:
        """The states of the tokens that follow, at least one."""
        if self._pooling is Pooling.mean:
            total = states.sum(axis=0, dtype=np.float64)
            self._vector = total if self._vector is None else self._vector + total
            self._count += len(states)
        elif self._pooling is Pooling.last or self._vector is None:
            self._vector = states[-1 if self._pooling is Pooling.last else 0].astype(np.float64)
            self._count = 1

    def vector(self) -> NDArray[np.float64]:
        """The vector of all tokens."""
        assert self._vector is not None
        return self._vector / self._count

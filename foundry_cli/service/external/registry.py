"""The external models that the service knows: those of the settings, and those registered for as long as it runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from foundry_cli.errors import ForbiddenError, QueueFullError
from foundry_cli.external_models import ExternalModel, key_problem
from foundry_cli.types import ModelInfo

_MOST_REGISTERED = 100


class ExternalModels:
    """All of them, by name in any case. Belongs to one event loop."""

    def __init__(self, saved: Iterable[ExternalModel] = (), *, is_offline: bool = False) -> None:
        self._registered: dict[str, ExternalModel] = {}
        self.take_over(saved, is_offline=is_offline)

    def take_over(self, saved: Iterable[ExternalModel], *, is_offline: bool) -> None:
        """Use the settings `saved` from now on. `is_offline`: other machines are not asked."""
        self._saved = {model.name.lower(): model for model in saved}
        self.is_offline = is_offline

    def all(self) -> list[ExternalModel]:
        """Each once; of two with one name, that of the settings."""
        return list({**self._registered, **self._saved}.values())

    def infos(self) -> list[ModelInfo]:
        """All of them as items of the lists of models."""
        return [model.info() for model in self.all()]

    def find(self, name: str) -> ExternalModel | None:
        """The one called `name`."""
        key = name.strip().lower()
        return self._saved.get(key) or self._registered.get(key)

    def register(self, model: ExternalModel) -> None:
        """Know `model` until the service ends. Raises `ForbiddenError` when the settings say something else of that name."""
        key = model.name.lower()
        if self._saved.get(key, model) != model:
            hint = f"'foundry provider remove {model.name}' takes it out of the settings."
            raise ForbiddenError(f"{model.name} is another model in the settings.", hint=hint)
        if key not in self._registered and len(self._registered) >= _MOST_REGISTERED:
            raise QueueFullError(f"{_MOST_REGISTERED} models are registered already.", hint="Restart the service.")
        self._registered[key] = model

    def forget(self, name: str) -> bool:
        """End a registration; False when there is none of that name."""
        return self._registered.pop(name.strip().lower(), None) is not None

    def fields(self) -> list[dict[str, Any]]:
        """All of them as JSON: whether each is `saved`, and its `problem` if its key cannot be read here."""
        return [
            {**model.fields(), "saved": model.name.lower() in self._saved, "problem": key_problem(model)}
            for model in self.all()
        ]

"""The model that comes with the program."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from foundry_cli.catalog.sources.base import SourceState
from foundry_cli.types import ModelInfo, split_model_id

BUNDLED_DIRECTORY = Path(__file__).parent.parent / "bundled" / "foundry-guide"

_ALIAS = "foundry-guide"
_CREATED = 1795132800  # 2026-11-20, the first version


class BundledSource:
    """`foundry-guide`, read from the installed package. `directory` may be another one, for tests."""

    def __init__(self, directory: Path = BUNDLED_DIRECTORY) -> None:
        self._directory = directory

    name = "bundled"

    @property
    def location(self) -> str:
        """The directory of the model."""
        return str(self._directory)

    def state(self) -> SourceState:
        """Never changes."""
        return SourceState(self.name, self.location, 1, None)

    def models(self) -> list[ModelInfo]:
        """The one bundled model."""
        return [_bundled_model(self._directory)]


@cache
def _bundled_model(directory: Path) -> ModelInfo:
    description = json.loads((directory / "inference_model.json").read_text(encoding="utf-8"))
    config = json.loads((directory / "genai_config.json").read_text(encoding="utf-8"))
    name, version = split_model_id(description["Name"])
    return ModelInfo(
        name=name,
        version=version or 0,
        alias=_ALIAS,
        display_name=_ALIAS,
        publisher="foundry-cli",
        size_bytes=sum(entry.stat().st_size for entry in directory.iterdir()),
        license="MIT",
        license_description="MIT License, as the program itself.",
        prompt_template=description["PromptTemplate"],
        uri=f"bundled://{_ALIAS}",
        provider_type="Bundled",
        context_length=config["model"]["context_length"],
        max_output_tokens=config["model"]["context_length"] // 2,
        created=_CREATED,
        path=directory,
        source=BundledSource.name,
        is_bundled=True,
    )

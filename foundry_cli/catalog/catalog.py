"""The catalog: all sources as one list, and the way from a model in it to its files."""

from __future__ import annotations

from collections.abc import Sequence

from foundry_cli.catalog.sources.base import CatalogSource, RemoteSource
from foundry_cli.errors import InvalidRequestError, SourceError
from foundry_cli.http import HttpClient, is_loopback
from foundry_cli.remote import RemoteModel
from foundry_cli.types import ModelInfo


class Catalog:
    """Models of all sources; of two with one id, the one of the earlier source counts."""

    def __init__(self, sources: Sequence[CatalogSource]) -> None:
        self.sources = tuple(sources)

    def models(self, source: str | None = None) -> list[ModelInfo]:
        """Every model once, in the order of the sources, or those of one source. Raises `InvalidRequestError`."""
        chosen = self.sources if source is None else (self.source(source),)
        models: dict[str, ModelInfo] = {}
        for each in chosen:
            for model in each.models():
                models.setdefault(model.id.lower(), model)
        return list(models.values())

    def source(self, name: str) -> CatalogSource:
        """The source called `name`. Raises `InvalidRequestError`."""
        found = next((source for source in self.sources if source.name.lower() == name.lower()), None)
        if found is None:
            names = ", ".join(source.name for source in self.sources)
            raise InvalidRequestError(f"There is no catalog {name!r}.", hint=f"There is {names}.", param="source")
        return found

    def stale(self, *, is_offline: bool) -> list[RemoteSource]:
        """The sources whose lists should be fetched again, and can be."""
        return [
            source
            for source in self.sources
            if isinstance(source, RemoteSource) and source.is_stale() and not (is_offline and not is_loopback(source.location))
        ]

    def find_reference(self, text: str, client: HttpClient) -> ModelInfo | None:
        """The model that `hf:owner/repo…` means, asked for over the network; None for another kind of name.

        Raises `DownloadError` and its kinds.
        """
        from foundry_cli.catalog.sources.huggingface import HuggingFaceSource, parse_reference

        reference = parse_reference(text)
        return HuggingFaceSource().resolve(reference, client) if reference else None

    def open(self, model: ModelInfo, client: HttpClient) -> RemoteModel:
        """The files of `model` at its source. Raises `DownloadError` and its kinds."""
        from foundry_cli.catalog.sources.huggingface import HuggingFaceSource

        if model.source == HuggingFaceSource.name:
            return HuggingFaceSource().open(model, client)
        for source in self.sources:
            if source.name == model.source and isinstance(source, RemoteSource):
                return source.open(model, client)
        if model.source not in ("", "local"):
            raise SourceError(
                f"The catalog {model.source!r}, from which {model.id} came, is not there any more.",
                hint="'foundry catalog add' adds it again. Or 'foundry cache remove' it, and download it from another.",
            )
        raise SourceError(
            f"There is no source that {model.id} could be fetched from.",
            hint="'foundry catalog list' shows the sources; models that were added by hand have none.",
        )

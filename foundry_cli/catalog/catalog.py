"""The catalog: all sources as one list, and the way from a model in it to its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from foundry_cli.catalog.sources.base import CatalogSource, RemoteSource
from foundry_cli.errors import DownloadCancelledError, DownloadError, InvalidRequestError, SourceError
from foundry_cli.http import HttpClient, is_loopback
from foundry_cli.remote import RemoteModel
from foundry_cli.types import OWN_SOURCE, ModelInfo


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

    def open(self, model: ModelInfo, client: HttpClient) -> tuple[ModelInfo, RemoteModel]:
        """The files of `model` at its source, or, when that does not give them, at the next one that has a model of its id.

        With the model, whose `source` and `uri` are then those of the other. Raises `DownloadError` and its kinds.
        """
        from foundry_cli.catalog.sources.huggingface import HuggingFaceSource

        if model.source == HuggingFaceSource.name:
            return model, HuggingFaceSource().open(model, client)
        failure: DownloadError | None = None
        for source, offered in self._offers(model):
            if failure is not None:
                client.tell(f"{failure.message} The catalog {source.name} has {model.id}, too.")
            try:
                return replace(model, source=offered.source, uri=offered.uri), source.open(offered, client)
            except DownloadCancelledError:
                raise
            except DownloadError as error:
                failure = failure or error
        raise failure or _no_source(model)

    def _offers(self, model: ModelInfo) -> Iterator[tuple[RemoteSource, ModelInfo]]:
        """The source that `model` is of, and others that have its id."""
        remote = [source for source in self.sources if isinstance(source, RemoteSource)]
        yield from ((source, model) for source in remote if source.name == model.source)
        if model.source in ("", OWN_SOURCE):
            return
        for source in remote:
            offered = [other for other in source.models() if other.id.lower() == model.id.lower()]
            if source.name != model.source and offered:
                yield source, offered[0]


def _no_source(model: ModelInfo) -> SourceError:
    if model.source not in ("", OWN_SOURCE):
        return SourceError(
            f"The catalog {model.source!r}, from which {model.id} came, is not there any more.",
            hint="'foundry catalog add' adds it again. Or 'foundry cache remove' it, and download it from another.",
        )
    return SourceError(
        f"There is no source that {model.id} could be fetched from.",
        hint="'foundry catalog list' shows the sources; models that were added by hand have none.",
    )

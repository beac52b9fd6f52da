"""The interface of a catalog source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from foundry_cli.http import HttpClient
from foundry_cli.remote import RemoteModel
from foundry_cli.types import ModelInfo


@dataclass(frozen=True)
class SourceState:
    """What a person may want to know about a source."""

    name: str
    location: str  # address or directory, without secrets
    models: int  # how many are known now
    refreshed: float | None  # Unix time of the stored list; None: there is none, or it needs none
    problem: str = ""  # why the last refresh failed


class CatalogSource(Protocol):
    """A place that knows models. `name` is what `--source` takes."""

    @property
    def name(self) -> str:
        """One word, unique among the sources."""

    @property
    def location(self) -> str:
        """Its address or directory, without secrets."""

    def models(self) -> list[ModelInfo]:
        """Everything it knows, from what is stored on this machine; never from the network."""

    def state(self) -> SourceState:
        """What is known about the source itself; never from the network."""


@runtime_checkable
class RemoteSource(CatalogSource, Protocol):
    """A source whose list comes over the network, or whose files must be fetched."""

    def is_stale(self) -> bool:
        """Whether the stored list is missing or old, and the last attempt is not too recent."""

    def refresh(self, client: HttpClient) -> None:
        """Fetch the list and store it. Raises `DownloadError` and its kinds; the stored list stays then."""

    def open(self, model: ModelInfo, client: HttpClient) -> RemoteModel:
        """The files of `model`, one of `models()`. Raises `DownloadError` and its kinds."""

"""The model registry of Azure: from the id of an asset to the blob container that holds its files."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from foundry_cli.catalog.sources.azure_protocol import ask
from foundry_cli.errors import SourceError
from foundry_cli.http import HttpClient, host_of, is_loopback
from foundry_cli.types import ModelInfo

_PATH = "/modelregistry/v1.0/registry/models/nonazureaccount"


def container_address(client: HttpClient, registry: str, model: ModelInfo) -> str:
    """The address of the container of `model`, with a signature that expires: never to be shown or stored.

    Raises `SourceError` and `SourceUnreachableError`.
    """
    url = f"{registry.rstrip('/')}{_PATH}?assetId={quote(model.uri, safe='')}"
    _, document = ask(client, "GET", url)
    address = document.get("blobSasUri")
    if not isinstance(address, str) or not is_usable(address, registry):
        raise SourceError(f"The registry {host_of(registry)} has no address for the files of {model.id}.")
    return address


def is_usable(address: str, registry: str) -> bool:
    """Whether files may be fetched from there: encrypted, unless both are servers of this machine."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    if is_loopback(address):
        return parts.scheme in ("http", "https") and is_loopback(registry)
    return parts.scheme == "https"

"""The work of `foundry catalog add`, `remove` and `refresh`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from foundry_cli.catalog.assembly import open_catalog
from foundry_cli.catalog.fetching import fetch_lists
from foundry_cli.catalog.sources.base import RemoteSource, SourceState
from foundry_cli.catalog.sources.mirror import MirrorSource
from foundry_cli.cli import output
from foundry_cli.client.supervisor import find_service
from foundry_cli.config import Config, MirrorSetting, changing, load_config, without_credentials
from foundry_cli.errors import ConfigError, InvalidRequestError
from foundry_cli.home import check_owner
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.mirror_index import INDEX
from foundry_cli.paths import Paths

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}(/|\Z)")
_TAKEN = ("azure", "bundled", "local", "huggingface", "hf")


def add_mirror(location: str, name: str | None) -> SourceState:
    """Put a mirror into the settings, after its list was read. Raises `InvalidRequestError`, `DownloadError`."""
    paths = Paths.from_environment()
    config = load_config(paths, environment=False)
    location = _checked_location(location)
    name = _checked_name(name or _name_of(location), [mirror.name for mirror in _others(config, location)])
    source = MirrorSource(name, location, paths.catalogs)
    source.refresh(_client(load_config(paths)))
    with changing(paths):
        config = load_config(paths, environment=False)  # again: the mirror may have taken its time
        others = _others(config, location)
        _checked_name(name, [mirror.name for mirror in others])
        replace(config, mirrors=(*others, MirrorSetting(name, location))).save(paths)
    _tell_service(paths)
    return source.state()


def _others(config: Config, location: str) -> tuple[MirrorSetting, ...]:
    """The mirrors at other places."""
    return tuple(mirror for mirror in config.mirrors if _without_index(mirror.location) != location)


def _without_index(location: str) -> str:
    """A mirror is named by its directory; people also name its index, or write a slash at the end."""
    if "?" in location:
        return location
    return location.removesuffix(f"/{INDEX}").rstrip("/") or location


def _tell_service(paths: Paths) -> None:
    """Let a running service take over the settings; loaded models stay loaded."""
    if service := find_service(paths):
        service.take_over_cache()


def _checked_location(text: str) -> str:
    if not text.strip():
        raise InvalidRequestError("The mirror has no location.", hint="Give a directory or an http(s) address.")
    if "://" not in text:
        if _HOST_AND_PORT.match(text) and not os.path.exists(text):
            raise InvalidRequestError(f"{text!r} is no directory.", hint=f"Write http://{text} if it is an address.")
        return _without_index(os.path.abspath(os.path.expanduser(text)))
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https", "file") and (parts.scheme == "file" or bool(parts.hostname))
        _ = parts.port
    except ValueError:
        is_address = False
    if not is_address:
        shown = without_credentials(text)
        raise InvalidRequestError(f"{shown!r} is not the address of a mirror.", hint="Give a directory or an http(s) address.")
    return _without_index(text)


def _name_of(location: str) -> str:
    parts = urlsplit(location)
    text = parts.hostname if parts.scheme in ("http", "https") else Path(parts.path).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text or "mirror").strip("-.") or "mirror"


def _checked_name(name: str, others: list[str]) -> str:
    if not _NAME.fullmatch(name) or name.lower() in _TAKEN:
        raise InvalidRequestError(f"{name!r} cannot be the name of a catalog.", hint="Give another with --name.", param="name")
    if name.lower() in [other.lower() for other in others]:
        raise InvalidRequestError(f"There is a catalog {name!r} already.", hint="Give another with --name.", param="name")
    return name


def remove_mirror(name: str) -> None:
    """Take a mirror out of the settings. Raises `InvalidRequestError`."""
    paths = Paths.from_environment()
    with changing(paths):
        config = load_config(paths, environment=False)
        kept = tuple(mirror for mirror in config.mirrors if mirror.name.lower() != name.lower())
        if len(kept) == len(config.mirrors):
            known = ", ".join(mirror.name for mirror in config.mirrors) or "none"
            hint = f"Added were: {known}."
            raise InvalidRequestError(f"There is no catalog {name!r} that was added.", hint=hint, param="name")
        replace(config, mirrors=kept).save(paths)
    for mirror in set(config.mirrors) - set(kept):
        with suppress(ConfigError):  # of what is no location nothing was stored
            MirrorSource(mirror.name, mirror.location, paths.catalogs).forget()
    _tell_service(paths)


def switch_azure(*, is_enabled: bool) -> None:
    """Use the catalog of Azure AI Foundry, or do not."""
    paths = Paths.from_environment()
    with changing(paths):
        config = load_config(paths, environment=False)
        if config.is_azure_enabled == is_enabled:
            return
        replace(config, is_azure_enabled=is_enabled).save(paths)
    _tell_service(paths)


def refresh(name: str | None) -> Iterator[tuple[SourceState, str]]:
    """Fetch the lists of all catalogs or of one, at the same time; each with what went wrong, or ""."""
    paths = Paths.from_environment()
    check_owner(paths)
    config = load_config(paths)
    catalog = open_catalog(paths, config)
    sources = catalog.sources if name is None else [catalog.source(name)]
    fetched = fetch_lists([source for source in sources if isinstance(source, RemoteSource)], _client(config))
    for source in sources:
        _, problem = next(fetched) if isinstance(source, RemoteSource) else (source, "")
        yield source.state(), problem


def _client(config: Config) -> HttpClient:
    """For a person who waits for the answer: who does not give one is asked no more than twice."""
    return HttpClient(is_offline=config.is_offline, retry=RetryPolicy(document_tries=2), on_wait=output.note)

"""Another cache directory: checks, settings, and the running service."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from foundry_cli import __version__
from foundry_cli.cli import output
from foundry_cli.cli.directories import given_directory
from foundry_cli.cli.lifecycle import restart_if_running
from foundry_cli.cli.output import Say, symbol
from foundry_cli.client.supervisor import find_hanging_service, find_service
from foundry_cli.config import Config, changing, load_config
from foundry_cli.errors import CacheError, InvalidRequestError, ServiceUnreachableError
from foundry_cli.paths import Paths
from foundry_cli.store.cache import check_writable
from foundry_cli.store.cache_marker import mark_cache


def switch_cache(directory: Path, say: Say = output.line) -> None:
    """Store `directory` in the settings; a running service uses it at once. Raises `CacheError`, `ConfigError`."""
    paths = Paths.from_environment()
    with changing(paths):
        with_cache(load_config(paths, environment=False), directory, paths).save(paths)
    hand_over(paths, say)


def with_cache(config: Config, directory: Path, paths: Paths) -> Config:
    """`config` with another cache, whose marker is written. Raises `CacheError`, `ServiceUnreachableError`."""
    check_answering(paths)
    # The default directory is made when it is missing, so it is never one that is not mounted.
    identity = None if directory == paths.default_cache else mark_cache(directory)
    return replace(config, cache_directory=directory, cache_id=identity)


def check_answering(paths: Paths) -> None:
    """Raise `ServiceUnreachableError` for a service that cannot be told of another cache: it would go on with the old one."""
    if find_service(paths) is None and find_hanging_service(paths) is not None:
        hint = "'foundry service restart' ends it and starts another; then give the command again."
        raise ServiceUnreachableError("The service is running and does not answer, so nothing was changed.", hint=hint)


def hand_over(paths: Paths, say: Say = output.line) -> None:
    """Let a running service use the cache of the settings; it keeps its loaded models."""
    client = find_service(paths)
    if client is None:
        return
    if client.record.version != __version__:  # it may not know how
        restart_if_running(paths, say)
        return
    client.take_over_cache()
    say(f"{symbol('🟢 ')}The running service uses the new directory; loaded models stay loaded.")


def checked_directory(text: str) -> Path:
    """A directory that can be the cache, made if it is missing; a note says when it can only be read.

    Raises `InvalidRequestError`, `CacheError`.
    """
    directory = given_directory(text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError("The name of the cache directory is not Unicode, so it cannot be stored.") from error
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise CacheError(f"{directory} is not a directory.")
    try:
        check_writable(directory)
    except CacheError as error:
        if not os.access(directory, os.R_OK | os.X_OK):
            raise
        output.note(f"{error.message} Its models can be used, and none can be added.")
    return directory

"""The work of `foundry service set`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foundry_cli.cli import output
from foundry_cli.cli.lifecycle import restart_if_running
from foundry_cli.config import check_log_level, load_config
from foundry_cli.errors import InvalidRequestError
from foundry_cli.paths import Paths


def change(given: dict[str, Any], *, show: bool) -> None:
    """Store what was given, and let a running service take it up."""
    paths = Paths.from_environment()
    config = load_config(paths, environment=False)
    if not given and not show:
        raise InvalidRequestError("No setting was given.", hint="See 'foundry service set --help'; --show shows the settings.")
    if given:
        config = replace(
            config,
            port=given.get("port", config.port),
            host=_host(given["host"]) if "host" in given else config.host,
            cache_directory=given["cachedir"].expanduser().absolute() if "cachedir" in given else config.cache_directory,
            log_level=check_log_level(given["log_level"], "--default-log-level") if "log_level" in given else config.log_level,
            ttl_seconds=given.get("ttl", config.ttl_seconds),
        )
        output.line("Saving new settings")
        config.save(paths)
        restart_if_running(paths)
    else:
        output.line("No settings changed")
    if show:
        output.document(config.to_document(paths))


def _host(text: str) -> str:
    if not text or any(character.isspace() or character in "/:@?#" for character in text.replace("::", "")):
        raise InvalidRequestError(f"{text!r} is not a host name or an address.", param="host")
    return text

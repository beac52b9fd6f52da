"""The work of `foundry service set`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foundry_cli.cli import output
from foundry_cli.cli.cache_location import checked_directory, hand_over, with_cache
from foundry_cli.cli.lifecycle import check_settings, restart_if_running
from foundry_cli.cli.output import Format
from foundry_cli.config import check_engine, check_log_level, load_config, with_environment, without_credentials
from foundry_cli.errors import ConfigError, InvalidRequestError
from foundry_cli.paths import Paths


def change(given: dict[str, Any], *, show: bool, output_format: Format) -> None:
    """Store what was given, and let a running service take it up; what cannot be used changes nothing."""
    paths = Paths.from_environment()
    config = load_config(paths, environment=False)
    if not given and not show:
        hint = "See 'foundry service set --help'; --show shows the settings."
        raise InvalidRequestError("No setting was given.", hint=hint)
    say = output.note if output_format is Format.json else output.line
    if given:
        config = replace(config, **_checked(given))
        if "cachedir" in given:
            config = with_cache(config, checked_directory(given["cachedir"]), paths)
        in_force = with_environment(config)
        check_settings(paths, in_force)
        say("Saving new settings")
        config.save(paths)
        if given.get("conversations") == 0:
            say("Conversations that were kept on disk are removed when the service starts.")
        if set(given) == {"cachedir"}:
            hand_over(paths, say)
        else:
            restart_if_running(paths, say)
    else:
        say("No settings changed")
    if show or output_format is Format.json:
        output.document(_without_passwords(config.to_document(paths)))


def _without_passwords(document: dict[str, Any]) -> dict[str, Any]:
    """The settings as they may be shown: addresses of mirrors can hold a password."""
    catalogs = document.get("catalogSettings") or {}
    mirrors = catalogs.get("mirrors")
    if not mirrors:
        return document
    shown = [{**mirror, "location": without_credentials(mirror["location"])} for mirror in mirrors]
    return {**document, "catalogSettings": {**catalogs, "mirrors": shown}}


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """The options as fields of `Config`. Raises `InvalidRequestError`."""
    names = {"port": "port", "ttl_seconds": "ttl", "conversation_megabytes": "conversations"}
    fields = {field: given.get(option) for field, option in names.items()}
    if "host" in given:
        fields["host"] = _host(given["host"])
    if "log_level" in given:
        fields["log_level"] = _log_level(given["log_level"])
    if "engine" in given:
        fields["engine"] = _engine(given["engine"])
    return {name: value for name, value in fields.items() if value is not None}


def _log_level(text: str) -> str:
    try:
        return check_log_level(text, "--default-log-level")
    except ConfigError as error:
        raise InvalidRequestError(error.message) from error


def _engine(text: str) -> str:
    try:
        return check_engine(text.lower(), "--engine")
    except ConfigError as error:
        raise InvalidRequestError(error.message) from error


def _host(text: str) -> str:
    if not text or any(character.isspace() or character in "/:@?#" for character in text.replace("::", "")):
        raise InvalidRequestError(f"{text!r} is not a host name or an address.", param="host")
    return text

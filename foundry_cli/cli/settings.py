"""The work of `foundry service set`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foundry_cli.cli import output
from foundry_cli.cli.cache_location import checked_directory, hand_over, with_cache
from foundry_cli.cli.lifecycle import check_settings, named_log_level, restart_if_running
from foundry_cli.cli.output import Format, Say
from foundry_cli.config import changing, check_engine, load_config, with_environment, without_credentials
from foundry_cli.errors import ConfigError, InvalidRequestError
from foundry_cli.paths import Paths


def change(given: dict[str, Any], *, show: bool, output_format: Format) -> None:
    """Store what was given, and let a running service take it up; what cannot be used changes nothing."""
    paths = Paths.from_environment()
    if not given and not show:
        hint = "See 'foundry service set --help'; --show shows the settings."
        raise InvalidRequestError("No setting was given.", hint=hint)
    say = output.note if output_format is Format.json else output.line
    if given:
        store(given, say)
    else:
        say("No settings changed")
    if show or output_format is Format.json:
        output.document(_without_passwords(load_config(paths, environment=False).to_document(paths)))


def store(given: dict[str, Any], say: Say) -> None:
    """Store settings, by the names of the options of `foundry service set`, and let a running service take them up.

    Raises `InvalidRequestError`, and what makes settings impossible to use.
    """
    paths = Paths.from_environment()
    with changing(paths):
        config = replace(load_config(paths, environment=False), **_checked(given))
        if "cachedir" in given:
            config = with_cache(config, checked_directory(given["cachedir"]), paths)
        check_settings(paths, with_environment(config))
        say("Saving new settings")
        config.save(paths)
    if given.get("conversations") == 0:
        say("Conversations that were kept on disk are removed when the service starts.")
    if set(given) == {"cachedir"}:
        hand_over(paths, say)
    else:
        restart_if_running(paths, say)


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
    names = {
        "port": "port",
        "ttl_seconds": "ttl",
        "idle_minutes": "idle_timeout",
        "conversation_megabytes": "conversations",
        "is_strict": "strict",
    }
    fields = {field: given.get(option) for field, option in names.items()}
    if "host" in given:
        fields["host"] = _host(given["host"])
    if "log_level" in given:
        fields["log_level"] = named_log_level(given["log_level"], "the log level")
    if "engine" in given:
        fields["engine"] = _engine(given["engine"])
    return {name: value for name, value in fields.items() if value is not None}


def _engine(text: str) -> str:
    try:
        return check_engine(text.lower(), "--engine")
    except ConfigError as error:
        raise InvalidRequestError(error.message) from error


def _host(text: str) -> str:
    if not text or any(character.isspace() or character in "/:@?#" for character in text.replace("::", "")):
        raise InvalidRequestError(f"{text!r} is not a host name or an address.", param="host")
    return text

"""The work of `foundry config`: each key, what it is in the settings, and how its value is read and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foundry_cli.cli import output, settings
from foundry_cli.cli.output import Format
from foundry_cli.config import Config, check_minutes, check_port, check_switch, load_config
from foundry_cli.errors import ConfigError, InvalidRequestError
from foundry_cli.paths import Paths

KEYS = ("port", "cache-directory", "log-level", "idle-timeout-minutes", "strict-fields")
_AUTO = "auto"


@dataclass(frozen=True)
class _Key:
    """A key. `option` is its name in `settings.store`; `default` is the value of a reset, as it is typed."""

    name: str
    option: str
    default: str
    shown: Callable[[Config], str]
    parse: Callable[[str], Any] = str


def _port(text: str) -> int:
    return 0 if text.lower() == _AUTO else check_port(text, "port")


def _minutes(text: str) -> int:
    return check_minutes(text, "idle-timeout-minutes")


def _is_on(text: str) -> bool:
    return check_switch({"true": True, "false": False}.get(text.lower(), text), "strict-fields")


def _keys(paths: Paths) -> tuple[_Key, ...]:
    port, cache, level, idle, strict = KEYS
    return (
        _Key(port, "port", _AUTO, lambda config: str(config.port or _AUTO), _port),
        _Key(cache, "cachedir", str(paths.default_cache), lambda config: str(config.cache_path(paths))),
        _Key(level, "log_level", Config.log_level, lambda config: config.log_level),
        _Key(idle, "idle_timeout", "0", lambda config: str(config.idle_minutes), _minutes),
        _Key(strict, "strict", "false", lambda config: str(config.is_strict).lower(), _is_on),
    )


def show(output_format: Format) -> None:
    """Print every key with its value, and whether that is somebody's choice."""
    paths = Paths.from_environment()
    config = load_config(paths)
    shown = [(key.name, key.shown(config), key.shown(config) != key.default) for key in _keys(paths)]
    if output_format is Format.json:
        output.record([{"key": name, "value": value, "userSet": is_set} for name, value, is_set in shown])
        return
    width = max(len(name) for name, _, _ in shown)
    for name, value, is_set in shown:
        output.line(f"{name:<{width}}  {value}{' (set)' if is_set else ''}")


def change(name: str, text: str | None, output_format: Format) -> None:
    """Store a value, or the default for None. Raises `InvalidRequestError`, and what `settings.store` raises."""
    key = _find(name)
    try:
        value = key.parse(key.default if text is None else text)
    except ConfigError as error:
        raise InvalidRequestError(error.message, param=key.name) from error
    settings.store({key.option: value}, output.note if output_format is Format.json else output.line)
    show(output_format)


def _find(name: str) -> _Key:
    keys = _keys(Paths.from_environment())
    found = next((key for key in keys if key.name == name.strip().lower()), None)
    if found is None:
        hint = f"There is {', '.join(key.name for key in keys)}."
        raise InvalidRequestError(f"There is no setting {name[:100]!r}.", hint=hint, param=name[:100])
    return found

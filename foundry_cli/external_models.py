"""Models that another server with OpenAI's interface runs: what they are called here, where they are, where the key is.

The key itself is in an environment variable or a file that only its owner can read, and is read when a request needs it.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from foundry_cli.config import Config, changing, load_config
from foundry_cli.errors import ConfigError, InvalidRequestError
from foundry_cli.http import host_of, is_loopback
from foundry_cli.paths import Paths
from foundry_cli.types import ModelInfo

SECTION = "externalModels"  # of foundry.config.json
SOURCE = "external"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_LONGEST_TEXT = 2000
_LARGEST_KEY = 16 * 1024  # bytes of a file


@dataclass(frozen=True)
class ExternalModel:
    """One model at one server. `url` is what OpenAI's clients call the base URL; at most one of the key's places is set."""

    name: str
    url: str
    model: str  # its name there
    provider: str = ""  # whose server it is, to be shown
    key_variable: str | None = None
    key_file: str | None = None
    is_insecure: bool = False  # plain http to another machine was asked for

    def __post_init__(self) -> None:
        """Raise `InvalidRequestError` naming what is wrong."""
        if not _NAME.fullmatch(self.name) or self.name.lower().startswith("hf:"):
            raise InvalidRequestError(f"{self.name[:80]!r} cannot be the name of a model.", param="name")
        for name, text in (("model", self.model), ("provider", self.provider)):
            if len(text) > _LONGEST_TEXT or not text.isprintable() or (name == "model" and not text.strip()):
                raise InvalidRequestError(f"{name}: {text[:80]!r} is not a name.", param=name)
        if self.key_variable is not None and self.key_file is not None:
            raise InvalidRequestError("The key is either in a variable or in a file.", param="apiKeyFile")
        if self.key_variable is not None and not _VARIABLE.fullmatch(self.key_variable):
            raise InvalidRequestError("apiKeyEnv is the name of an environment variable, not the key.", param="apiKeyEnv")
        object.__setattr__(self, "url", _checked_url(self.url, is_insecure=self.is_insecure))

    @property
    def host(self) -> str:
        """Scheme, host and port of its server."""
        return host_of(self.url)

    def info(self) -> ModelInfo:
        """It as an item of the lists of models."""
        return ModelInfo(
            self.name, 0, self.name, "CPU", display_name=self.name, publisher=self.provider or self.host, uri=self.url,
            provider_type="OpenAI", supports_tool_calling=True, source=SOURCE, is_external=True,
        )  # fmt: skip

    def fields(self) -> dict[str, Any]:
        """It as JSON."""
        return {
            "name": self.name,
            "url": self.url,
            "model": self.model,
            "provider": self.provider or None,
            "apiKeyEnv": self.key_variable,
            "apiKeyFile": self.key_file,
            "insecure": self.is_insecure,
        }

    def read_key(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The key; None when it needs none. Raises `ConfigError` when it is not in its place, or others can read it."""
        if self.key_variable is not None:
            key, place = environment.get(self.key_variable), f"the variable {self.key_variable}"
            hint = f"Set {self.key_variable} where the service is started; 'foundry service restart' takes it over."
        elif self.key_file is not None:
            key, place, hint = _read_private(Path(self.key_file)), f"the file {self.key_file}", "Put the key into it."
        else:
            return None
        key = (key or "").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(f"The key for the model {self.name} is not in {place}.", hint=hint)
        return key


def key_problem(model: ExternalModel) -> str | None:
    """Why the key of `model` cannot be used by this process; None when it can."""
    try:
        model.read_key()
    except ConfigError as error:
        return f"{error.message} {error.hint or ''}".strip()
    return None


def _checked_url(url: str, *, is_insecure: bool) -> str:
    """A base URL without a slash at its end; where it has no path, `/v1`. Raises `InvalidRequestError`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidRequestError(f"The base address cannot be used: {error}.", param="url") from error
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= _LONGEST_TEXT
    if (
        not is_plain
        or parts.scheme not in ("http", "https")
        or not host
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        hint = "Give what OpenAI's clients take as the base URL, such as https://api.example.com/v1, and the key apart."
        raise InvalidRequestError("The base address is not a plain http(s) address.", hint=hint, param="url")
    if parts.scheme == "http" and not is_loopback(url) and not is_insecure:
        hint = "Use https, or 'foundry provider add … --insecure' for a network that you trust."
        raise InvalidRequestError(f"{host_of(url)} is another machine, and http is not encrypted.", hint=hint, param="url")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/v1", "", ""))


def _read_private(path: Path) -> str:
    """The text of a file that only its owner can read. Raises `ConfigError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"The key file {path} is not a plain file.")
            if sys.platform != "win32" and (status.st_mode & 0o077 or status.st_uid != os.getuid()):
                raise ConfigError(f"Others can read the key file {path}.", hint=f"Run: chmod 600 {path}")
            return stream.read(_LARGEST_KEY).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read: {error.strerror}.") from error


def read_external_models(config: Config) -> tuple[ExternalModel, ...]:
    """The external models of the settings. Raises `ConfigError`."""
    entries = config.document.get(SECTION) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{SECTION} in foundry.config.json is not a list of objects.")
    return tuple(_from_entry(entry) for entry in entries)


def save_external_model(paths: Paths, model: ExternalModel) -> None:
    """Put `model` into the settings, instead of another one of its name. Raises `ConfigError`."""
    with changing(paths):
        config = load_config(paths, environment=False)
        others = [other for other in read_external_models(config) if other.name.lower() != model.name.lower()]
        with_external_models(config, [*others, model]).save(paths)


def with_external_models(config: Config, models: Iterable[ExternalModel]) -> Config:
    """`config` with `models` instead of those that it has."""
    entries = [{key: value for key, value in model.fields().items() if value} for model in models]
    rest = {key: value for key, value in config.document.items() if key != SECTION}
    return replace(config, document={**rest, SECTION: entries} if entries else rest)


def _from_entry(entry: dict[str, Any]) -> ExternalModel:
    texts = {key: entry.get(key) for key in ("name", "url", "model", "provider", "apiKeyEnv", "apiKeyFile")}
    if wrong := [key for key, value in texts.items() if value is not None and not isinstance(value, str)]:
        raise ConfigError(f"{wrong[0]} of an entry of {SECTION} in foundry.config.json is not a text.")
    try:
        return ExternalModel(
            texts["name"] or "",
            texts["url"] or "",
            texts["model"] or texts["name"] or "",
            texts["provider"] or "",
            texts["apiKeyEnv"],
            texts["apiKeyFile"],
            is_insecure=entry.get("insecure") is True,
        )
    except InvalidRequestError as error:
        raise ConfigError(f"An entry of {SECTION} in foundry.config.json cannot be used. {error.message}") from error

"""Settings: `foundry.config.json` (the original's schema, unknown keys kept) and the environment variables over it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foundry_cli.errors import ConfigError
from foundry_cli.home import explained, make_home, way_out
from foundry_cli.paths import Paths, write_atomically

DEFAULT_TTL_SECONDS = 600
LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "critical", "none")
"""Names of the levels 0 to 6 of `defaultLogLevel`, as in the original."""

ENGINES = ("auto", "batch", "genai")
"""Which engine runs a model: the batched one if it can, only that, or ONNX Runtime GenAI."""

DEFAULT_CONVERSATION_MEGABYTES = 1024

LONGEST_IDLE_MINUTES = 525_600  # a year

_PATIENCE_SECONDS = 30.0  # with another process that changes settings

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class MirrorSetting:
    """A catalog that was added with `foundry catalog add`: a directory, or the address of one on a web server."""

    name: str
    location: str


@dataclass(frozen=True)
class Config:
    """The settings in force. `document` is the file as read, so that keys of other programs survive a save."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: chosen by the system at the first start, then kept
    cache_directory: Path | None = None  # None: `Paths.default_cache`
    log_level: str = "info"
    ttl_seconds: int = DEFAULT_TTL_SECONDS
    idle_minutes: int = 0  # without a request, after which the service stops; 0: never
    api_key: str | None = None
    allowed_origins: tuple[str, ...] = ()
    allow_other_users: bool = False
    cache_id: str | None = None  # of the marker in a cache directory that was set, see `store.cache`
    is_offline: bool = False
    catalog_url: str | None = None  # None: the address of Azure AI Foundry
    registry_url: str | None = None
    is_azure_enabled: bool = True
    engine: str = "auto"  # one of `ENGINES`
    conversation_megabytes: int = DEFAULT_CONVERSATION_MEGABYTES  # that are kept on disk; 0: none
    is_strict: bool = False  # fields of requests that would be ignored are refused
    mirrors: tuple[MirrorSetting, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)

    def cache_path(self, paths: Paths) -> Path:
        """The cache directory in force."""
        return self.cache_directory or paths.default_cache

    def to_document(self, paths: Paths) -> dict[str, Any]:
        """The JSON document to store: the file as it was, with the settings of this object in it."""
        document = dict(self.document)
        document["defaultLogLevel"] = LOG_LEVELS.index(self.log_level)
        service = dict(_section(document, "serviceSettings"))
        service.update(
            host=self.host,
            port=self.port,
            cacheDirectoryPath=str(self.cache_path(paths)),
            schema=service.get("schema", "http"),
            pipeName=service.get("pipeName", "inference_agent"),
            defaultSecondsForModelTTL=self.ttl_seconds,
            initialConnectionTimeoutInSeconds=service.get("initialConnectionTimeoutInSeconds", 6),
        )
        if self.cache_id:
            service["cacheId"] = self.cache_id
        else:
            service.pop("cacheId", None)
        if self.idle_minutes:
            service["idleTimeoutMinutes"] = self.idle_minutes
        else:
            service.pop("idleTimeoutMinutes", None)
        document["serviceSettings"] = service
        document = _with_section(document, "requestSettings", {"strictFields": self.is_strict or None})
        return self._with_catalogs(self._with_engine(document))

    def _with_engine(self, document: dict[str, Any]) -> dict[str, Any]:
        given = {
            "engine": None if self.engine == "auto" else self.engine,
            "conversationMegabytes": (
                None if self.conversation_megabytes == DEFAULT_CONVERSATION_MEGABYTES else self.conversation_megabytes
            ),
        }
        return _with_section(document, "engineSettings", given)

    def _with_catalogs(self, document: dict[str, Any]) -> dict[str, Any]:
        given = {
            "offline": self.is_offline or None,
            "catalogUrl": self.catalog_url,
            "registryUrl": self.registry_url,
            "azure": None if self.is_azure_enabled else False,
            "mirrors": [{"name": mirror.name, "location": mirror.location} for mirror in self.mirrors] or None,
        }
        return _with_section(document, "catalogSettings", given)

    def save(self, paths: Paths) -> None:
        """Write the configuration file, atomically. Raises `ConfigError`."""
        text = json.dumps(self.to_document(paths), indent=2, ensure_ascii=False) + "\n"
        try:
            write_atomically(Path(os.path.realpath(paths.config_file)), text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            message = f"The configuration file {paths.config_file} cannot be written: {error.strerror}."
            raise ConfigError(message, hint=way_out(error, paths.config_file, paths)) from error


def load_config(paths: Paths, *, environment: bool = True) -> Config:
    """Read the file and put the environment over it. Raises `ConfigError` naming the wrong entry.

    `environment=False` gives the file alone: what a command that changes settings must save.
    """
    config = _from_document(_read_document(paths), paths)
    return with_environment(config) if environment else config


@contextmanager
def changing(paths: Paths) -> Iterator[None]:
    """Hold the settings while they are read, changed and saved, so that no change of another process is lost.

    Raises `ConfigError` when another one holds them for long, or they cannot be held, `ForbiddenError` when they are another's.
    """
    from filelock import FileLock, Timeout

    try:
        make_home(paths)
        held = FileLock(paths.run / "settings.lock", mode=0o600).acquire(timeout=_PATIENCE_SECONDS, poll_interval=0.02)
    except Timeout as error:
        raise ConfigError("Another process is changing the settings and does not come to an end.") from error
    except OSError as error:
        message, hint = explained(error, paths.run, paths)
        raise ConfigError(message, hint=hint) from error
    with held:
        yield


def _read_document(paths: Paths) -> dict[str, Any]:
    path = paths.config_file
    try:
        data = path.read_bytes()
        document = json.loads(data.decode(json.detect_encoding(data), "surrogateescape"))  # names of files may be anything
    except FileNotFoundError:
        return {}
    except OSError as error:
        hint = way_out(error, path, paths)
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error}", hint=_REMOVE_HINT) from error
    if not isinstance(document, dict):
        raise ConfigError(f"The configuration file {path} does not hold a JSON object.", hint=_REMOVE_HINT)
    return document


def _with_section(document: dict[str, Any], name: str, given: dict[str, Any]) -> dict[str, Any]:
    """`document` with the settings `given` in a section; those that are None, and an empty section, are left out."""
    section = {key: value for key, value in {**_section(document, name), **given}.items() if value is not None}
    rest = {key: value for key, value in document.items() if key != name}
    return {**rest, name: section} if section else rest


_REMOVE_HINT = "Correct the file, or move it away to start with the defaults."


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name} in foundry.config.json is not an object.", hint=_REMOVE_HINT)
    return value


def _from_document(document: dict[str, Any], paths: Paths) -> Config:
    service = _section(document, "serviceSettings")
    cache = service.get("cacheDirectoryPath")
    level = document.get("defaultLogLevel", 2)
    if not isinstance(level, int) or isinstance(level, bool) or not 0 <= level < len(LOG_LEVELS):
        raise ConfigError(f"defaultLogLevel in foundry.config.json is {level!r}; it goes from 0 to 6.")
    cache_path = Path(os.path.expanduser(str(cache))) if cache else None
    catalogs = _section(document, "catalogSettings")
    engine = _section(document, "engineSettings")
    return Config(
        host=str(service.get("host") or "127.0.0.1"),
        port=check_port(service.get("port", 0), "port in foundry.config.json"),
        cache_directory=None if cache_path == paths.default_cache else cache_path,
        log_level=LOG_LEVELS[level],
        ttl_seconds=check_ttl(service.get("defaultSecondsForModelTTL", DEFAULT_TTL_SECONDS), "defaultSecondsForModelTTL"),
        idle_minutes=check_minutes(service.get("idleTimeoutMinutes", 0), "idleTimeoutMinutes"),
        api_key=service.get("apiKey") or None,
        allowed_origins=_origins(service.get("allowedOrigins") or []),
        allow_other_users=service.get("allowOtherUsers") is True,
        cache_id=_optional_text(service.get("cacheId")),
        is_offline=catalogs.get("offline") is True,
        catalog_url=check_source_url(_optional_text(catalogs.get("catalogUrl")), "catalogUrl"),
        registry_url=check_source_url(_optional_text(catalogs.get("registryUrl")), "registryUrl"),
        is_azure_enabled=catalogs.get("azure") is not False,
        engine=check_engine(engine.get("engine", "auto"), "engine in foundry.config.json"),
        conversation_megabytes=check_megabytes(
            engine.get("conversationMegabytes", DEFAULT_CONVERSATION_MEGABYTES), "conversationMegabytes"
        ),
        is_strict=check_switch(_section(document, "requestSettings").get("strictFields", False), "strictFields"),
        mirrors=_mirrors(catalogs.get("mirrors") or []),
        document=document,
    )


def with_environment(config: Config, variables: Mapping[str, str] | None = None) -> Config:
    """`config` with the environment over it, in which `variables` take the place of others. Raises `ConfigError`."""
    environment = {**os.environ, **(variables or {})}
    if port := environment.get("FOUNDRY_PORT"):
        config = replace(config, port=check_port(port, "FOUNDRY_PORT"))
    if host := environment.get("FOUNDRY_HOST"):
        config = replace(config, host=host)
    if level := environment.get("FOUNDRY_LOG_LEVEL"):
        config = replace(config, log_level=check_log_level(level, "FOUNDRY_LOG_LEVEL"))
    if minutes := environment.get("FOUNDRY_IDLE_TIMEOUT"):
        config = replace(config, idle_minutes=check_minutes(minutes, "FOUNDRY_IDLE_TIMEOUT"))
    if key := environment.get("FOUNDRY_API_KEY"):
        config = replace(config, api_key=key)
    if url := environment.get("FOUNDRY_CATALOG_URL"):
        config = replace(config, catalog_url=check_source_url(url, "FOUNDRY_CATALOG_URL"))
    if url := environment.get("FOUNDRY_REGISTRY_URL"):
        config = replace(config, registry_url=check_source_url(url, "FOUNDRY_REGISTRY_URL"))
    if engine := environment.get("FOUNDRY_ENGINE"):
        config = replace(config, engine=check_engine(engine, "FOUNDRY_ENGINE"))
    if offline := environment.get("FOUNDRY_OFFLINE"):
        config = replace(config, is_offline=offline.lower() not in ("0", "false", "no", "off"))
    return config


def check_source_url(url: str | None, name: str) -> str | None:
    """An address of a catalog: https, or http on this machine. Raises `ConfigError` naming `name` otherwise."""
    from urllib.parse import urlsplit

    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"{name} is not an address: {error}") from error
    is_allowed = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK_HOSTS)
    if not is_allowed or not host or "@" in parts.netloc:
        shown = url if "@" not in url else "an address with a password"
        raise ConfigError(f"{name} is {shown!r}; it begins with https://, or with http:// on this machine only.")
    return url


def without_credentials(location: str) -> str:
    """`location` without user, password and query, to be shown."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        return location
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _optional_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _mirrors(value: object) -> tuple[MirrorSetting, ...]:
    entries: list[Any] = value if isinstance(value, list) else [None]
    if not all(isinstance(entry, dict) and _is_location(entry.get("location")) for entry in entries):
        raise ConfigError("mirrors in foundry.config.json is not a list of objects with a name and a location.")
    return tuple(MirrorSetting(str(entry.get("name") or entry["location"]), entry["location"]) for entry in entries)


def _is_location(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def check_port(value: object, name: str) -> int:
    """A TCP port as a number, 0 for "chosen by the system"; raises `ConfigError` naming `name` otherwise."""
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or int(text[:6]) > 65535:
        raise ConfigError(f"{name} is {value!r}; a port is a number from 0 to 65535.")
    return int(text)


def check_address(host: str) -> None:
    """Raise `ConfigError` for a host that nobody can listen on here."""
    import socket

    try:
        family, kind, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        hint = "Set another with 'foundry service set --host', or in FOUNDRY_HOST."
        raise ConfigError(f"The host {host[:100]!r} is not an address of this machine.", hint=hint) from error


def check_exposure(host: str, api_key: str | None) -> None:
    """Raise `ConfigError` for an address that others can reach when there is no API key."""
    if host not in LOOPBACK_HOSTS and not api_key:
        raise ConfigError(
            f"The service would be reachable by other machines on {host}, without an API key.",
            hint="Set FOUNDRY_API_KEY to a secret of your choice, or the host to 127.0.0.1: with "
            "'foundry service set --host 127.0.0.1', and without FOUNDRY_HOST if that is set.",
        )


def check_ttl(value: object, name: str) -> int:
    """Seconds of idleness before a model is unloaded: 1 to 10 years."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 315_360_000:
        raise ConfigError(f"{name} is {value!r}; it is a number of seconds, at least 1.")
    return value


def check_minutes(value: object, name: str) -> int:
    """Minutes as a number, 0 for "never", up to a year. Raises `ConfigError` naming `name` otherwise."""
    text = str(value)
    is_number = not isinstance(value, bool) and text.isascii() and text.isdigit() and len(text) < 10
    if not is_number or int(text) > LONGEST_IDLE_MINUTES:
        raise ConfigError(f"{name} is {value!r}; it is a number of minutes up to {LONGEST_IDLE_MINUTES}, 0 for never.")
    return int(text)


def check_switch(value: object, name: str) -> bool:
    """Whether something is on. Raises `ConfigError` naming `name` for what is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; it is true or false.")
    return value


def check_engine(value: object, name: str) -> str:
    """One of `ENGINES`. Raises `ConfigError` naming `name` otherwise."""
    if value not in ENGINES:
        raise ConfigError(f"{name} is {value!r}; it is one of {', '.join(ENGINES)}.")
    return str(value)


def check_megabytes(value: object, name: str) -> int:
    """Space on disk in MiB, 0 for none. Raises `ConfigError` naming `name` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 30:
        raise ConfigError(f"{name} is {value!r}; it is a number of megabytes, 0 for none.")
    return value


def check_log_level(value: str, name: str) -> str:
    """One of `LOG_LEVELS` by name (also `warning`, `information`) or number."""
    text = {"warning": "warn", "information": "info"}.get(value.lower(), value.lower())
    if text.isascii() and text.isdigit() and int(text) < len(LOG_LEVELS):
        return LOG_LEVELS[int(text)]
    if text not in LOG_LEVELS:
        raise ConfigError(f"{name} is {value!r}; it is one of {', '.join(LOG_LEVELS)}.")
    return text


def _origins(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ConfigError("allowedOrigins in foundry.config.json is not a list of strings.")
    for entry in value:
        check_origin(entry)
    return tuple(value)


def check_origin(text: str) -> tuple[str, str, int | None]:
    """A web origin as (scheme, host, port); raises `ConfigError` when it is not exactly `scheme://host[:port]`."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"The origin {text!r} in allowedOrigins is malformed: {error}") from error
    plain = f"{parts.scheme}://{parts.netloc}" == text and "@" not in parts.netloc and "*" not in parts.netloc
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"The origin {text!r} in allowedOrigins is malformed: write http://host or http://host:port.")
    return parts.scheme, parts.hostname, port

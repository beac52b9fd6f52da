"""Settings: file, environment over it, and what cannot be used."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.config import (
    LOG_LEVELS,
    Config,
    MirrorSetting,
    changing,
    check_log_level,
    check_minutes,
    check_origin,
    check_port,
    check_ttl,
    load_config,
    with_environment,
)
from foundry_cli.errors import ConfigError
from foundry_cli.paths import Paths

ORIGINAL = {
    "defaultLogLevel": 2,
    "serviceSettings": {
        "host": "127.0.0.1",
        "port": 5273,
        "cacheDirectoryPath": "/somewhere/models",
        "schema": "http",
        "pipeName": "inference_agent",
        "defaultSecondsForModelTTL": 900,
        "initialConnectionTimeoutInSeconds": 6,
    },
}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.delenv("FOUNDRY_OFFLINE")
    return Paths(tmp_path)


def test_the_settings_of_catalogs_are_read_and_written(paths: Paths) -> None:
    catalogs = {
        "offline": True,
        "catalogUrl": "https://models.example/asset-gallery/v1.0/models",
        "registryUrl": "http://127.0.0.1:8000",
        "azure": False,
        "mirrors": [{"name": "office", "location": "http://models.example/"}],
        "other": 1,
    }
    paths.config_file.write_text(json.dumps({**ORIGINAL, "catalogSettings": catalogs}))
    config = load_config(paths)
    assert (config.is_offline, config.is_azure_enabled) == (True, False)
    assert config.catalog_url == catalogs["catalogUrl"]
    assert [(mirror.name, mirror.location) for mirror in config.mirrors] == [("office", "http://models.example/")]
    config.save(paths)
    assert json.loads(paths.config_file.read_text())["catalogSettings"] == catalogs


@pytest.mark.parametrize("url", ["http://models.example/", "ftp://127.0.0.1/", "https://me:secret@models.example/", "nonsense"])
@pytest.mark.parametrize("name", ["FOUNDRY_CATALOG_URL", "FOUNDRY_REGISTRY_URL"])
def test_addresses_of_catalogs_are_https_or_on_this_machine(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(ConfigError, match=name):
        load_config(paths)
    monkeypatch.setenv(name, "http://localhost:9/x")
    load_config(paths)


@pytest.mark.parametrize(("text", "is_offline"), [("1", True), ("true", True), ("0", False), ("false", False), ("", False)])
def test_the_network_can_be_switched_off(paths: Paths, monkeypatch: pytest.MonkeyPatch, text: str, is_offline: bool) -> None:
    monkeypatch.setenv("FOUNDRY_OFFLINE", text)
    assert load_config(paths).is_offline is is_offline


@pytest.mark.parametrize("mirrors", ["x", [1], [{}], [{"location": 3}], {"a": 1}])
def test_mirrors_that_are_no_list_are_named(paths: Paths, mirrors: object) -> None:
    paths.config_file.write_text(json.dumps({"catalogSettings": {"mirrors": mirrors}}))
    with pytest.raises(ConfigError, match="mirrors in"):
        load_config(paths)


def test_without_a_file_the_defaults_hold(paths: Paths) -> None:
    config = load_config(paths)
    assert config == Config()
    assert config.cache_path(paths) == paths.home / "cache" / "models"


def test_the_original_file_is_read_and_written_back_unchanged(paths: Paths) -> None:
    paths.config_file.write_text(json.dumps(ORIGINAL))
    config = load_config(paths)
    assert (config.port, config.ttl_seconds, config.log_level) == (5273, 900, "info")
    assert config.cache_path(paths) == Path("/somewhere/models")
    config.save(paths)
    assert json.loads(paths.config_file.read_text()) == ORIGINAL
    assert paths.config_file.stat().st_mode & 0o777 == 0o600


def test_the_environment_is_over_the_file_but_is_not_saved(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.config_file.write_text(json.dumps(ORIGINAL))
    monkeypatch.setenv("FOUNDRY_PORT", "6000")
    monkeypatch.setenv("FOUNDRY_HOST", "::1")
    monkeypatch.setenv("FOUNDRY_LOG_LEVEL", "Warning")
    monkeypatch.setenv("FOUNDRY_IDLE_TIMEOUT", "15")
    monkeypatch.setenv("FOUNDRY_API_KEY", "secret")
    config = load_config(paths)
    assert (config.port, config.host, config.log_level, config.api_key) == (6000, "::1", "warn", "secret")
    assert config.idle_minutes == 15
    assert with_environment(config, {"FOUNDRY_IDLE_TIMEOUT": "20"}).idle_minutes == 20
    replace(load_config(paths, environment=False), ttl_seconds=5).save(paths)
    saved = json.loads(paths.config_file.read_text())
    assert saved["serviceSettings"]["port"] == 5273
    assert "secret" not in paths.config_file.read_text()


@pytest.mark.parametrize("value", ["-1", "65536", "x", "", "1.5", "²", True, None, "9" * 5000])
def test_ports_that_are_none(value: object) -> None:
    with pytest.raises(ConfigError, match="a port is a number"):
        check_port(value, "port")


@pytest.mark.parametrize("value", [-1, True, None, "", "1.5", "525601", "²", "0" * 5000])
def test_minutes_that_are_none(value: object) -> None:
    with pytest.raises(ConfigError, match="minutes"):
        check_minutes(value, "idle")


@pytest.mark.parametrize("value", [0, -5, True, "600", 1.5, 10**12])
def test_times_that_are_none(value: object) -> None:
    with pytest.raises(ConfigError, match="ttl"):
        check_ttl(value, "ttl")


def test_log_levels_by_name_and_number() -> None:
    assert [check_log_level(str(number), "level") for number in range(len(LOG_LEVELS))] == list(LOG_LEVELS)
    assert check_log_level("DEBUG", "level") == "debug"
    with pytest.raises(ConfigError, match="loud"):
        check_log_level("loud", "level")


@pytest.mark.parametrize(
    "origin",
    ["http://a:99999999999", "http://]junk", "http://*", "*", "null", "file://x", "http://a/", "http://u@a", "a.example"],
)
def test_origins_that_are_malformed_are_named(paths: Paths, origin: str) -> None:
    paths.config_file.write_text(json.dumps({"serviceSettings": {"allowedOrigins": [origin]}}))
    with pytest.raises(ConfigError) as caught:
        load_config(paths)
    assert origin in caught.value.message


def test_origins_that_are_right() -> None:
    assert check_origin("http://localhost:3000") == ("http", "localhost", 3000)
    assert check_origin("https://app.example") == ("https", "app.example", None)


def test_changes_at_the_same_time_are_all_kept(paths: Paths) -> None:
    def change(number: int) -> None:
        with changing(paths):
            config = load_config(paths, environment=False)
            replace(config, mirrors=(*config.mirrors, MirrorSetting(f"m{number}", f"/m{number}"))).save(paths)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(16)))
    assert len(load_config(paths).mirrors) == 16


def test_names_that_are_not_unicode_come_back_as_they_were(paths: Paths) -> None:
    odd = os.fsdecode(b"/models-\xff")
    Config(cache_directory=Path(odd), mirrors=(MirrorSetting("odd", odd),)).save(paths)
    config = load_config(paths)
    assert (str(config.cache_directory), config.mirrors[0].location) == (odd, odd)


def test_a_file_that_is_a_link_stays_one(paths: Paths, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    paths.home.mkdir(exist_ok=True)
    paths.config_file.symlink_to(real)
    Config(port=5273).save(paths)
    assert paths.config_file.is_symlink()
    assert "5273" in real.read_text()

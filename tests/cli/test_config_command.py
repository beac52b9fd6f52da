"""`foundry config`: settings one by one."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from foundry_cli.config import load_config
from foundry_cli.paths import Paths
from tests.cli.in_process import Command


def _shown(here: Command) -> dict[str, tuple[str, bool]]:
    text = here("config", "show", "-o", "json").stdout
    assert text.count("\n") == 1
    entries = json.loads(text)
    assert all(list(entry) == ["key", "value", "userSet"] for entry in entries)
    return {entry["key"]: (entry["value"], entry["userSet"]) for entry in entries}


def test_the_defaults(here: Command, tmp_path: Path) -> None:
    cache = str(Paths(tmp_path / "home").default_cache)
    assert _shown(here) == {
        "port": ("auto", False),
        "cache-directory": (cache, False),
        "log-level": ("info", False),
        "idle-timeout-minutes": ("0", False),
        "strict-fields": ("false", False),
    }
    assert here("config", "show").stdout.splitlines()[0] == "port                  auto"


def test_set_and_reset(here: Command, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    values = {"port": port, "cache-directory": str(tmp_path / "models"), "log-level": "debug", "idle-timeout-minutes": "30"}
    values["strict-fields"] = "true"
    for key, value in values.items():
        assert here("config", "set", key, value).code == 0
    assert _shown(here) == {key: (value, True) for key, value in values.items()}
    assert f"{'port':<22}{port} (set)" in here("config", "show").stdout
    document = json.loads((tmp_path / "home" / "foundry.config.json").read_text())
    assert document["serviceSettings"]["idleTimeoutMinutes"] == 30
    assert document["requestSettings"] == {"strictFields": True}
    assert here("cache", "location").stdout.strip().endswith(str(tmp_path / "models"))
    for key in values:
        assert here("config", "reset", key).code == 0
    assert not any(is_set for _, is_set in _shown(here).values())
    assert load_config(Paths(tmp_path / "home"), environment=False).cache_directory is None
    text = (tmp_path / "home" / "foundry.config.json").read_text()
    assert "idleTimeoutMinutes" not in text
    assert "requestSettings" not in text


def test_the_result_as_json(here: Command) -> None:
    output = here("config", "set", "log-level", "WARNING", "-o", "json")
    assert {"key": "log-level", "value": "warn", "userSet": True} in json.loads(output.stdout)
    assert output.stderr == "Saving new settings\n"
    assert {"key": "log-level", "value": "info", "userSet": False} in json.loads(
        here("config", "reset", "log-level", "-o", "json").stdout
    )


def test_auto_is_the_port_of_the_systems_choice(here: Command) -> None:
    assert here("config", "set", "port", "Auto").code == 0
    assert _shown(here)["port"] == ("auto", False)


def test_a_running_service_takes_a_setting_up(here: Command, tmp_path: Path) -> None:
    here("server", "start")
    assert "Restarting service..." in here("config", "set", "log-level", "debug").stdout
    assert "DEBUG" in (tmp_path / "home" / "logs" / "foundry.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "colour", "red"], "There is port, cache-directory, log-level, idle-timeout-minutes, strict-fields."),
        (["reset", "colour"], "There is no setting 'colour'."),
        (["set", "port", "high"], "a port is a number from 0 to 65535"),
        (["set", "port", "70000"], "a port is a number from 0 to 65535"),
        (["set", "idle-timeout-minutes", "1.5"], "a number of minutes up to 525600"),
        (["set", "idle-timeout-minutes", "999999999999"], "a number of minutes up to 525600"),
        (["set", "strict-fields", "perhaps"], "strict-fields is 'perhaps'; it is true or false."),
        (["set", "log-level", "loud"], "the log level is 'loud'; it is one of trace"),
        (["set", "cache-directory", " "], "The directory has no name."),
        (["set", "port"], "VALUE"),
    ],
)
def test_what_is_wrong_changes_nothing(here: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    output = here("config", *arguments)
    assert (output.code, output.stdout) == (2, "")
    assert message in output.stderr
    assert not (tmp_path / "home" / "foundry.config.json").exists()


def test_a_variable_goes_before_the_file(here: Command) -> None:
    here("config", "set", "idle-timeout-minutes", "30")
    shown = here("config", "show", env={"FOUNDRY_IDLE_TIMEOUT": "7"}).stdout
    assert f"{'idle-timeout-minutes':<22}7 (set)" in shown
    wrong = here("config", "show", env={"FOUNDRY_IDLE_TIMEOUT": "soon"})
    assert wrong.code == 1
    assert "FOUNDRY_IDLE_TIMEOUT is 'soon'" in wrong.stderr


def test_the_settings_of_other_commands_are_the_same(here: Command, tmp_path: Path) -> None:
    here("service", "set", "--idle-timeout", "45", "--default-log-level", "error")
    assert _shown(here)["idle-timeout-minutes"] == ("45", True)
    assert _shown(here)["log-level"] == ("error", True)
    here("cache", "cd", str(tmp_path / "elsewhere"))
    assert _shown(here)["cache-directory"] == (str(tmp_path / "elsewhere"), True)

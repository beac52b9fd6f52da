"""`foundry status` and `foundry report`: facts about machine, service and models, without anything private."""

from __future__ import annotations

import json
import platform
import stat
from pathlib import Path

from foundry_cli import __version__
from foundry_cli.cli.report import issue_address
from foundry_cli.paths import Paths
from tests.cli.in_process import Command
from tests.conftest import RunningService, add_model

_SECTIONS = ["## System", "## Service", "## Models", "## Connectivity", "## Warnings"]


def test_status_as_json(here: Command, service: RunningService) -> None:
    service.client.load("echo:1")
    text = here("status", "-o", "json", home=service.paths.home).stdout
    assert text.count("\n") == 1
    found = json.loads(text)
    assert list(found) == ["system", "service", "models", "connectivity", "warnings"]
    assert (found["service"]["ready"], found["service"]["state"]) == (True, "ready")
    assert found["service"]["webUrls"] == [service.url]
    assert found["models"]["loaded"] == len(service.client.loaded_models())
    assert found["models"]["available"] >= found["models"]["cached"] >= 4
    assert found["connectivity"]["localService"] == "reachable"


def test_status_without_a_service(here: Command) -> None:
    found = json.loads(here("status", "-o", "json").stdout)
    assert (found["service"]["ready"], found["service"]["state"]) == (False, "not_running")
    assert found["service"]["webUrls"] == []
    assert (found["models"]["loaded"], found["models"]["cached"]) == (0, 1)
    assert found["system"]["python"] == platform.python_version()
    assert found["warnings"] == []
    lines = here("status").stdout.splitlines()
    assert f"  {'State':<20}Not running" in lines
    assert f"  {'CLI version':<20}{__version__}" in lines
    assert f"  {'Cached':<20}1" in lines


def test_the_report_has_the_sections_of_the_original(here: Command, service: RunningService) -> None:
    output = here("report", home=service.paths.home)
    assert output.code == 0
    assert [line for line in output.stdout.splitlines() if line.startswith("#")] == _SECTIONS
    for line in ("- **State:** Ready", f"- **Web URLs:** {service.url}", "- **Local service:** Reachable"):
        assert line in output.stdout.splitlines()
    assert "paste it into an issue" in output.stderr


def test_a_catalog_that_failed_is_a_warning_unless_nobody_is_to_be_asked(here: Command) -> None:
    assert "- No warnings." in here("report").stdout
    refused = {"FOUNDRY_CATALOG_URL": "http://127.0.0.1:9/", "FOUNDRY_REGISTRY_URL": "http://127.0.0.1:9/"}
    assert here("catalog", "refresh", env={**refused, "FOUNDRY_OFFLINE": "0"}).code != 0
    warning = "- 1 of the catalogs could not be asked; 'foundry catalog list' says why."
    assert warning in here("report", env={**refused, "FOUNDRY_OFFLINE": "0"}).stdout
    assert warning not in here("report", env=refused).stdout


def test_the_report_is_written_to_a_new_file(here: Command, tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    output = here("report", str(file))
    assert output.stdout.startswith(f"The report was written to {file}. Read it")
    assert [line for line in file.read_text().splitlines() if line.startswith("#")] == _SECTIONS
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = here("report", str(file))
    assert again.code == 1
    assert "exists already" in again.stderr
    lost = here("report", str(tmp_path / "nowhere" / "report.md"))
    assert (lost.code, lost.stderr.count("\n")) == (1, 1)


def test_nothing_private_is_in_it(here: Command, tmp_path: Path) -> None:
    secret, cache = "hunter2-hunter2", tmp_path / "project-x"
    here("config", "set", "cache-directory", str(cache))
    add_model(Paths(tmp_path / "home"), "canary-model", ["hello"])
    cache.joinpath("foundry-cache.json").unlink(missing_ok=True)
    env = {"MY_API_TOKEN": secret, "FOUNDRY_API_KEY": "another-secret"}
    text = here("report", env=env).stdout + here("status", env=env).stdout + here("status", "-o", "json", env=env).stdout
    for private in (str(tmp_path), "project-x", secret, "another-secret", "canary"):
        assert private not in text


def test_what_is_wrong_is_said(here: Command, tmp_path: Path) -> None:
    cache = tmp_path / "models"
    here("config", "set", "cache-directory", str(cache))
    for file in cache.iterdir():
        file.unlink()
    cache.rmdir()
    text = here("report").stdout
    assert "- The cache directory cannot be used; 'foundry cache list' says why." in text
    assert str(cache) not in text


def test_settings_that_cannot_be_read_are_said_in_the_report(here: Command, tmp_path: Path) -> None:
    file = tmp_path / "home" / "foundry.config.json"
    file.parent.mkdir()
    file.write_text("{")
    output = here("report")
    assert output.code == 0
    assert "- The settings cannot be used" in output.stdout
    assert here("status").code == 1


def test_the_address_for_issues_is_the_one_of_the_package() -> None:
    assert issue_address(["Homepage, https://a.example", "Issues, https://a.example/issues"]) == "https://a.example/issues"
    assert issue_address(["Homepage, https://a.example"]) == ""

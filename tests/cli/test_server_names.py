"""The names and the output of later versions of the original: `server`, `run`, `chat`, and the format before the command."""

from __future__ import annotations

import json
import re
import socket
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from foundry_cli.cli.service_status import duration_text, print_state
from foundry_cli.client.supervisor import require_service
from foundry_cli.diagnostics import redact
from foundry_cli.paths import Paths
from tests.cli.in_process import Command
from tests.conftest import Foundry, RunningService, add_model

# As .NET Aspire looks for them in the help, and another client for the address.
SERVER = re.compile(r"^\s*(Server:\s*)?server(\s|$)", re.IGNORECASE | re.MULTILINE)
SERVICE = re.compile(r"^\s*service(\s|$)", re.IGNORECASE | re.MULTILINE)
WEB_URLS = re.compile(r"Web URLs\s+(https?://\S+)")


@pytest.mark.slow
def test_the_steps_of_aspire(foundry: Foundry, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "Echo-generic-cpu:2", ["Hello."])
    text = foundry("--help").stdout
    assert SERVER.search(text)
    assert SERVICE.search(text)
    started = foundry("server", "start", "--output", "json")
    assert started.code == 0
    (line,) = [json.loads(line) for line in started.stdout.splitlines() if line.startswith("{")]
    endpoint = line["webUrls"][0]
    assert endpoint == f"http://127.0.0.1:{line['port']}"
    info = json.loads(foundry("model", "info", "Echo-generic-cpu", "--output", "json").stdout)["model"]
    assert (info["id"], info["cached"]) == ("Echo-generic-cpu:2", True)
    assert foundry("model", "load", info["id"]).code == 0
    assert info["id"].lower() in [model.lower() for model in _loaded(endpoint)]
    assert json.loads(foundry("server", "stop", "--output", "json").stdout)["running"] is False
    assert json.loads(foundry("server", "status", "-o", "json").stdout) == {"running": False, "state": "not_running"}


def _loaded(endpoint: str) -> list[str]:
    """As Aspire asks: the route of later versions, else the older one."""
    for path in ("/models/loaded", "/openai/loadedmodels"):
        connection = HTTPConnection(urlsplit(endpoint).netloc, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status == 200:
            return list(json.loads(body))
        assert response.status == 404
    raise AssertionError("no route says which models are loaded")


def test_state_of_a_server_that_runs(here: Command, service: RunningService) -> None:
    home = service.paths.home
    fields = _record(here("server", "status", "-o", "json", home=home).stdout)
    assert list(fields) == ["running", "state", "pid", "webUrls", "startedAt", "uptime", "logFile"]
    assert (fields["running"], fields["state"]) == (True, "ready")
    assert (fields["webUrls"], fields["pid"]) == ([service.url], service.client.record.pid)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", fields["startedAt"])
    lines = here("server", "status", home=home).stdout.splitlines()
    assert [line[:9] for line in lines] == ["State    ", "PID      ", "Started  ", "Uptime   ", "Web URLs "]
    assert lines[0] == "State    Ready"
    assert re.fullmatch(r"Started  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", lines[2])
    found = WEB_URLS.search("\n".join(lines))
    assert found
    assert found[1] == service.url


def _record(text: str) -> Any:
    """The JSON of a command that prints one line."""
    assert text.count("\n") == 1
    return json.loads(text)


def test_state_of_a_server_that_does_not_run(here: Command) -> None:
    output = here("server", "status")
    assert (output.stdout, output.code) == ("State Not running\n", 0)
    assert "foundry server start" in output.stderr


def test_state_of_a_server_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    print_state({"running": True, "state": "not_answering", "pid": 77})
    assert capsys.readouterr().out == "State Not answering\nPID   77\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m 0s"), (2924, "48m 44s"), (3600, "1h 0m 0s"), (90061, "1d 1h 1m 1s"), (-5, "0s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == text


@pytest.mark.slow
def test_options_for_one_run(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    port = _free_port()
    started = _record(here("server", "start", "--port", str(port), "--log-level", "debug", "-o", "json").stdout)
    assert (started["port"], started["running"]) == (port, True)
    assert not paths.config_file.exists()
    again = here("server", "start", "--port", str(port))
    assert (again.stdout, again.stderr, again.code) == (f"🟢 Service is already running on http://127.0.0.1:{port}/.\n", "", 0)
    other = here("server", "start", "--port", str(_free_port()))
    assert (other.code, other.stdout) == (1, "")
    assert f"running already, on port {port}" in other.stderr
    noted = here("server", "start", "--idle-timeout", "5")
    assert noted.code == 0
    assert "running already, with the settings it was started with" in noted.stderr
    pid = require_service(paths).record.pid
    other_port = _free_port()
    restarted = here("server", "restart", "--port", str(other_port), "-o", "json")
    assert _record(restarted.stdout)["port"] == other_port
    assert "Service is stopped." in restarted.stderr
    assert require_service(paths).record.pid != pid
    assert here("server", "restart").stdout.splitlines()[0] == "Restarting service..."
    assert require_service(paths).record.port not in (port, other_port)
    assert here("server", "stop").stdout == "🔴 Service is stopped.\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["server", "start", "--log-level", "loud"],
        ["server", "start", "--port", "70000"],
        ["server", "restart", "--idle-timeout", "-1"],
        ["server", "logs", "--lines", "0"],
        ["server"],
        ["-o", "yaml", "model", "list"],
        ["-o", "json"],
        ["complete"],
        ["run"],
        ["transcribe", "whisper"],
    ],
)
def test_wrong_usage(here: Command, arguments: list[str], tmp_path: Path) -> None:
    output = here(*arguments)
    assert output.code == 2
    assert "Traceback" not in output.stderr
    assert not (tmp_path / "home" / "run").exists()


def test_a_restart_on_a_port_that_is_taken_stops_nothing(here: Command, service: RunningService) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        output = here("server", "restart", "--port", port, home=service.paths.home)
    assert output.code == 3
    assert port in output.stderr
    assert service.client.is_alive()


def test_the_end_of_the_log(here: Command, service: RunningService) -> None:
    heading, *lines = here("server", "logs", "-n", "2", home=service.paths.home).stdout.splitlines()
    assert heading == "── daemon ── foundry.log ──"
    assert len(lines) == 2
    written = (service.paths.logs / "foundry.log").read_text().splitlines()[-2:]
    assert lines == [redact(line) for line in written]


def test_a_log_that_is_not_there_is_empty(here: Command) -> None:
    output = here("server", "logs")
    assert (output.stdout, output.code) == ("── daemon ── foundry.log ──\n", 0)


@pytest.mark.parametrize("name", ["run", "chat"])
def test_run_and_chat_are_the_same_as_model_run(here: Command, service: RunningService, name: str) -> None:
    output = here(name, "echo", input="hello", home=service.paths.home)
    assert (output.stdout, output.code) == ("The first answer.\n", 0)
    usages = [here(*words, "--help").stdout.partition("\n")[2] for words in ([name], ["model", "run"])]
    assert usages[0] == usages[1]


def test_the_format_before_the_command(here: Command) -> None:
    for words in (["model", "list"], ["model", "info", "foundry-guide"], ["cache", "location"], ["cache", "list"]):
        behind = here(*words, "-o", "json").stdout
        assert here("-o", "json", *words).stdout == here("--output=JSON", *words).stdout == behind
        assert json.loads(behind)
    assert here("-o", "json", "cache", "location", "-o", "text").stdout == here("cache", "location").stdout
    assert here("-o", "json", "config", "reset", "port").stdout.startswith("[{")
    assert here("-o", "json", "server", "status").stdout == '{"running":false,"state":"not_running"}\n'


def test_variants(settled: Command, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "small-generic-cpu:2", ["hello"])
    add_model(Paths(tmp_path / "home"), "small-cuda-gpu:2", ["hello"])
    variants = json.loads(settled("model", "list", "--variants", "--cached", "-o", "json").stdout)["variants"]
    small = next(variant for variant in variants if variant["variantId"] == "small-generic-cpu:2")
    assert {"alias", "variantId", "variantName", "type", "device", "executionProvider", "fileSizeMb", "cached"} <= set(small)
    assert (small["variantName"], small["type"], small["device"], small["cached"]) == ("small-generic-cpu", "Chat", "Cpu", True)
    models = json.loads(settled("model", "list", "--cached", "-o", "json").stdout)["models"]
    assert [model["id"] for model in models] == [variant["variantId"] for variant in variants]


def test_which_models_are_listed(settled: Command, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "small-generic-cpu:2", ["hello"])
    add_model(Paths(tmp_path / "home"), "small-cuda-gpu:2", ["hello"])
    guide = "foundry-guide-generic-cpu:1"
    assert _ids(settled, "--device", "gpu") == ["small-cuda-gpu:2"]
    assert _ids(settled, "--type", "chat") == [guide, "small-cuda-gpu:2", "small-generic-cpu:2"]
    assert _ids(settled, "--type", "speech") == []
    assert _ids(settled, "--loaded") == []
    assert settled("model", "load", "foundry-guide").code == 0
    assert _ids(settled, "--loaded") == [guide]
    assert _ids(settled, "--loaded", "--search", "small") == []


def _ids(foundry: Command, *options: str) -> list[str]:
    return [model["id"] for model in json.loads(foundry("model", "list", *options, "-o", "json").stdout)["models"]]


@pytest.mark.slow
def test_a_server_that_nobody_uses_ends(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    started = _record(here("server", "start", "--idle-timeout", "1", "-o", "json").stdout)
    psutil.Process(started["pid"]).wait(100)
    assert _record(here("server", "status", "-o", "json").stdout) == {"running": False, "state": "not_running"}
    assert "no request for 60 s: the service stops" in (paths.logs / "foundry.log").read_text()
    assert not paths.instance_file.exists()

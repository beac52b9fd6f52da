"""`foundry service …` and `foundry zip-logs`: the lines that other programs parse, and settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import require_service
from foundry_cli.errors import FoundryError
from foundry_cli.hardware.processors import usable_cores
from foundry_cli.paths import Paths
from tests.cli.in_process import Command
from tests.conftest import FOUNDRY, Foundry, RunningService, add_model, clean_environment, run_service

SDK_URL = re.compile(r"http://(?:[a-zA-Z0-9.-]+|\d{1,3}(\.\d{1,3}){3}):\d+")


def test_life_of_a_service(foundry: Foundry) -> None:
    stopped = foundry("service", "status")
    assert stopped.code == 0
    assert stopped.stdout.splitlines() == [
        "🔴 Model management service is not running!",
        "To start the service, run the following command: foundry service start",
    ]
    started = foundry("service", "start").stdout
    match = re.fullmatch(r"🟢 Service is Started on (http://127\.0\.0\.1:\d+)/, PID \d+!\n", started)
    assert match
    assert foundry("service", "start").stdout == f"🟢 Service is already running on {match[1]}/.\n"
    status = foundry("service", "status").stdout
    found = SDK_URL.search(status)
    assert found
    assert found.group(0) == match[1]
    assert status.splitlines()[0] == f"🟢 Model management service is running on {match[1]}/openai/status"
    restarted = foundry("service", "restart").stdout.splitlines()
    assert restarted[:2] == ["Restarting service...", "🔴 Service is stopped."]
    assert match[1] in restarted[2]
    assert foundry("service", "stop").stdout == "🔴 Service is stopped.\n"
    assert "not running" in foundry("service", "status").stdout


def test_status_as_json(here: Command, service: RunningService) -> None:
    assert json.loads(here("service", "status", "-o", "json").stdout) == {"running": False, "state": "not_running"}
    fields = json.loads(here("service", "status", "-o", "json", home=service.paths.home).stdout)
    assert fields["running"] is True
    assert fields["webUrls"] == fields["endpoints"] == [service.url]
    assert fields["pid"] == service.client.record.pid


def test_ps_without_a_service(here: Command) -> None:
    assert here("service", "ps").code == 3


def test_ps_without_models(here: Command, unharmed_service: RunningService) -> None:
    output = here("service", "ps", home=unharmed_service.paths.home)
    assert output.stdout == "No models are currently loaded in the service\n"


def test_diag_names_what_a_report_needs(here: Command, service: RunningService) -> None:
    text = here("service", "diag", home=service.paths.home).stdout
    for name in ("Version", "Python", "System", "Memory", "Threads", "Runtime", "Engine", "Cache", "Log", "Service"):
        assert re.search(rf"^{name} ", text, re.MULTILINE)
    assert service.url in json.loads(here("service", "diag", "-o", "json", home=service.paths.home).stdout)["Service"]
    assert "foundry.service version" in here("service", "diag", "--logs", home=service.paths.home).stdout
    lines = json.loads(here("service", "diag", "--logs", "-o", "json", home=service.paths.home).stdout)["lines"]
    assert any("foundry.service version" in line for line in lines)


def test_the_engine_of_loaded_models_is_shown(here: Command, service: RunningService) -> None:
    home = service.paths.home
    service.client.load("echo:1")
    _, head, *lines = here("service", "ps", home=home).stdout.splitlines()
    (line,) = [line for line in lines if "echo:1" in line]
    assert head.split() == ["Alias", "Model", "ID", "Engine"]
    assert line.split()[-2:] == ["echo:1", "batch"]
    assert line.index("batch") - head.index("Engine") in (-1, 0)  # the symbol is one character and two columns
    (listed,) = [model for model in _json(here, home, "ps")["models"] if model["id"] == "echo:1"]
    assert (listed["engine"], listed["kernels"], listed["mostRunning"]) == ("batch", "onnxruntime", 16)
    (known,) = [model for model in _json(here, home, "diag")["Models"] if model["id"] == "echo:1"]
    assert known == listed
    text = here("service", "diag", home=home).stdout
    assert f"echo:1: engine batch, kernels onnxruntime, answers at once 16, threads {usable_cores()}, provider CPU" in text


def _json(here: Command, home: Path, command: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(here("service", command, "-o", "json", home=home).stdout)
    return document


def test_the_engine_and_the_space_for_conversations_are_set(here: Command) -> None:
    shown = here("service", "set", "--engine", "GenAI", "--conversations", "0", "--show").stdout
    assert "removed when the service starts" in shown
    settings = json.loads(shown.partition("{")[1] + shown.partition("{")[2])
    assert settings["engineSettings"] == {"engine": "genai", "conversationMegabytes": 0}
    shown = here("service", "set", "--engine", "auto", "--conversations", "1024", "--show").stdout
    assert "engineSettings" not in shown
    wrong = here("service", "set", "--engine", "cuda")
    assert wrong.code == 2
    assert "--engine is 'cuda'; it is one of auto, batch, genai." in wrong.stderr


@pytest.mark.slow
def test_unknown_fields_are_refused_after_a_restart(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    add_model(paths, "echo:1", ["Hello"])
    here("service", "start")
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}], "mirostat": 1}
    for option, status in (("--strict", 400), ("--no-strict", 200)):
        shown = here("service", "set", option, "--show").stdout
        assert "Restarting service..." in shown
        assert ('"strictFields": true' in shown) == (status == 400)
        answer = requests.post(f"{require_service(paths).record.base_url}/v1/chat/completions", json=body, timeout=20)
        assert answer.status_code == status
    paths.config_file.write_text('{"requestSettings": {"strictFields": "no"}}')
    assert "strictFields is 'no'; it is true or false." in here("service", "set", "--strict").stderr


def test_conversations_are_removed_when_none_are_to_be_kept(here: Command, tmp_path: Path) -> None:
    kept = Paths(tmp_path / "home").conversations / "model" / "one.kv"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"what was said")
    here("service", "set", "--conversations", "0")
    assert kept.exists()
    here("service", "start")
    assert not kept.exists()


@pytest.mark.slow
def test_a_restart_loads_again_what_was_loaded(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    folders = [add_model(paths, name, ["Hello"]) for name in ("first:1", "second:1", "third:1")]
    here("service", "start")
    client = require_service(paths)
    client.load("first:1", ttl=77)
    client.load("second:1")
    client.load("third:1")
    shutil.rmtree(folders[1])
    shown = here("service", "restart").stdout.splitlines()
    assert shown[-1] == "Loading again in the background: second:1"
    client = require_service(paths)
    deadline = time.monotonic() + 30
    while sorted(client.loaded_models()) != ["first:1", "third:1"]:  # they are loaded side by side
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert _times_to_live(client) == {"first:1": 77, "third:1": 600}
    assert "second:1 is not loaded again: " in (paths.logs / "foundry.log").read_text()
    here("service", "set", "--ttl", "50")  # restarts it, too
    client = require_service(paths)
    while sorted(client.loaded_models()) != ["first:1", "third:1"]:  # they are loaded side by side
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert _times_to_live(client) == {"first:1": 77, "third:1": 50}
    here("service", "stop")
    here("service", "start")
    assert require_service(paths).loaded_models() == []


def _times_to_live(client: ServiceClient) -> dict[str, float]:
    return {model["id"]: model["ttl"] for model in client.status()["loadedModels"]}


@pytest.mark.slow
def test_a_restart_loads_what_was_being_loaded(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    folder = add_model(paths, "slow:1", ["Hello"])
    here("service", "start")
    client = require_service(paths)
    config = folder / "genai_config.json"
    content = config.read_text()
    config.unlink()
    os.mkfifo(config)  # the worker waits until it is written to
    loading = threading.Thread(target=_load_quietly, args=(client, "slow:1"))
    loading.start()
    deadline = time.monotonic() + 30
    while not client.status()["loadingModels"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    config.unlink()
    config.write_text(content)
    shown = here("service", "restart").stdout.splitlines()
    loading.join(30)
    assert shown[-1] in ("Loaded again: slow:1", "Loading again in the background: slow:1")
    client = require_service(paths)
    while client.loaded_models() != ["slow:1"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    here("service", "stop")


@pytest.mark.slow
def test_a_load_that_hangs_is_shown_and_can_be_given_up(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    config = add_model(paths, "slow:1", ["Hello"]) / "genai_config.json"
    content = config.read_text()
    here("service", "start")
    client = require_service(paths)
    config.unlink()
    os.mkfifo(config)  # the worker waits until it is written to
    loading = threading.Thread(target=_load_quietly, args=(client, "slow:1"))
    loading.start()
    deadline = time.monotonic() + 30
    while "loading for" not in here("service", "ps").stdout:
        assert time.monotonic() < deadline
    assert json.loads(here("service", "ps", "--output", "json").stdout)["loading"][0]["id"] == "slow:1"
    assert here("model", "unload", "slow").stdout == "🔴 Model slow unloaded successfully\n"
    loading.join(30)
    assert not loading.is_alive()
    assert here("service", "ps").stdout == "No models are currently loaded in the service\n"
    config.unlink()
    config.write_text(content)
    client.load("slow:1")
    here("service", "stop")


def _load_quietly(client: ServiceClient, model: str) -> None:
    """The service is stopped meanwhile."""
    with suppress(FoundryError):
        client.load(model)


def test_set_and_show(here: Command) -> None:
    shown = here("service", "set", "--show").stdout
    assert shown.startswith("No settings changed\n{")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changed = here("service", "set", "--port", str(port), "--ttl", "30", "--default-log-level", "debug", "--show").stdout
    settings = json.loads(changed.partition("\n")[2])
    assert settings["defaultLogLevel"] == 1
    assert settings["serviceSettings"]["port"] == port
    assert settings["serviceSettings"]["defaultSecondsForModelTTL"] == 30
    assert f"http://127.0.0.1:{port}/" in here("service", "start").stdout


def test_unknown_settings_in_the_file_are_kept(here: Command, tmp_path: Path) -> None:
    file = tmp_path / "home" / "foundry.config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"other": 1, "serviceSettings": {"more": True, "port": 0}}))
    here("service", "set", "--ttl", "5")
    document = json.loads(file.read_text())
    assert document["other"] == 1
    assert document["serviceSettings"]["more"] is True
    assert document["serviceSettings"]["defaultSecondsForModelTTL"] == 5


START, SHOW = ("service", "start"), ("cache", "location")


@pytest.mark.parametrize(
    ("command", "content"),
    [
        (START, "{"), (START, '{"serviceSettings": {"port": "x"}}'), (SHOW, ""), (SHOW, "{"), (SHOW, "[]"),
        (SHOW, '{"serviceSettings": 3}'), (SHOW, '{"defaultLogLevel": 9}'), (SHOW, '{"serviceSettings": {"port": "x"}}'),
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_one_clear_line(
    here: Command, tmp_path: Path, command: tuple[str, str], content: str
) -> None:
    file = tmp_path / "home" / "foundry.config.json"
    file.parent.mkdir()
    file.write_text(content)
    output = here(*command)
    assert output.code == 1
    assert output.stderr.startswith("Exception: ")
    assert output.stderr.count("\n") == 1
    assert file.read_text() == content


def test_a_port_that_is_taken_is_named(here: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output = here("service", "start", env={"FOUNDRY_PORT": str(port)})
    assert output.code == 3
    assert f"127.0.0.1:{port}" in output.stderr
    assert "not running" in here("service", "status").stdout


def test_listening_beyond_this_machine_needs_a_key(here: Command) -> None:
    output = here("service", "start", env={"FOUNDRY_HOST": "0.0.0.0"})
    assert output.code == 1
    assert "FOUNDRY_API_KEY" in output.stderr


def test_zip_logs_holds_logs_without_secrets(foundry: Foundry, service: RunningService, tmp_path: Path) -> None:
    target = tmp_path / "report.zip"
    log = service.paths.logs / "foundry.log"
    with log.open("a") as stream:
        stream.write("header Bearer abc.def-secret and the variable hunter2-hunter2\n")
    environment = {"MY_API_TOKEN": "hunter2-hunter2"}
    output = foundry("zip-logs", str(target), home=service.paths.home, env=environment)
    assert output.code == 0
    assert str(target) in output.stdout
    with zipfile.ZipFile(target) as archive:
        assert {"diagnostics.json", "logs/foundry.log"} <= set(archive.namelist())
        text = archive.read("logs/foundry.log").decode()
    assert "foundry.service version" in text
    assert "abc.def-secret" not in text
    assert "hunter2" not in text
    again = foundry("zip-logs", str(target), home=service.paths.home)
    assert again.code == 1
    assert "exists already" in again.stderr


def test_no_level_of_the_log_shows_what_stands_in_addresses_and_headers(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    here("service", "start", "--log-level", "trace")
    url = require_service(paths).record.base_url
    headers = {"authorization": "Bearer canary-1", "x-other": "canary-2"}
    body = {"model": "canary-3", "messages": [{"role": "user", "content": "canary-4"}]}
    requests.post(f"{url}/v1/chat/completions?q=canary-5", json=body, headers=headers, timeout=20)
    requests.get(f"{url}/canary-6?q=canary-7#canary-8", headers=headers, timeout=20)
    here("service", "stop")
    log = (paths.logs / "foundry.log").read_text()
    assert "/v1/chat/completions 404" in log
    assert set(re.findall(r"canary-\d", log)) <= {"canary-3", "canary-6"}  # names of models, and paths


@pytest.fixture(scope="module")
def unharmed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service for tests after which it is as it was before."""
    yield from run_service(tmp_path_factory.mktemp("unharmed"))


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--host", "no such.host"], ["--port", "{taken}"]])
def test_settings_that_cannot_be_used_change_nothing(
    here: Command, unharmed_service: RunningService, arguments: list[str]
) -> None:
    home, file = unharmed_service.paths.home, unharmed_service.paths.config_file
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        output = here("service", "set", *(argument.format(taken=port) for argument in arguments), home=home)
    assert output.code != 0
    assert output.stderr.count("\n") == 1
    assert not file.exists()
    assert unharmed_service.client.is_alive()


@pytest.mark.parametrize("variable", ["FOUNDRY_PORT", "FOUNDRY_LOG_LEVEL", "FOUNDRY_HOST"])
def test_a_restart_with_a_wrong_variable_stops_nothing(here: Command, unharmed_service: RunningService, variable: str) -> None:
    output = here("service", "restart", home=unharmed_service.paths.home, env={variable: "no.such.value"})
    assert output.code != 0
    assert unharmed_service.client.is_alive()


@pytest.mark.skipif(os.name == "nt", reason="there is no such limit")
def test_a_restart_where_nothing_can_be_written_stops_nothing(unharmed_service: RunningService) -> None:
    home = unharmed_service.paths.home
    before = sorted(path for path in home.rglob("*") if path.parent.name in ("run", "logs"))
    command = ["bash", "-c", 'ulimit -f 0; exec "$0" service restart', str(FOUNDRY)]  # as on a full disk: no file can grow
    output = subprocess.run(command, env=clean_environment(home), capture_output=True, text=True, timeout=60)
    assert output.returncode == 3
    assert output.stdout == ""
    assert output.stderr.startswith(f"Exception: {unharmed_service.paths.logs} cannot be written: ")
    assert output.stderr.endswith("The running service goes on.\n")
    assert output.stderr.count("\n") == 1
    assert unharmed_service.client.is_alive()
    assert sorted(path for path in home.rglob("*") if path.parent.name in ("run", "logs")) == before


def test_a_port_that_cannot_be_kept_is_no_obstacle(here: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    paths.port_file.mkdir(parents=True, mode=0o700)
    paths.home.chmod(0o700)
    paths.run.chmod(0o700)
    assert "is Started" in here("service", "start").stdout
    assert "will not be kept" in (paths.logs / "foundry.log").read_text()


@pytest.mark.slow
def test_a_port_for_once_is_not_kept(here: Command) -> None:
    first = here("service", "start").stdout
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert f":{port}/" in here("service", "restart", env={"FOUNDRY_PORT": str(port)}).stdout
    again = here("service", "restart").stdout
    assert SDK_URL.search(first)[0] == SDK_URL.search(again)[0]  # type: ignore[index]


def test_settings_as_json(here: Command) -> None:
    output = here("service", "set", "--ttl", "7", "--output", "json")
    assert json.loads(output.stdout)["serviceSettings"]["defaultSecondsForModelTTL"] == 7


@pytest.mark.slow
def test_a_service_that_does_not_answer_is_not_called_stopped(here: Command, fresh_service: RunningService) -> None:
    home, pid = fresh_service.paths.home, fresh_service.client.record.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        output = here("service", "status", home=home)
        processes = here("service", "ps", home=home)
        changed = here("service", "set", "--ttl", "77", home=home)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "does not answer" in processes.stderr
    assert "old settings" in changed.stderr
    assert f"(process {pid}) does not answer" in output.stdout
    assert "foundry service restart" in output.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there are no Unix sockets")
def test_a_service_without_its_socket_is_found_on_its_port(here: Command, fresh_service: RunningService) -> None:
    os.unlink(fresh_service.client.record.socket)
    output = here("service", "status", "-o", "json", home=fresh_service.paths.home)
    assert json.loads(output.stdout)["state"] == "ready"


def test_a_place_that_cannot_be_written_is_one_clear_line(here: Command, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for arguments in (["service", "set", "--ttl", "5"], ["service", "start"], ["cache", "cd", str(tmp_path / "x")]):
        output = here(*arguments, home=file / "home")
        assert output.code in (1, 3)
        assert output.stderr.splitlines()[-1].startswith("Exception: ")
        assert "Traceback" not in output.stderr

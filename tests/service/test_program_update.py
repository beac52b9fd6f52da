"""The program's files are exchanged while its service runs, here those of a copy: what goes on, and what is said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import foundry_cli
from foundry_cli.client.client import AnswerEnd, ServiceClient
from foundry_cli.client.supervisor import start_service, stop_service
from foundry_cli.errors import ServiceOutdatedError
from foundry_cli.paths import Paths
from foundry_cli.service.errors import response_to
from tests.conftest import Foundry, RunningService, add_model, know_providers

FRAMES = Path("foundry_cli", "engine", "frames.py")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A directory with a copy of the program, for PYTHONPATH."""
    installed = Path(foundry_cli.__file__).parent
    shutil.copytree(installed, tmp_path / "program" / installed.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "program"


@pytest.fixture
def client(program: Path, home: Path) -> Iterator[ServiceClient]:
    """A service that runs the copy, with the models `first` and `second`."""
    paths = Paths(home)
    know_providers(paths)
    for name in ("first:1", "second:1"):
        add_model(paths, name, ["Hello"])
    client, _ = start_service(paths, {"PYTHONPATH": str(program)})
    try:
        yield client
    finally:
        stop_service(paths)


def _update(program: Path) -> None:
    """Another protocol between service and worker, under the same version."""
    frames = program / FRAMES
    frames.write_text(frames.read_text() + "\n_PROTOCOL = 2\n")


def _answers(client: ServiceClient, model: str) -> bool:
    *_, end = client.chat(model, [{"role": "user", "content": "Hi"}])
    return isinstance(end, AnswerEnd)


def test_after_an_update_loaded_models_go_on_and_others_wait_for_a_restart(program: Path, client: ServiceClient) -> None:
    assert _answers(client, "first")
    before = (program / FRAMES).read_text()
    _update(program)
    assert _answers(client, "first")
    with pytest.raises(ServiceOutdatedError, match="was updated while its service was running") as caught:
        client.load("second")
    assert "foundry service restart" in str(caught.value.hint)
    with pytest.raises(ServiceOutdatedError):
        _answers(client, "second")
    assert client.loaded_models() == ["first:1"]
    (program / FRAMES).write_text(before)  # other times, the same files
    assert _answers(client, "second")


def test_repeating_the_request_is_discouraged() -> None:
    response = response_to(ServiceOutdatedError("It was updated."), {"path": "/v1/models", "headers": []})
    assert (response.status_code, response.headers["x-should-retry"]) == (503, "false")


def test_commands_say_that_the_service_runs_other_code(foundry: Foundry, service: RunningService, program: Path) -> None:
    environment = {"PYTHONPATH": str(program)}
    same = foundry("model", "load", "echo", home=service.paths.home, env=environment)
    assert (same.code, same.stderr) == (0, "")
    _update(program)
    other = foundry("model", "load", "echo", home=service.paths.home, env=environment)
    assert (other.code, other.stdout) == (0, same.stdout)
    assert other.stderr.count("\n") == 1
    assert "'foundry service restart' brings them together" in other.stderr

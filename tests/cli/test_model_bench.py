"""`foundry model bench`, with the real engine and service."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundry_cli.client.supervisor import find_service
from foundry_cli.paths import Paths
from tests.cli.in_process import Command
from tests.conftest import FOUNDRY, RunningService, add_model, clean_environment

pytestmark = pytest.mark.slow


def test_the_figures_as_json(here: Command, service: RunningService) -> None:
    output = here("model", "bench", "long", "--quick", "--output", "json", home=service.paths.home)
    assert output.code == 0, output.stderr
    document = json.loads(output.stdout)
    assert document["model"] == "long:1"
    assert [entry["depth"] for entry in document["depths"]] == [0, 512]
    assert [entry["clients"] for entry in document["clients"]] == [1, 4]
    assert all(entry["prefillTokensPerSecond"] > 0 for entry in document["depths"])
    assert document["secondTurn"]["cachedTokens"] > 0
    assert document["skipped"] == []
    assert document["physicalCores"] >= 1


def test_the_figures_as_tables_with_bars(here: Command, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "brief:1", ["abcdefghij" * 20], context_length=700)
    output = here("model", "bench", "brief", "--quick")
    assert output.code == 0, output.stderr
    lines = output.stdout.splitlines()
    assert lines[0].startswith("brief:1 on ")
    assert any(line.split()[:2] == ["Depth", "Prefill"] for line in lines)
    assert any(line.split()[:1] == ["4"] and "█" in line for line in lines)
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1].startswith("Second turn of a chat: first token after ")
    assert "Service is Started" in output.stderr
    assert "Prefill and decode at depth 0..." in output.stderr
    assert "Not measured: depth 512: 720 tokens are needed, and the model takes 700." in output.stderr


def test_a_model_is_loaded_afterwards_only_if_it_was_before(here: Command, service: RunningService) -> None:
    add_model(service.paths, "visitor:1", ["abcdefghij" * 20])
    assert here("model", "bench", "visitor", "--quick", home=service.paths.home).code == 0
    assert "visitor:1" not in service.client.loaded_models()
    service.client.load("visitor:1")
    assert here("model", "bench", "visitor", "--quick", home=service.paths.home).code == 0
    assert "visitor:1" in service.client.loaded_models()
    service.client.unload("visitor:1")


def test_a_model_that_is_not_here_is_not_found(here: Command) -> None:
    output = here("model", "bench", "no-such-model")
    assert (output.code, output.stdout) == (4, "")
    assert "no-such-model" in output.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("step", ["Prefill and decode at depth 0", "4 clients"])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, service: RunningService, step: str) -> None:
    name = f"interrupted-{len(step)}"
    add_model(service.paths, f"{name}:1", ["0123456789" * 100], context_length=8192, busy=1)
    command = [str(FOUNDRY), "model", "bench", name, "--quick"]
    with subprocess.Popen(
        command, env=clean_environment(service.paths.home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith(step) for line in process.stderr)
        time.sleep(0.05)  # in the middle of it
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.stdout is not None
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert find_service(service.paths) is not None
    assert f"{name}:1" not in service.client.loaded_models()

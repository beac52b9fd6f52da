"""`foundry` itself: help, version, licence, usage errors, and what a command may import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foundry_cli import __version__
from foundry_cli.cli.app import app
from tests.cli.in_process import Command
from tests.conftest import FOUNDRY, Foundry, clean_environment


@pytest.mark.parametrize("option", ["--help", "-h", "-?"])
def test_help_names_every_group(foundry: Foundry, option: str) -> None:
    output = foundry(option)
    assert output.code == 0
    for group in ("model", "cache", "service", "zip-logs"):
        assert f"\n  {group} " in output.stdout
    assert "foundry model run" in output.stdout


def test_help_names_every_command(here: Command) -> None:
    shown = here("--help").stdout
    for command in (*app.registered_commands, *app.registered_groups):
        assert f"\n  {command.name} " in shown


def test_help_is_the_same_each_time(foundry: Foundry) -> None:
    for arguments in ((), ("model",), ("status",), ("model", "run")):
        assert "-h, -?, --help" in foundry(*arguments, "--help").stdout


def test_an_error_that_cannot_be_printed_has_its_exit_code(foundry: Foundry) -> None:
    command = 'exec "$0" "$@" 2>/dev/full'
    for arguments, code in ((("model", "info", "nope"), 4), (("model", "bogus"), 2)):
        done = subprocess.run(["bash", "-c", command, str(FOUNDRY), *arguments], capture_output=True, timeout=60)
        assert done.returncode == code


def test_help_exists_at_every_level(here: Command) -> None:
    assert "--filter" in here("model", "list", "-?").stdout
    assert "--prompt" in here("model", "run", "--help").stdout


def test_help_may_stand_before_the_command(here: Command) -> None:
    for command in ([], ["model"], ["model", "run"], ["status"]):
        assert here("help", *command).stdout == here(*command, "--help").stdout != ""
    assert here("help", "nonsense").code == 2


def test_version_is_nothing_but_the_version(foundry: Foundry) -> None:
    output = foundry("--version")
    assert (output.stdout, output.stderr, output.code) == (f"{__version__}\n", "", 0)


def test_license_is_shown(here: Command) -> None:
    assert here("--license").stdout.startswith("MIT License\n\nCopyright")


@pytest.mark.parametrize(
    "arguments",
    [
        ["download"],
        ["model", "lst"],
        ["model", "run"],
        ["model", "list", "--output", "yaml"],
        ["model", "run", "foundry-guide", "--prompt", "x", "--temperature", "3"],
        ["model", "run", "foundry-guide", "--prompt", "x", "--top-p", "-1"],
        ["model", "run", "foundry-guide", "--prompt", "x", "--max-tokens", "0"],
        ["model", "run", "foundry-guide", "--prompt", "x", "--seed", "abc"],
        ["model", "run", "foundry-guide", "--prompt", "x", "--device", "TPU"],
        ["model", "run", "foundry-guide", "--prompt", "x", "--retain", "perhaps"],
        ["model", "unload"],
        ["model", "unload", "a", "--all"],
        ["model", "list", "--filter", "size=3"],
        ["model", "list", "--filter", "device=TPU"],
        ["service", "set"],
        ["service", "set", "--port", "70000"],
        ["service", "set", "--host", "http://x"],
    ],
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(here: Command, arguments: list[str]) -> None:
    output = here(*arguments)
    assert output.code == 2
    assert output.stdout == ""
    assert output.stderr.strip()
    assert "Traceback" not in output.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["service", "start", "--port", "abc"], "'abc' is not a whole number from 0 to 65535."),
        (["run", "echo", "--max-tokens", "1.5"], "'1.5' is not a whole number of at least 1."),
        (["run", "echo", "--seed", "x"], "'x' is not a whole number."),
        (["run", "echo", "--top-p", "x"], "'x' is not a number from 0 to 1."),
        (["run", "echo", "how do I"], '(how do I). A question is given with --prompt "...", between quotation marks.'),
        (["complete", "echo", "how", "do", "I"], "(do I). A prompt of several words stands between quotation marks."),
        (["status", "now"], "Got unexpected extra argument(s) (now)."),
    ],
)
def test_wrong_usage_says_what_is_wanted(here: Command, arguments: list[str], told: str) -> None:
    assert told in " ".join(here(*arguments).stderr.split())


def test_help_names_kinds_of_values_as_people_do(here: Command) -> None:
    shown = here("model", "run", "--help").stdout
    assert "--ttl <number>" in shown
    assert "--prompt <text>" in shown
    assert "<str>" not in shown


def test_simple_commands_import_nothing_heavy(tmp_path: Path) -> None:
    heavy = {"rich", "prompt_toolkit", "requests", "fastapi", "pydantic", "numpy", "onnxruntime_genai", "asyncio", "psutil"}
    assert not heavy & modules_of(tmp_path, "cache", "location", "--output", "json")


def test_a_command_loads_no_other_group(tmp_path: Path) -> None:
    groups = {f"foundry_cli.cli.{name}" for name in ("model", "cache", "catalog", "provider", "service", "server", "config")}
    assert groups & modules_of(tmp_path, "catalog", "list") == {"foundry_cli.cli.catalog"}


def modules_of(home: Path, *arguments: str) -> set[str]:
    """The modules that are loaded when the command ends."""
    code = "import atexit, sys; from foundry_cli.__main__ import main; atexit.register(lambda: print(*sys.modules)); main()"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment(home))
    return set(done.stdout.splitlines()[-1].split())


def test_output_into_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m foundry_cli model list | true; exit ${{PIPESTATUS[1]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_while_modules_are_loaded_shows_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "foundry_cli", "--help"], capture_output=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")

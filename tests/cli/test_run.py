"""`foundry model run` for scripts: one answer, data on standard output, everything else on standard error."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from foundry_cli.paths import Paths
from tests.cli.in_process import Command
from tests.conftest import FOUNDRY, Foundry, RunningService, add_model, clean_environment


def test_from_nothing_to_an_answer_of_the_bundled_model(foundry: Foundry) -> None:
    output = foundry("model", "run", "foundry-guide", "--prompt", "How do I list the models?")
    assert output.code == 0
    assert "foundry model list" in output.stdout
    assert "Service is Started on http://127.0.0.1:" in output.stderr
    assert "loaded successfully" in output.stderr


def test_standard_output_holds_nothing_but_the_answer(here: Command, service: RunningService) -> None:
    output = here("model", "run", "echo", "--prompt", "hello", home=service.paths.home)
    assert (output.stdout, output.code) == ("The first answer.\n", 0)


def test_piped_input_is_the_prompt(foundry: Foundry, service: RunningService) -> None:
    output = foundry("model", "run", "echo", input="hello\n", home=service.paths.home)
    assert (output.stdout, output.code) == ("The first answer.\n", 0)


@pytest.mark.parametrize("arguments", [["--prompt", ""], ["--prompt", "  \n"], []])
def test_an_empty_prompt_is_refused_before_anything_starts(here: Command, arguments: list[str], tmp_path: Path) -> None:
    output = here("model", "run", "foundry-guide", *arguments, input="")
    assert output.code == 2
    assert output.stderr.startswith("Exception: Prompt cannot be empty.")
    assert not (tmp_path / "home" / "run").exists()


def test_a_prompt_that_no_request_could_hold_is_refused_before_anything_starts(foundry: Foundry, tmp_path: Path) -> None:
    for text in ("y\n" * 8_000_000, "y\n" * 35_000_000):
        output = foundry("model", "run", "foundry-guide", input=text)
        assert output.code == 2
        assert (
            output.stderr
            == "Exception: Prompt cannot be larger than 15 MiB, written as JSON. No model reads so much at once: give a part.\n"
        )
    assert not (tmp_path / "home" / "run").exists()


def test_bytes_that_are_no_text_reach_the_model_as_marks(service: RunningService) -> None:
    for arguments in ("--prompt $'a\\xff\\xfe'", "< <(printf 'a\\0b\\xff')", "--prompt x --system $'\\xff'"):
        done = run_shell(f"{FOUNDRY} model run echo {arguments}", service.paths.home)
        assert (done.stdout, done.returncode) == ("The first answer.\n", 0)
    done = run_shell(f"printf '\\0' | {FOUNDRY} model run echo", service.paths.home)
    assert done.returncode == 2
    assert done.stderr.startswith("Exception: Prompt cannot be empty.")


def test_options_reach_the_model(here: Command, service: RunningService) -> None:
    options = [
        "--max-tokens",
        "9",
        "--temperature",
        "0.5",
        "--top-p",
        "0.9",
        "--seed",
        "1",
        "--ttl",
        "60",
        "--system",
        "Be kind.",
    ]
    output = here("model", "run", "echo", "--prompt", "hello", *options, home=service.paths.home)
    assert output.stdout == "The first\n"


def test_verbose_reports_times_on_standard_error(here: Command, service: RunningService) -> None:
    service.client.unload("echo", force=True)
    output = here("model", "run", "echo", "--prompt", "hello", "--verbose", home=service.paths.home)
    assert output.stdout == "The first answer.\n"
    assert "Time cost to load model: 00:00:0" in output.stderr
    assert "tokens per second" in output.stderr


def test_other_models_are_unloaded_unless_retained(here: Command, service: RunningService) -> None:
    home = service.paths.home
    here("model", "load", "long", home=home)
    here("model", "run", "echo", "--prompt", "x", "--retain", "true", home=home)
    assert {"long:1", "echo:1"} <= set(service.client.loaded_models())
    service.client.unload("echo")
    output = here("model", "run", "echo", "--prompt", "x", home=home)
    assert "Unloading existing models. Use --retain true to keep additional models loaded." in output.stderr
    assert service.client.loaded_models() == ["echo:1"]


def test_a_prompt_longer_than_the_context_is_one_clear_line(here: Command, service: RunningService) -> None:
    output = here("model", "run", "echo", input="word " * 3000, home=service.paths.home)
    assert output.code == 1
    assert "maximum context length is 2048 tokens" in output.stderr.splitlines()[-1]
    assert output.stdout == ""


@pytest.mark.parametrize(
    "file", ["genai_config.json", "inference_model.json", "tokenizer.json", "tokenizer_config.json", "model.onnx"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_broken_model_is_one_clear_line_and_the_service_goes_on(
    here: Command, service: RunningService, file: str, damage: str
) -> None:
    name = f"broken-{file.split('.')[0]}-{damage}".replace("_", "-")
    path = add_model(Paths(service.paths.home), f"{name}:1", ["never"]) / file
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    output = here("model", "run", name, "--prompt", "hi", home=service.paths.home)
    assert output.code == 1
    assert output.stderr.splitlines()[-1].startswith("Exception: ")
    assert "Traceback" not in output.stderr
    assert service.client.is_alive()


def test_interrupting_an_answer_is_exit_code_130(service: RunningService) -> None:
    command = [str(FOUNDRY), "model", "run", "slow", "--prompt", "count"]
    environment = clean_environment(service.paths.home)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(3) == b"012"
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(rest) < 900
    assert b"Traceback" not in errors


def test_a_full_disk_behind_standard_output_is_one_clear_line(service: RunningService) -> None:
    command = f"{FOUNDRY} model run echo --prompt hello > /dev/full"
    done = run_shell(command, service.paths.home)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Exception: No space left on device")
    assert "Traceback" not in done.stderr


def test_closed_streams_do_no_harm(service: RunningService) -> None:
    for redirection in (">&-", "<&- >&- 2>&-"):
        done = run_shell(f"{FOUNDRY} model run echo --prompt hello {redirection}", service.paths.home)
        assert (done.returncode, done.stderr) == (0, "")


def run_shell(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(home)
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=60)

"""The completion for fish, in a real fish."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.shells import FISH, Prompt, Recorder, generator, program

pytestmark = pytest.mark.shells

TREE = generator.read_tree()

Offered = Callable[[str], dict[str, str]]


@pytest.fixture
def offered(recorder: Recorder, tmp_path: Path) -> Offered:
    """What Tab offers at the end of a line: words with their descriptions."""
    program("awk")
    (tmp_path / "some directory").mkdir()
    (tmp_path / "some.zip").touch()

    def complete(line: str) -> dict[str, str]:
        done = subprocess.run(
            [program("fish"), "--no-config", "-c", 'source "$argv[1]"; complete -C "$argv[2]"', str(FISH), line],
            cwd=tmp_path,
            env={**recorder.environment, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        return {word: text for word, _, text in (line.partition("\t") for line in done.stdout.splitlines())}

    return complete


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("foundry ", "cache catalog chat complete config hardware model provider report run server service status zip-logs"),
        ("foundry model ", "add bench convert download info list load run search test unload"),
        ("foundry model nonsense ", ""),
        ("foundry --", "--help --license --output --version"),
        ("foundry -o json config set ", "cache-directory idle-timeout-minutes log-level port strict-fields"),
        (
            "foundry model list --",
            "--all-devices --cached --device --filter --help --loaded --output --search --source --type --variants",
        ),
        (
            "foundry model ls --",
            "--all-devices --cached --device --filter --help --loaded --output --search --source --type --variants",
        ),
        ("foundry cache rm -", "--all --device --force --help --output --yes -h -o -y"),
        ("foundry service list --o", "--output"),
        ("foundry config set log-level de", "debug"),
        ("foundry config set port ", "auto"),
        ("foundry config set idle-timeout-minutes ", ""),
        ("foundry model list --output ", "json text"),
        ("foundry model list -o j", "json"),
        ("foundry model list --output=", "--output=json --output=text"),
        ("foundry model list --output json --f", "--filter"),
        ("foundry model run --device c", "CPU"),
        ("foundry model run --prompt ", ""),
        ("foundry model run --prompt --", ""),
        ("foundry service set --default-log-level ", "critical debug error info none trace warn"),
        ("foundry service set --host ::1 --sh", "--show"),
        ("foundry service status ", ""),
    ],
)
def test_words(offered: Offered, recorder: Recorder, line: str, expected: str) -> None:
    assert set(offered(line)) == set(expected.split())
    assert recorder.take_calls() == []


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("foundry servi\tsta\tt\t", "foundry service status "),
        ("foundry model run --dev\tc\t", "foundry model run --device CPU "),
        ("foundry model run tiny-g\t", "foundry model run tiny-generic-cpu:1 "),
    ],
)
def test_at_a_prompt(recorder: Recorder, keys: str, line: str) -> None:
    program("awk")
    prompt = Prompt([program("fish"), "--no-config"], recorder, f"source '{FISH}'")
    assert prompt.line_after(keys) == line


def test_descriptions(offered: Offered) -> None:
    assert offered("foundry model ru") == {"run": "Chat with a model"}
    assert offered("foundry model run --ver") == {"--verbose": "Show times and speed"}
    assert offered("foundry model run tin")["tiny"] == "Model"


@pytest.mark.parametrize(
    ("line", "expected", "call"),
    [
        ("foundry model run ", "large large-generic-cpu:2 tiny tiny-generic-cpu:1", "model"),
        ("foundry model run --device CPU ti", "tiny tiny-generic-cpu:1", "model"),
        ("foundry model run tiny-generic-cpu:", "tiny-generic-cpu:1", "model"),
        ("foundry model run -- la", "large large-generic-cpu:2", "model"),
        ("foundry cache remove ", "large large-generic-cpu:2", "cache"),
        ("foundry cache rm --yes la", "large large-generic-cpu:2", "cache"),
    ],
)
def test_models_are_asked_for_where_they_stand(
    offered: Offered, recorder: Recorder, tmp_path: Path, line: str, expected: str, call: str
) -> None:
    assert set(offered(line)) == set(expected.split())
    assert recorder.take_calls() == [f"{call} list --output json"]
    assert not (tmp_path / "danger").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("foundry zip-logs some.", "some.zip"),
        ("foundry cache cd ", "bin/|some directory/"),
        ("foundry service set --cachedir so", "some directory/"),
        ("foundry model run tiny so", ""),
    ],
)
def test_paths(offered: Offered, line: str, expected: str) -> None:
    assert {name.replace("\\", "") for name in offered(line)} == set(expected.split("|")) - {""}


def test_every_option_is_offered_after_every_name_of_its_command(offered: Offered) -> None:
    for command in TREE.walk():
        options = {name for option in command.options for name in option.completable}
        for path in command.paths:
            assert set(offered(f"foundry {path} -".replace("  ", " "))) == options

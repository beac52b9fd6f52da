"""The completion for bash, in a real bash."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.shells import BASH, Prompt, Recorder, generator, program

pytestmark = pytest.mark.shells

TREE = generator.read_tree()

Offered = Callable[..., list[str]]


def complete(line: str, recorder: Recorder, directory: Path, breaks: str = "\"'@><=;|&(:") -> list[str]:
    """What Tab offers at the end of `line`: the words as readline splits them go to the function of the completion."""
    words = re.findall(rf"[{re.escape(breaks)}]+|[^\s{re.escape(breaks)}]+", line)
    if line[-1:].isspace():
        words.append("")
    script = f"""
        source {shlex.quote(str(BASH))}
        compopt() {{ echo "compopt $*"; }}
        COMP_WORDBREAKS={shlex.quote(breaks)}$' \\t\\n'
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        COMP_WORDS=({" ".join(shlex.quote(word) for word in words)}) COMP_CWORD={len(words) - 1}
        _foundry foundry
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [program("bash"), "--norc", "-c", script], cwd=directory, env=recorder.environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    return sorted(done.stdout.split("\n")[:-1]) if done.stdout.strip() else []


@pytest.fixture
def offered(recorder: Recorder, tmp_path: Path) -> Offered:
    """`complete`, with the directory and the recorder of this test."""
    program("awk")
    return lambda line, **more: complete(line, recorder, tmp_path, **more)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("foundry ", "cache catalog chat complete config hardware model provider report run server service status zip-logs"),
        ("foundry m", "model"),
        ("foundry model ", "add bench convert download info list load run search test unload"),
        ("foundry model l", "list load"),
        ("foundry MODEL", "model"),
        ("foundry model nonsense ", ""),
        ("foundry nonsense ", ""),
        ("foundry --v", "--version"),
        ("foundry -o ", "json text"),
        ("foundry -o json config set ", "cache-directory idle-timeout-minutes log-level port strict-fields"),
        ("foundry config set port ", "auto"),
        ("foundry config set idle-timeout-minutes ", ""),
        ("foundry config set log-level d", "debug"),
        ("foundry config set strict-fields ", "false true"),
        ("foundry server start --log-level de", "debug"),
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
        ("foundry model list --output ", "json text"),
        ("foundry model list -o j", "json"),
        ("foundry model list --output=", "json text"),
        ("foundry model list --output=J", "json"),
        ("foundry model list --output json --f", "--filter"),
        ("foundry model list --output=json --f", "--filter"),
        ("foundry model run --device c", "CPU"),
        ("foundry model run tiny --device ", "Auto CPU GPU NPU"),
        ("foundry model run --prompt ", ""),
        ("foundry model run --prompt -", ""),
        ("foundry model run --ttl 5 --retain t", "true"),
        ("foundry model run --verbose --retain ", "false true"),
        ("foundry model run --verbose=", ""),
        ("foundry service set --default-log-level ", "critical debug error info none trace warn"),
        ("foundry service set --host ::1 --sh", "--show"),
        ("foundry service status ", "--help --output -h -o"),
        ("foundry cache location x ", "--help --output -h -o"),
    ],
)
def test_words(offered: Offered, recorder: Recorder, line: str, expected: str) -> None:
    assert offered(line) == sorted(expected.split())
    assert recorder.take_calls() == []


@pytest.mark.parametrize(
    ("line", "expected", "call"),
    [
        ("foundry model run ", "large large-generic-cpu:2 tiny tiny-generic-cpu:1", "model"),
        ("foundry model run TI", "tiny tiny-generic-cpu:1", "model"),
        ("foundry model run tiny-generic-cpu:", "1", "model"),
        ("foundry model run --device CPU ti", "tiny tiny-generic-cpu:1", "model"),
        ("foundry model info --output=json -- la", "large large-generic-cpu:2", "model"),
        ("foundry cache remove ", "large large-generic-cpu:2", "cache"),
        ("foundry cache rm --yes la", "large large-generic-cpu:2", "cache"),
    ],
)
def test_models_are_asked_for_where_they_stand(
    offered: Offered, recorder: Recorder, line: str, expected: str, call: str
) -> None:
    assert offered(line) == sorted(expected.split())
    assert recorder.take_calls() == [f"{call} list --output json"]
    assert not Path(recorder.directory.parent / "danger").exists()


def test_only_loaded_models_are_offered_to_be_unloaded(offered: Offered, recorder: Recorder) -> None:
    assert offered("foundry model unload ti") == ["tiny", "tiny-generic-cpu:1"]
    assert recorder.take_calls() == ["model list --loaded --output json"]


def test_second_model_is_not_offered(offered: Offered, recorder: Recorder) -> None:
    assert offered("foundry model run tiny l") == []
    assert recorder.take_calls() == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("foundry zip-logs ", "compopt -o default"),
        ("foundry cache cd so", "compopt -o dirnames"),
        ("foundry config set cache-directory so", "compopt -o dirnames"),
        ("foundry service set --cachedir ", "compopt -o dirnames"),
        ("foundry service set --cachedir=so", "compopt -o dirnames"),
    ],
)
def test_paths_are_left_to_readline(offered: Offered, line: str, expected: str) -> None:
    assert [word for word in offered(line) if word] == [expected]


def test_without_word_breaks_the_whole_word_is_replaced(offered: Offered) -> None:
    assert offered("foundry model run tiny-generic-cpu:", breaks="\"'><;|&(") == ["tiny-generic-cpu:1"]
    assert offered("foundry model list --output=j", breaks="\"'><;|&(") == ["--output=json"]


def test_every_option_is_offered_after_every_name_of_its_command(offered: Offered) -> None:
    for command in TREE.walk():
        options = sorted(name for option in command.options for name in option.completable)
        for path in command.paths:
            assert offered(f"foundry {path} -".replace("  ", " ")) == options


def test_answer_of_the_real_command(offered: Offered, recorder: Recorder) -> None:
    (recorder.directory / "foundry").unlink()
    (recorder.directory / "foundry").symlink_to(Path(sys.executable).with_name("foundry"))
    assert "foundry-guide" in offered("foundry model run ")
    assert "foundry-guide" not in offered("foundry cache remove ")


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("foundry servi\tsta\tt\t-o j\t", "foundry service status -o json "),
        ("foundry model run tiny-g\t", "foundry model run tiny-generic-cpu:1 "),
        ("foundry cache cd so\t", "foundry cache cd some\\ directory/"),
        ("foundry zip-logs some.\t", "foundry zip-logs some.zip "),
        ("foundry model list --output=j\t", "foundry model list --output=json "),
        ("foundry model run --prompt s\t", "foundry model run --prompt s"),
        ('foundry model run "tiny-g\t', 'foundry model run "tiny-generic-cpu:1" '),
        ('foundry model run "tiny-generic-cpu:\t', 'foundry model run "tiny-generic-cpu:1" '),
        ('foundry model list --output="j\t', 'foundry model list --output="json" '),
    ],
)
def test_at_a_prompt(recorder: Recorder, tmp_path: Path, keys: str, line: str) -> None:
    (tmp_path / "some directory").mkdir()
    (tmp_path / "some.zip").touch()
    prompt = Prompt([program("bash"), "--norc", "--noprofile"], recorder, f"source {shlex.quote(str(BASH))}")
    assert prompt.line_after(keys) == line


def test_a_call_that_is_not_of_readline_offers_nothing(recorder: Recorder) -> None:
    script = f"source {shlex.quote(str(BASH))}; compgen -F _foundry foundry x"
    done = subprocess.run([program("bash"), "--norc", "-c", script], env=recorder.environment, capture_output=True, text=True)
    assert done.stdout == ""
    assert "foundry:" not in done.stderr.replace("compgen: warning", "")
    assert "subscript" not in done.stderr

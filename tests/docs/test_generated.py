"""The generated files are what the generator would write, and the generator reads the tree right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Optional

import pytest

from tests.docs.shells import ROOT, generator

TREE = generator.read_tree()
COMMANDS = {command.path: command for command in TREE.walk()}


def _options(path: str) -> dict[str, str]:
    return {name: option.kind for option in COMMANDS[path].options for name in option.names}


def test_files_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, ".ci/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_drift_is_named(tmp_path: Path) -> None:
    files = generator.generate()
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert generator.differing(files, tmp_path) == []
    (tmp_path / "man" / "foundry.1").write_text("changed")
    (tmp_path / "completions" / "powershell" / "foundry.ps1").unlink()
    (tmp_path / "man" / "foundry-gone.1").write_text("of a command that is gone")
    (tmp_path / "docs" / "openai-fields.md").write_text("changed")
    (tmp_path / "docs" / "gone-fields.md").write_text("of an interface that is gone")
    (tmp_path / "docs" / "written-by-hand.md").write_text("is let be")
    assert generator.differing(files, tmp_path) == [
        "completions/powershell/foundry.ps1",
        "docs/gone-fields.md",
        "docs/openai-fields.md",
        "man/foundry-gone.1",
        "man/foundry.1",
    ]


def test_every_file_says_that_it_is_generated() -> None:
    for path, text in generator.generate().items():
        first = next(line for line in text.splitlines() if not line.startswith("#compdef"))
        source = "models of requests" if path.startswith("docs/") else "command tree"
        assert first.lstrip('.\\"#<!- ').startswith(f"Generated from the {source} by 'python .ci/generate_docs.py'"), path


def test_nothing_of_this_machine_is_in_the_files() -> None:
    for path, text in generator.generate().items():
        assert str(ROOT) not in text, path
        assert str(Path.home()) + "/" not in text, path
        assert "@" not in {line.strip()[:1] for line in text.splitlines()}, path


def test_aliases_lead_to_the_visible_command() -> None:
    assert COMMANDS["model list"].alias_paths == ("model ls",)
    assert COMMANDS["cache remove"].alias_paths == ("cache rm",)
    assert COMMANDS["service ps"].alias_paths == ("service list",)
    assert "model ls" not in COMMANDS


@pytest.mark.parametrize(
    ("path", "option", "kind"),
    [
        ("model list", "--output", "words text json"),
        ("model list", "-o", "words text json"),
        ("model run", "--device", "words Auto CPU GPU NPU"),
        ("model run", "--ttl", "number"),
        ("model run", "--prompt", "text"),
        ("model run", "--verbose", ""),
        ("service set", "--cachedir", "directory"),
        ("service set", "--default-log-level", "words trace debug info warn error critical none"),
        ("server start", "--log-level", "words trace debug info warn error critical none"),
        ("", "--version", ""),
        ("", "--output", "words text json"),
        ("", "-?", ""),
    ],
)
def test_kinds_of_options(path: str, option: str, kind: str) -> None:
    assert _options(path)[option] == kind


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("model run", ["model"]),
        ("cache remove", ["cache"]),
        ("cache cd", ["directory"]),
        ("zip-logs", ["file"]),
        ("service start", []),
        ("run", ["model"]),
        ("complete", ["model", "text"]),
        ("config set", ["words port cache-directory log-level idle-timeout-minutes strict-fields", "setting"]),
        ("report", ["file"]),
    ],
)
def test_kinds_of_arguments(path: str, kinds: list[str]) -> None:
    assert [argument.kind for argument in COMMANDS[path].arguments] == kinds


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[int, "about it"],
        Annotated[Optional[int], "about it"],  # noqa: UP045 - both ways to write it
        Annotated[int | None, "about it"],
        Optional[Annotated[int | None, "about it"]],  # noqa: UP045 - what Python 3.10 makes of a default of None
    ],
)
def test_types_behind_annotations(hint: object) -> None:
    assert generator._declared_type(hint) == (int, "about it")


def test_no_entry_about_a_parameter_that_is_gone() -> None:
    kinds = {parameter.kind for command in TREE.walk() for parameter in (*command.arguments, *command.options)}
    assert set(generator.KINDS.values()) <= kinds
    assert set(generator.EXAMPLES) == {"", *(command.path for command in TREE.commands)}


def test_examples_exist_in_the_tree() -> None:
    for examples in generator.EXAMPLES.values():
        for example in examples:
            words = example.removeprefix("foundry ").split()
            path = " ".join(words[: 2 if COMMANDS[words[0]].commands else 1])
            assert path in COMMANDS, example
            for word in words:
                if word.startswith("--"):
                    assert word in _options(path), example


def test_every_variable_of_the_program_is_described() -> None:
    package = ROOT / "foundry_cli"
    read = {
        name
        for source in package.rglob("*.py")
        for name in re.findall(r"environ(?:ment)?(?:\.get\(|\[)\"([A-Z_]+)\"", source.read_text(encoding="utf-8"))
        if name.startswith("FOUNDRY_")
    }
    assert read == {name for name in generator.ENVIRONMENT if name.startswith("FOUNDRY_")}


def test_brackets_of_a_value_stay_closed() -> None:
    add = next(command for command in TREE.walk() if command.path == "model add")
    metavars = {name: option.metavar for option in add.options for name in option.names}
    assert metavars["--name"] == "NAME[:VERSION]"

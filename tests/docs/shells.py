"""What the tests of the completions share: the generator, the shells, and a `foundry` that writes down how it was called."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pexpect
import pytest

ROOT = Path(__file__).resolve().parents[2]
BASH = ROOT / "completions" / "bash-completion" / "completions" / "foundry"
ZSH = ROOT / "completions" / "zsh" / "site-functions" / "_foundry"
FISH = ROOT / "completions" / "fish" / "vendor_completions.d" / "foundry.fish"
POWERSHELL = ROOT / "completions" / "powershell" / "foundry.ps1"

PACKAGES = {"bash": "bash", "zsh": "zsh", "fish": "fish", "awk": "mawk", "mandoc": "mandoc", "groff": "groff-base"}


def program(name: str) -> str:
    """The path of `name`; without it the test fails and names the package."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing: apt-get install -y {PACKAGES[name]}")
    return path


def load_generator() -> ModuleType:
    """`.ci/generate_docs.py` as a module."""
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / ".ci" / "generate_docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generator = load_generator()

_MODELS = """{
  "models": [
    {
      "alias": "tiny",
      "id": "tiny-generic-cpu:1",
      "bundled": true,
      "path": "/somewhere/id"
    },
    {
      "alias": "large",
      "id": "large-generic-cpu:2",
      "bundled": false
    },
    {
      "alias": "$(touch danger)",
      "id": "two words;`touch danger`",
      "bundled": false
    }
  ]
}
"""


@dataclass(frozen=True)
class Recorder:
    """A directory for PATH with a `foundry` that knows three models, one of them with a dangerous name."""

    directory: Path

    @classmethod
    def create(cls, directory: Path) -> Recorder:
        """Write the command into `directory`."""
        (directory / "models.json").write_text(_MODELS)
        command = directory / "foundry"
        command.write_text(f'#!/bin/sh\necho "$*" >> "{directory}/calls"\ncat "{directory}/models.json"\n')
        command.chmod(0o755)
        return cls(directory)

    @property
    def environment(self) -> dict[str, str]:
        """The environment with this `foundry` first."""
        return {**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}", "TERM": "dumb", "LC_ALL": "C.UTF-8"}

    def take_calls(self) -> list[str]:
        """How it was called since the last time this was asked."""
        log = self.directory / "calls"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls


class Prompt:
    """An interactive shell in a terminal of its own, in the directory above the one of `recorder`."""

    def __init__(self, command: list[str], recorder: Recorder, setup: str) -> None:
        """Start it and run `setup`, a line in its language."""
        environment = {**recorder.environment, "HOME": str(recorder.directory.parent), "HISTFILE": ""}
        environment.pop("XDG_CONFIG_HOME", None)
        self._shell = pexpect.spawn(
            command[0],
            command[1:],
            cwd=str(recorder.directory.parent),
            env=environment,
            timeout=20,
            encoding="utf-8",
            dimensions=(60, 200),
        )
        self._shell.sendline(f"{setup}; printf 'rea''dy\\n'")
        self._shell.expect("ready\r")

    def line_after(self, keys: str) -> str:
        """What stands at the prompt after these keys. The line is then made an argument of `printf` and run."""
        self._shell.send(f"{keys}\x01printf '<%s>\\n' '\x05'\n")
        self._shell.expect(r"\n<(.*?)>\r")
        return str(self._shell.match.group(1))

    def listing_after(self, keys: str) -> str:
        """What is listed below the prompt after these keys; the line is then thrown away."""
        self._shell.send(f"{keys}\x15printf 'list''ed\\n'\n")
        self._shell.expect("listed\r")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", str(self._shell.before)).replace("\r", "")

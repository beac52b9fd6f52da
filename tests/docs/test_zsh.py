"""The completion for zsh, in a real zsh at a terminal."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.docs.shells import ZSH, Prompt, Recorder, program

pytestmark = pytest.mark.shells

LIST = "\x04"
"""Ctrl+D lists without changing the line."""


@pytest.fixture
def prompt(recorder: Recorder, tmp_path: Path) -> Prompt:
    """A zsh with nothing but this completion, in a directory with a zip file and a directory."""
    program("awk")
    (tmp_path / "some directory").mkdir()
    (tmp_path / "some.zip").touch()
    setup = f"fpath=({shlex.quote(str(ZSH.parent))} $fpath); autoload -Uz compinit; compinit -u -D; unsetopt beep; PS1='> '"
    return Prompt([program("zsh"), "-f", "-i"], recorder, setup)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("foundry servi\tstatu\t--o\tj\t", "foundry service status --output=json"),
        ("foundry config set log-level deb\t", "foundry config set log-level debug"),
        ("foundry config set cache-directory so\t", "foundry config set cache-directory some\\ directory"),
        ("foundry model unload tiny-g\t", "foundry model unload tiny-generic-cpu:1"),
        ("foundry model run --device c\t", "foundry model run --device CPU"),
        ("foundry model run --device=g\t", "foundry model run --device=GPU"),
        ("foundry model run tiny-g\t", "foundry model run tiny-generic-cpu:1"),
        ("foundry model ls --fil\t", "foundry model ls --filter"),
        ("foundry cache rm la\t-g\t", "foundry cache rm large-generic-cpu:2"),
        ("foundry cache rm t\t", "foundry cache rm t"),
        ("foundry cache cd so\t", "foundry cache cd some\\ directory"),
        ("foundry zip-logs some.\t", "foundry zip-logs some.zip"),
        ("foundry service set --default-log-level cr\t--sh\t", "foundry service set --default-log-level critical --show"),
        ("foundry model run -- la\t", "foundry model run -- large"),
        ("foundry model run --prompt s\t", "foundry model run --prompt s"),
        ("foundry model run --prompt --\t", "foundry model run --prompt --"),
    ],
)
def test_lines(prompt: Prompt, keys: str, line: str) -> None:
    # zsh takes back the blank, '/' or '=' that it added when something else than text follows
    assert prompt.line_after(keys) == line


def test_commands_and_options_have_descriptions(prompt: Prompt, recorder: Recorder) -> None:
    assert re.search("service +-- Manage the local model inference service", prompt.listing_after(f"foundry {LIST}"))
    listing = prompt.listing_after(f"foundry model {LIST}")
    assert re.search("run +-- Chat with a model", listing)
    assert "\nls " not in listing
    options = " ".join(prompt.listing_after(f"foundry model run -{LIST}").split())
    assert "--temperature -- 0: always the most probable word" in options
    assert "--help -h -- Show this message and exit" in options
    assert recorder.take_calls() == []


def test_values_are_listed(prompt: Prompt) -> None:
    assert "text" in prompt.listing_after(f"foundry cache list -o {LIST}")
    assert "Auto" in prompt.listing_after(f"foundry model info --device {LIST}")


def test_models_are_asked_for_where_they_stand(prompt: Prompt, recorder: Recorder, tmp_path: Path) -> None:
    listing = prompt.listing_after(f"foundry model run {LIST}")
    assert "tiny-generic-cpu:1" in listing
    assert "danger" not in listing.replace("foundry", "")
    assert recorder.take_calls() == ["model list --output json"]
    assert "tiny" not in prompt.listing_after(f"foundry cache remove {LIST}")
    assert recorder.take_calls() == ["cache list --output json"]
    prompt.listing_after(f"foundry model run tiny {LIST}")
    assert recorder.take_calls() == []
    assert not (tmp_path / "danger").exists()

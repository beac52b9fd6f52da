"""When models were last used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundry_cli.paths import Paths
from foundry_cli.store.usage import last_used, note_use, read_usage
from foundry_cli.types import ModelInfo


def test_uses_are_remembered_by_model(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    note_use(paths, "a:1", 10)
    note_use(paths, "b:1", 20)
    note_use(paths, "a:1", 30)
    assert read_usage(paths) == {"a:1": 30, "b:1": 20}
    note_use(paths, "c:1")
    assert read_usage(paths)["c:1"] > 1e9


_NOTES = """
import sys
from pathlib import Path
from foundry_cli.paths import Paths
from foundry_cli.store.usage import note_use
print("ready", flush=True)
sys.stdin.read()
for number in range(40):
    note_use(Paths(Path(sys.argv[1])), f"{sys.argv[2]}-{number}:1", number)
"""


def test_what_two_processes_note_at_the_same_time_is_all_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _NOTES, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in ("a", "b")]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.close()
    for writer in writers:
        with writer:
            assert writer.wait(30) == 0
    assert read_usage(Paths(tmp_path)) == {f"{name}-{number}:1": number for name in "ab" for number in range(40)}


@pytest.mark.parametrize("content", ["", "[]", "{ broken", '{"a:1": "yesterday", "b:1": -1, "c:1": 1e400}'])
def test_a_file_of_garbage_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "usage.json").write_text(content)
    assert read_usage(Paths(tmp_path)) == {}
    note_use(Paths(tmp_path), "d:1", 5)
    assert json.loads((tmp_path / "usage.json").read_text()) == {"d:1": 5}


def test_what_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    note_use(Paths(tmp_path / "file"), "a:1")
    assert read_usage(Paths(tmp_path / "file")) == {}


def test_a_model_that_was_never_used_counts_from_its_arrival(tmp_path: Path) -> None:
    os.utime(tmp_path, (1000, 1000))
    model = ModelInfo("a", 1, "a", root=tmp_path)
    assert last_used(model, {}) == 1000
    assert last_used(model, {"a:1": 500}) == 1000
    assert last_used(model, {"a:1": 2000}) == 2000

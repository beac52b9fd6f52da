"""When models were last used."""

from __future__ import annotations

import json
import os
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

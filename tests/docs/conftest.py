"""Fixtures of the completion tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.shells import Recorder


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """A `foundry` that writes down how it was called; the test runs in an empty directory next to it."""
    (tmp_path / "bin").mkdir()
    return Recorder.create(tmp_path / "bin")

"""The command line for tests in which the process is not the point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry_cli.client.supervisor import stop_service
from foundry_cli.paths import Paths
from tests.cli.in_process import Command, in_process
from tests.conftest import know_providers


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The command line, without a process for each command; a service that it starts is stopped."""
    yield in_process(monkeypatch, tmp_path / "home")
    stop_service(Paths(tmp_path / "home"))


@pytest.fixture
def settled(here: Command, tmp_path: Path) -> Command:
    """The same with a home that the program knows already, so that it does not ask for execution providers first."""
    know_providers(Paths(tmp_path / "home"))
    return here

"""Fixtures: the server in this process, and OpenAI's own client of the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.conftest import RunningService
from tests.service.local import LocalService, local_service


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A server with a model that says hello."""
    with local_service(tmp_path_factory.mktemp("local")) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[openai.OpenAI]:
    """OpenAI's client, as a program uses it."""
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory that does not exist yet."""
    return tmp_path / "home"

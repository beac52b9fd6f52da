"""The log of the service, where its directory does not let it be rotated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry_cli.log import start_logging

LARGEST = 10 * 1024 * 1024


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The logger that `start_logging` changes, put back afterwards."""
    root = logging.getLogger()
    handlers, level, are_raised = root.handlers[:], root.level, logging.raiseExceptions
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers[:], logging.raiseExceptions = handlers, are_raised
    root.setLevel(level)


def test_a_full_log_is_rotated(tmp_path: Path, root_logger: logging.Logger) -> None:
    log = tmp_path / "foundry.log"
    log.write_bytes(b"x" * (LARGEST - 10))
    start_logging(tmp_path, "info")
    root_logger.info("the next line")
    assert "the next line" in log.read_text()
    assert (tmp_path / "foundry.log.1").stat().st_size == LARGEST - 10


def test_a_log_that_cannot_be_rotated_goes_on(tmp_path: Path, root_logger: logging.Logger) -> None:
    log = tmp_path / "foundry.log"
    log.write_bytes(b"x" * (LARGEST - 10))
    (tmp_path / "foundry.log.3").touch()
    (tmp_path / "foundry.log.4").mkdir()  # in the way of all that would move
    start_logging(tmp_path, "info")
    for line in ("one line", "another line"):
        root_logger.info(line)
    text = log.read_bytes()[LARGEST - 10 :].decode()
    assert "one line" in text
    assert "another line" in text

"""Warnings of a worker on their way into the log of the service."""

from __future__ import annotations

import asyncio
import io
import logging
from pathlib import Path

import pytest

from foundry_cli.engine.frames import Frame, FrameReader
from foundry_cli.engine.worker_log import log_to, relay
from tests.engine.workers import engine, program


def written(sink: io.BytesIO) -> list[Frame]:
    return list(FrameReader().feed(sink.getvalue()))


def test_warnings_become_frames() -> None:
    sink, logger = io.BytesIO(), logging.Logger("test")
    log_to(sink, logger)
    logger.info("not worth it")
    logger.warning("the disk %s is full", "x")
    logger.error("worse")
    assert written(sink) == [
        {"op": "log", "level": "WARNING", "text": "the disk x is full"},
        {"op": "log", "level": "ERROR", "text": "worse"},
    ]


def test_an_exception_is_told_without_its_text() -> None:
    sink, logger = io.BytesIO(), logging.Logger("test")
    log_to(sink, logger)
    try:
        raise ValueError("what somebody said")
    except ValueError:
        logger.exception("it failed")
    assert written(sink) == [{"op": "log", "level": "ERROR", "text": "it failed"}]


def test_a_pipe_without_a_reader_is_no_failure() -> None:
    sink, logger = io.BytesIO(), logging.Logger("test")
    sink.close()
    log_to(sink, logger)
    logger.warning("nobody hears it")


ODD: list[tuple[Frame, tuple[int, str]]] = [
    ({"level": "WARNING", "text": "x"}, (logging.WARNING, "m: x")),
    ({"level": "ERROR", "text": "x"}, (logging.ERROR, "m: x")),
    ({"level": "CRITICAL", "text": "x"}, (logging.WARNING, "m: x")),
    ({"level": 5, "text": 7}, (logging.WARNING, "m: 7")),
    ({"level": [], "text": "%s %d"}, (logging.WARNING, "m: %s %d")),
    ({}, (logging.WARNING, "m: ")),
    ({"text": "x" * 9999}, (logging.WARNING, "m: " + "x" * 500)),
]


@pytest.mark.parametrize(("frame", "expected"), ODD)
def test_what_a_worker_says_cannot_harm_the_log(
    frame: Frame, expected: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    relay("m", frame)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [expected]


def test_while_loading_and_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    say = "send({'op': 'log', 'level': 'WARNING', 'text': '%s'})"
    body = f"{say % 'first'}; ready(); {say % 'second'}\nfor frame in requests(): pass"

    async def run() -> None:
        async with engine(Path(__file__).parent, command=program(body)):
            pass

    with caplog.at_level(logging.WARNING, "foundry.engine"):
        asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == ["test: first", "test: second"]

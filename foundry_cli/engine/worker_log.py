"""Warnings of the worker in the log of the service; what else it prints is told only at level debug, or when it dies.

Whatever is logged as a warning may be read by anybody who is given a log: nothing in it quotes a conversation.
"""

from __future__ import annotations

import logging
from typing import BinaryIO

from foundry_cli.engine.frames import Frame, encode_frame

logger = logging.getLogger("foundry.engine")

_LONGEST = 500  # characters


class _FrameHandler(logging.Handler):
    """Writes a frame for each record. Without tracebacks: the text of an exception may quote a conversation."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(logging.WARNING)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the logger."""
        try:
            self._sink.write(encode_frame({"op": "log", "level": record.levelname, "text": record.getMessage()[:_LONGEST]}))
            self._sink.flush()
        except (OSError, ValueError):
            return  # the service is gone


def log_to(sink: BinaryIO, source: logging.Logger = logger) -> None:
    """Send the warnings of `source` through the pipe to the service."""
    source.handlers[:] = [_FrameHandler(sink)]
    source.propagate = False


def relay(name: str, frame: Frame) -> None:
    """Log what the worker of the model `name` has sent."""
    level = logging.ERROR if frame.get("level") == "ERROR" else logging.WARNING
    logger.log(level, "%s: %s", name, str(frame.get("text", ""))[:_LONGEST])

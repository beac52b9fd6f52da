"""The log file of the service: rotated, escaped, without prompts or answers."""

from __future__ import annotations

import logging
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from foundry_cli.paths import make_private_directory

LOG_NAME = "foundry.log"
_LARGEST_FILE = 10 * 1024 * 1024  # bytes
_OLD_FILES = 4

_TALKATIVE = ("urllib3", "uvicorn")  # below INFO they write down addresses with their queries, and these can hold secrets
_LEVELS = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40, "critical": 50, "none": 100}


class _PlainFormatter(logging.Formatter):
    """One entry per line: control characters that came in with names or messages are written as escapes.

    The lines of a traceback are indented, so that none of them can pass for an entry.
    """

    def format(self, record: logging.LogRecord) -> str:
        """As the base class, made harmless."""
        text = super().format(record).replace("\n", "\n    ")
        return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        """The entry without a traceback; a message keeps to its line."""
        record.message = record.message.replace("\n", "\\n")
        return super().formatMessage(record)


class _LogFile(RotatingFileHandler):
    """The log, which goes on in the same file where no other can take its place."""

    def doRollover(self) -> None:  # noqa: N802 - the base class's name
        """Called by the base class when the file is full; the next line opens it again, whichever it is then."""
        with suppress(OSError):
            super().doRollover()


def start_logging(directory: Path, level: str) -> Path:
    """Log everything from `level` (a name of `config.LOG_LEVELS`) to the file in `directory`, and return its path.

    Raises `OSError` when it cannot be written.
    """
    make_private_directory(directory)
    path = directory / LOG_NAME
    path.touch(mode=0o600)
    handler = _LogFile(path, maxBytes=_LARGEST_FILE, backupCount=_OLD_FILES, encoding="utf-8")
    handler.setFormatter(_PlainFormatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(max(_LEVELS[level], logging.INFO))
    logging.raiseExceptions = False  # a full disk must not fail requests
    return path

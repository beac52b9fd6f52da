"""Errors at the terminal: which sentence, which exit code."""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import IntEnum

from foundry_cli import errors
from foundry_cli.cli import output


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    DOWNLOAD_FAILED = 5
    INTERRUPTED = 130


_CODES: dict[type[errors.FoundryError], ExitCode] = {
    errors.FoundryError: ExitCode.FAILED,
    errors.InvalidRequestError: ExitCode.USAGE,
    errors.ContextLengthError: ExitCode.FAILED,
    errors.ServiceUnreachableError: ExitCode.UNREACHABLE,
    errors.ServiceStartError: ExitCode.UNREACHABLE,
    errors.ModelNotFoundError: ExitCode.NOT_FOUND,
    errors.DownloadError: ExitCode.DOWNLOAD_FAILED,
}


def exit_code(error: errors.FoundryError) -> ExitCode:
    """The exit code for `error`, by the nearest class that has one."""
    return next(_CODES[cls] for cls in type(error).__mro__ if cls in _CODES)


def sentence(error: errors.FoundryError) -> str:
    """`error` as one line, with its way out."""
    text = f"Exception: {error.message} {error.hint}" if error.hint else f"Exception: {error.message}"
    return " ".join(text.split())


def report(error: errors.FoundryError) -> ExitCode:
    """Print `error` on standard error and return the exit code, which counts also where nothing can be printed."""
    with suppress(OSError):
        print(output.shown(sentence(error), sys.stderr), file=sys.stderr, flush=True)  # noqa: T201
    return exit_code(error)

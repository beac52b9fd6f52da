"""Directories as people name them on the command line."""

from __future__ import annotations

import os
from pathlib import Path

from foundry_cli.errors import InvalidRequestError


def given_directory(text: str) -> Path:
    """The absolute path that `text` means, `~` being the home directory. Raises `InvalidRequestError` for an empty one."""
    if not text.strip():
        raise InvalidRequestError("The directory has no name.", hint="Give a path; '.' is the directory you are in.")
    return Path(os.path.abspath(os.path.expanduser(text)))

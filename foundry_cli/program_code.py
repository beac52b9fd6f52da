"""Which code this is. The version does not say: in development many have the same."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

_ENDINGS = (".py", ".so")


def code_digest() -> str:
    """A digest of the program's files as they are on disk now. Takes some milliseconds.

    Of what is in them, not of their times: an installation of the same files changes nothing.
    """
    root = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(_files(root)):
        with suppress(OSError):  # it is being exchanged: that is another digest, too
            with open(path, "rb", buffering=0) as stream:
                content = stream.read()
            digest.update(f"{os.path.relpath(path, root)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _files(root: Path) -> list[str]:
    found: list[str] = []
    for place, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if folder != "__pycache__"]
        found += [os.path.join(place, name) for name in names if name.endswith(_ENDINGS)]
    return found

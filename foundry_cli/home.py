"""Whose the home directory is, and what to say of a file in it that cannot be used."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from foundry_cli.errors import ForbiddenError
from foundry_cli.paths import Paths, make_private_directory

_ANOTHER = "set FOUNDRY_HOME to another directory."
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENXIO, errno.ENOTEMPTY}


def make_home(paths: Paths) -> None:
    """Make the home directory and its `run`, if they are missing. Raises `OSError`, and `ForbiddenError` for another's."""
    check_owner(paths)
    make_private_directory(paths.home)  # first: the parents of a directory are made with the modes of the umask
    make_private_directory(paths.run)


def check_owner(paths: Paths) -> None:
    """Raise `ForbiddenError` in the home of somebody else: files of ours, of root above all, would lock its owner out.

    The owner is who has run a service there; before the first one, the owner of the directory, if it is in that user's own
    home: a volume of a container belongs to somebody, too, and is meant for whoever runs there.
    """
    if other := _other_owner(paths):
        directory, owner = other
        raise ForbiddenError(
            f"{directory} belongs to {_name(owner)}, and you are {_name(_self())}.", hint=_way_of_owner(paths, owner)
        )


def is_own(paths: Paths) -> bool:
    """Whether the home is ours, or will be: what only makes commands faster is not kept in another's."""
    return _other_owner(paths) is None


def _other_owner(paths: Paths) -> tuple[Path, int] | None:
    """The directory that shows whose the home is, and the user that it belongs to; None when that is who asks."""
    for directory in (paths.run, paths.home):
        owner = _owner(directory)
        if owner is not None:
            is_free = directory == paths.home and (_is_empty(directory) or not _lives_in(directory, owner))
            return None if owner == _self() or is_free else (directory, owner)
    return None


def explained(error: OSError, place: Path, paths: Paths) -> tuple[str, str | None]:
    """A sentence that names the file which cannot be used, `place` if `error` does not know it, and the way out."""
    file = Path(os.fsdecode(error.filename2 or error.filename or place))
    reason = "it is not a directory" if error.errno == errno.EEXIST else error.strerror
    return f"{file} cannot be used: {reason}.", way_out(error, file, paths)


def way_out(error: OSError, file: Path, paths: Paths) -> str | None:
    """What to do about `error`, which came from `file`; None when nothing better than its text is known."""
    if error.errno in (errno.EACCES, errno.EPERM):
        places = [file, *(parent for parent in file.parents if parent == paths.home or paths.home in parent.parents)]
        owners = (_owner(place) for place in places)
        other = next((owner for owner in owners if owner is not None and owner != _self()), None)
        return None if other is None else f"It belongs to {_name(other)}. {_way_of_owner(paths, other)}"
    if error.errno == errno.EROFS:
        return f"Mount its file system for writing, or {_ANOTHER}"
    if error.errno == errno.EIO:
        return f"Its disk may be damaged; you can {_ANOTHER}"
    if error.errno in _IN_THE_WAY:
        return f"Move it away, or {_ANOTHER}" if paths.home in file.parents else f"You can {_ANOTHER}"
    return None


def _way_of_owner(paths: Paths, owner: int) -> str:
    if _owner(paths.home) == _self():
        return f"'sudo chown -R {_name(_self())}: {paths.home}' gives it back."
    return f"Run the command as {_name(owner)}, or set FOUNDRY_HOME to a directory of your own."


def _self() -> int:
    return os.geteuid() if sys.platform != "win32" else 0


def _owner(path: Path) -> int | None:
    """The user that `path` belongs to; None when that cannot be told, and on Windows, where no user is a number."""
    try:
        return path.stat().st_uid if sys.platform != "win32" else None
    except OSError:
        return None


def _name(user: int) -> str:
    if sys.platform != "win32":
        import pwd

        try:
            return pwd.getpwuid(user).pw_name
        except KeyError:
            pass
    return str(user)


def _lives_in(directory: Path, user: int) -> bool:
    """Whether `directory` is in the home directory of `user`."""
    if sys.platform != "win32":
        import pwd

        try:
            return Path(pwd.getpwuid(user).pw_dir) in directory.parents
        except KeyError:
            pass
    return False


def _is_empty(directory: Path) -> bool:
    try:
        return not os.listdir(directory)
    except OSError:
        return False

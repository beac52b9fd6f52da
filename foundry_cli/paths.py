"""Where things are on disk. Everything lives below one directory, `FOUNDRY_HOME` (default `~/.foundry`)."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.errors import ConfigError

SOCKET_PATH_LIMIT = 100  # bytes; the kernel's own limit is 108 on Linux and 104 on macOS, with the final NUL


@dataclass(frozen=True)
class Paths:
    """The directory tree of one installation. Nothing is created by asking for a path."""

    home: Path

    @classmethod
    def from_environment(cls) -> Paths:
        """`FOUNDRY_HOME` if set and not empty, else `~/.foundry`; always absolute.

        Raises `ConfigError` when there is neither.
        """
        configured = os.environ.get("FOUNDRY_HOME")
        if configured:
            return cls(Path(os.path.abspath(os.path.expanduser(configured))))  # not every shell has seen it
        try:
            return cls(Path(os.path.abspath(user_home())) / ".foundry")
        except (RuntimeError, KeyError) as error:  # no HOME, and a user without an entry in the list of users
            hint = "Set FOUNDRY_HOME to a directory for settings, logs and models."
            raise ConfigError("This user has no home directory.", hint=hint) from error

    @property
    def config_file(self) -> Path:
        """Settings, in the original's format."""
        return self.home / "foundry.config.json"

    @property
    def default_cache(self) -> Path:
        """Models, unless the configuration names another directory."""
        return self.home / "cache" / "models"

    @property
    def logs(self) -> Path:
        """Log files of the service."""
        return self.home / "logs"

    @property
    def catalogs(self) -> Path:
        """What is stored about catalogs: lists of mirrors, and when each was asked."""
        return self.home / "catalogs"

    @property
    def conversations(self) -> Path:
        """Conversations that go on at once after a restart: what was said, and keys and values computed from it."""
        return self.home / "conversations"

    @property
    def history_file(self) -> Path:
        """What was typed at the chat prompt."""
        return self.home / "history"

    @property
    def usage_file(self) -> Path:
        """When each model was used last."""
        return self.home / "usage.json"

    @property
    def verdicts_file(self) -> Path:
        """What tests of models have found."""
        return self.home / "verdicts.json"

    @property
    def run(self) -> Path:
        """State of the running service: lock, instance record, socket."""
        return self.home / "run"

    @property
    def start_lock(self) -> Path:
        """Held by whoever starts the service, until it answers."""
        return self.run / "start.lock"

    @property
    def lock_file(self) -> Path:
        """Held by the service for its whole life; never removed."""
        return self.run / "service.lock"

    @property
    def instance_file(self) -> Path:
        """Record of the running service, see `instance.py`."""
        return self.run / "instance.json"

    @property
    def port_file(self) -> Path:
        """The TCP port of the last start, taken again when it is free."""
        return self.run / "port"

    @property
    def socket(self) -> Path:
        """Unix socket of the service; in the platform's runtime directory when the usual path is too long."""
        usual = self.run / "service.sock"
        if len(os.fsencode(usual)) <= SOCKET_PATH_LIMIT:
            return usual
        import warnings

        from platformdirs import user_runtime_path  # only for long paths: keeps start-up fast

        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without XDG_RUNTIME_DIR it is a directory in /tmp, whose owner is checked
            return user_runtime_path("foundry") / f"{digest}.sock"


def user_home() -> Path:
    """The home directory of the user; an empty HOME is none. Raises `RuntimeError`, `KeyError` for who has none."""
    if sys.platform == "win32" or os.environ.get("HOME") != "":
        return Path.home()
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def shown(path: Path) -> str:
    """`path` as text that can be sent: names of files are bytes, and need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def make_private_directory(directory: Path) -> None:
    """Create `directory` and its parents if missing, readable by the owner only (0700)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


SHARED = 0o666
"""A mode for `write_atomically`: whoever the umask lets may read it, as with files that other programs make."""


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`: readers see the old bytes or the new ones, also after a power cut. `mode` less the umask.

    Raises `OSError` naming `path`.
    """
    make_private_directory(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error  # nobody knows the other name

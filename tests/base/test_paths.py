"""Where things are, and writing files atomically."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from foundry_cli.errors import ConfigError
from foundry_cli.paths import SOCKET_PATH_LIMIT, Paths, write_atomically


def test_home_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOUNDRY_HOME", str(tmp_path))
    assert Paths.from_environment().home == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOUNDRY_HOME", "relative")
    assert Paths.from_environment().home == tmp_path / "relative"
    monkeypatch.setenv("FOUNDRY_HOME", "")
    assert Paths.from_environment().home == Path.home() / ".foundry"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOUNDRY_HOME", raising=False)
    monkeypatch.setenv("HOME", "relative")
    assert Paths.from_environment().home == Path.cwd() / "relative" / ".foundry"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54_321)  # whom no list of users has
    with pytest.raises(ConfigError) as caught:
        Paths.from_environment()
    assert "FOUNDRY_HOME" in str(caught.value.hint)


def test_a_long_home_still_has_a_socket_path_that_fits(tmp_path: Path) -> None:
    homes = [Paths(tmp_path / ("x" * 150)), Paths(tmp_path / ("y" * 150))]
    sockets = {home.socket for home in homes}
    assert len(sockets) == 2
    assert all(len(os.fsencode(path)) <= SOCKET_PATH_LIMIT + 4 for path in sockets)
    assert Paths(tmp_path).socket == tmp_path / "run" / "service.sock" or len(os.fsencode(tmp_path)) > 80


def test_files_are_replaced_whole_and_private(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file"
    write_atomically(file, b"one")
    write_atomically(file, b"two")
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    directory = tmp_path / "target"
    directory.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(directory, b"a directory cannot be replaced by a file")
    assert directory.is_dir()
    assert list(tmp_path.iterdir()) == [directory]


@pytest.mark.skipif(os.name == "nt", reason="HOME of POSIX")
def test_a_home_that_no_shell_has_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FOUNDRY_HOME", "~/of foundry")
    assert Paths.from_environment().home == tmp_path / "of foundry"
    monkeypatch.delenv("FOUNDRY_HOME")
    monkeypatch.setenv("HOME", "")
    expected = subprocess.run(["bash", "-c", "eval echo ~$(id -un)"], capture_output=True, text=True, check=True)
    assert Paths.from_environment().home == Path(expected.stdout.strip()) / ".foundry"

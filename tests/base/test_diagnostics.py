"""Secrets never leave the machine in a report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from foundry_cli.diagnostics import facts, log_lines, redact, zip_logs
from foundry_cli.errors import ConfigError, FoundryError
from foundry_cli.instance import InstanceRecord
from foundry_cli.paths import Paths
from tests.conftest import FOUNDRY, clean_environment

BOUND = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(flush=True); input()"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer eyJhbGciOi.J9-x", "eyJhbGciOi"),
        ("key sk-abcdefgh12345 end", "abcdefgh12345"),
        ("token hf_ABCDEFGHIJK", "ABCDEFGHIJK"),
        ("https://x.blob/c?sv=1&sig=abc%2Fdef&se=2", "abc%2Fdef"),
        ("proxy http://user:pass@host:1/", "user:pass"),
    ],
)
def test_things_shaped_like_secrets_are_removed(text: str, secret: str) -> None:
    redacted = redact(text)
    assert secret not in redacted
    assert "[removed]" in redacted


def test_values_of_secret_variables_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "plainvalue")
    monkeypatch.setenv("SOME_COLOR", "turquoise")
    assert redact("plainvalue and turquoise") == "[removed] and turquoise"


def test_the_home_directory_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert redact("/home/somebody/.foundry/logs") == "~/.foundry/logs"


@pytest.mark.skipif(sys.platform != "linux", reason="no affinity of other processes")
def test_the_threads_are_those_of_the_service(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with subprocess.Popen([sys.executable, "-c", BOUND], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdin
        assert service.stdout
        service.stdout.readline()
        record = InstanceRecord("identity", service.pid, 0.0, "127.0.0.1", 1, "", "token", "0")
        record.write(paths.instance_file)
        assert facts(paths)["Threads"].startswith("1 (1 cores in the affinity, as 1 processors; ")
        service.stdin.write(b"\n")
    own = len(os.sched_getaffinity(0))
    assert f", as {own} processors; " in facts(paths)["Threads"], "it is gone"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A directory of logs with one line each in two of them, below the home `home`."""
    directory = tmp_path / "home" / "logs"
    directory.mkdir(parents=True)
    for name in ("foundry.log", "foundry.log.1"):
        (directory / name).write_text("a line\n")
    return directory


def test_a_user_without_a_home_directory_has_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54_321)  # whom no list of users has
    assert redact("/home/somebody") == "/home/somebody"


def test_logs_that_cannot_be_read_are_named(logs: Path, tmp_path: Path) -> None:
    (logs / "foundry.log").unlink()
    (logs / "foundry.log").mkdir()
    (logs / "console.log").symlink_to("/etc/hostname")
    (logs / "other").touch()
    paths = Paths(tmp_path / "home")
    with pytest.raises(FoundryError, match=r"foundry\.log cannot be read: "):
        list(log_lines(paths))
    target = zip_logs(paths, tmp_path / "logs.zip")
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == ["diagnostics.json", "left-out.txt", "logs/foundry.log.1"]
        left_out = archive.read("left-out.txt").decode().splitlines()
    assert sorted(line.partition(":")[0] for line in left_out) == ["console.log", "foundry.log", "other"]
    assert "foundry.log: Is a directory" in left_out


def test_there_may_be_no_log_yet(tmp_path: Path) -> None:
    assert list(log_lines(Paths(tmp_path / "home"))) == []


def test_a_zip_that_cannot_be_finished_is_not_left(logs: Path, tmp_path: Path) -> None:
    target = tmp_path / "logs.zip"
    logs.with_name("foundry.config.json").write_text("{")
    with pytest.raises(ConfigError):
        zip_logs(Paths(tmp_path / "home"), target)
    assert not target.exists()
    logs.with_name("foundry.config.json").unlink()
    assert zip_logs(Paths(tmp_path / "home"), target) == target


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_log_on_a_damaged_disk_is_left_out(logs: Path, tmp_path: Path) -> None:
    trace = ["strace", "-f", "-o", "/dev/null", "-P", str(logs / "foundry.log"), "-e", "inject=read:error=EIO", str(FOUNDRY)]
    environment = clean_environment(tmp_path / "home")
    target = tmp_path / "logs.zip"
    done = subprocess.run([*trace, "zip-logs", str(target)], env=environment, capture_output=True, text=True, timeout=60)
    if "ptrace" in done.stderr:
        pytest.skip("nothing can be traced here")
    with zipfile.ZipFile(target) as archive:
        assert archive.read("left-out.txt") == b"foundry.log: Input/output error\n"
        assert archive.read("logs/foundry.log.1") == b"a line\n"
    shown = [*trace, "service", "diag", "--logs"]
    done = subprocess.run(shown, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{logs / 'foundry.log'} cannot be read: Input/output error." in done.stderr


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
@pytest.mark.parametrize(("clock", "kept"), [("1970-01-01 00:00:10", 1980), ("2120-01-01 00:00:00", 2107)])
def test_the_clock_may_be_wrong_when_logs_are_collected(logs: Path, tmp_path: Path, clock: str, kept: int) -> None:
    target = tmp_path / "logs.zip"
    command = ["faketime", clock, str(FOUNDRY), "zip-logs", str(target)]
    subprocess.run(command, env=clean_environment(logs.parent), check=True, timeout=60)
    with zipfile.ZipFile(target) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {kept}
        assert json.loads(archive.read("diagnostics.json"))["Home"]

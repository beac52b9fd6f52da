"""The home of a service: whose it is, what may have become of it, and what is said of files that cannot be used."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from foundry_cli.client.client import TextDelta
from foundry_cli.client.home_lock import is_held
from foundry_cli.client.supervisor import find_service, require_service, start_service, stop_service
from foundry_cli.config import changing, load_config
from foundry_cli.errors import ConfigError, ForbiddenError, ServiceStartError
from foundry_cli.home import _lives_in, check_owner, is_own
from foundry_cli.paths import Paths
from tests.conftest import FOUNDRY, add_model, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="files belong to nobody there")]
needs_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
NOBODY = 65534


@pytest.fixture
def paths(home: Path) -> Iterator[Paths]:
    """A home whose service, if any, is stopped at the end."""
    made = Paths(home)
    yield made
    stop_service(made)


def _give(home: Path, user: int) -> None:
    for path in (home, *home.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)


def _foundry(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(home, **variables)
    return subprocess.run(
        [str(FOUNDRY), *arguments], env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60
    )


@needs_root
@pytest.mark.parametrize(
    "command",
    [
        ["service", "start"], ["service", "restart"], ["service", "stop"], ["service", "set", "--idle-timeout", "5"],
        ["config", "set", "port", "auto"], ["catalog", "refresh"], ["cache", "remove", "--all", "--yes"],
        ["model", "add", "."], ["model", "run", "foundry-guide", "--prompt", "Hi"],
    ],
)  # fmt: skip
def test_the_home_of_somebody_else_is_left_alone(paths: Paths, command: list[str]) -> None:
    client, _ = start_service(paths)
    _give(paths.home, NOBODY)
    before = {path: path.stat() for path in paths.home.rglob("*") if path.parent != paths.logs}
    output = _foundry(paths.home, *command)
    assert output.returncode == 1
    assert f"{paths.run} belongs to {pwd.getpwuid(NOBODY).pw_name}, and you are root." in output.stderr
    assert "FOUNDRY_HOME" in output.stderr
    assert output.stderr.count("\n") == 1
    assert output.stdout == ""
    assert client.is_alive()
    after = {path: path.stat() for path in paths.home.rglob("*") if path.parent != paths.logs}
    assert {path: status.st_mtime for path, status in after.items()} == {path: s.st_mtime for path, s in before.items()}
    _give(paths.home, os.geteuid())


@needs_root
def test_somebody_elses_home_can_be_looked_at(paths: Paths) -> None:
    client, _ = start_service(paths)
    _give(paths.home, NOBODY)
    for command in (["service", "status"], ["model", "list"], ["service", "diag", "--logs"], ["cache", "location"]):
        assert _foundry(paths.home, *command).returncode == 0
    assert client.record.base_url in _foundry(paths.home, "service", "status").stdout
    left = [path for path in paths.home.rglob("*") if path.lstat().st_uid != NOBODY]
    assert left == []
    _give(paths.home, os.geteuid())


@needs_root
def test_who_has_files_of_another_user_is_told_how_to_get_them_back(paths: Paths) -> None:
    paths.run.mkdir(parents=True)
    os.chown(paths.run, NOBODY, NOBODY)
    with pytest.raises(ForbiddenError) as caught:
        check_owner(paths)
    assert caught.value.hint == f"'sudo chown -R root: {paths.home}' gives it back."
    os.chown(paths.run, 0, 0)
    os.chown(paths.home, NOBODY, NOBODY)
    assert is_own(paths)  # a volume that a container was given: the service ran there as this user
    paths.run.rmdir()
    assert is_own(paths)
    paths.logs.mkdir()
    assert is_own(paths)  # nor is it in the home directory of that user, where it would be meant for nobody else
    assert _lives_in(Path.home() / ".foundry", os.geteuid())
    os.chown(paths.home, 0, 0)


def test_a_copied_home_has_no_service(paths: Paths, tmp_path: Path) -> None:
    original, _ = start_service(paths)
    copy = Paths(tmp_path / "copy")
    subprocess.run(["cp", "-a", str(paths.home), str(copy.home)], check=True)
    assert find_service(copy) is None
    assert stop_service(copy) is False
    assert original.is_alive()
    second, is_new = start_service(copy)
    assert is_new
    assert (second.record.instance_id, second.record.port) != (original.record.instance_id, original.record.port)
    assert stop_service(copy) is True
    assert find_service(paths) is not None


def test_two_that_look_at_the_lock_do_not_take_each_other_for_a_service(paths: Paths) -> None:
    import fcntl

    paths.run.mkdir(parents=True)
    paths.lock_file.touch()
    with paths.lock_file.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert not is_held(paths.lock_file)
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert is_held(paths.lock_file)


@pytest.mark.parametrize("mode", [0o400, 0o000])
def test_a_lock_that_can_only_be_read_or_not_at_all(paths: Paths, mode: int) -> None:
    client, _ = start_service(paths)
    paths.lock_file.chmod(mode)
    if mode or os.geteuid() == 0:
        assert require_service(paths).record == client.record
        assert stop_service(paths) is True
    else:
        with pytest.raises(ServiceStartError, match=r"service\.lock cannot be used: Permission denied"):
            require_service(paths)
    paths.lock_file.chmod(0o600)


@needs_root
def test_a_service_on_a_file_system_that_can_only_be_read(paths: Paths) -> None:
    client, _ = start_service(paths)
    script = (  # a mount of its own: that of the service cannot become read-only as long as it writes its log there
        f"mount --bind {paths.home} {paths.home} && mount -o remount,bind,ro {paths.home} && "
        f"{FOUNDRY} service status && {FOUNDRY} service stop && {FOUNDRY} service status && {FOUNDRY} service start"
    )
    command = ["unshare", "-m", "bash", "-c", script]
    done = subprocess.run(command, env=clean_environment(paths.home), capture_output=True, text=True, timeout=60)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert client.record.base_url in done.stdout
    assert "Service is stopped." in done.stdout
    assert "is not running" in done.stdout
    assert done.returncode == 3
    assert done.stderr.startswith(f"Exception: {paths.start_lock} cannot be used: Read-only file system. Mount ")
    assert not client.is_alive()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_service_on_a_disk_that_does_not_say_whether_its_lock_is_held(paths: Paths) -> None:
    client, _ = start_service(paths)
    damaged = ["strace", "-f", "-o", "/dev/null", "-P", str(paths.lock_file), "-e", "inject=openat:error=EIO", str(FOUNDRY)]

    def foundry(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment(paths.home)
        return subprocess.run([*damaged, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    status = foundry("service", "status")
    if "ptrace" in status.stderr:
        pytest.skip("nothing can be traced here")
    assert client.record.base_url in status.stdout
    assert "is stopped" in foundry("service", "stop").stdout
    assert not client.is_alive()
    assert (foundry("service", "status").returncode, foundry("service", "stop").returncode) == (0, 0)


def test_the_end_of_the_terminal_is_a_graceful_end(paths: Paths) -> None:
    add_model(paths, "endless:1", ["0123456789"], busy=4, eos_after_reply=False)
    client, _ = start_service(paths)
    answer = client.chat("endless", [{"role": "user", "content": "Hi"}], max_tokens=60)
    assert isinstance(next(answer), TextDelta)
    os.kill(client.record.pid, signal.SIGHUP)
    assert len(list(answer)) > 1  # to its end: else it would raise
    psutil.wait_procs([psutil.Process(client.record.pid)] if psutil.pid_exists(client.record.pid) else [], timeout=20)
    assert not paths.instance_file.exists()
    assert not paths.socket.exists()


@pytest.mark.parametrize("encoding", ["utf-16", "cp037"])
def test_the_service_says_that_it_runs_in_any_encoding(paths: Paths, encoding: str) -> None:
    environment = clean_environment(paths.home, PYTHONIOENCODING=encoding)
    done = subprocess.run([str(FOUNDRY), "service", "start"], env=environment, capture_output=True, timeout=60)
    assert "Service is Started on http://127.0.0.1:" in done.stdout.decode(encoding)
    assert find_service(paths)


def test_a_process_that_says_nothing_intelligible_does_not_go_on(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(paths.home))  # where it finds a module that speaks first
    paths.home.mkdir(mode=0o700)
    (paths.home / "sitecustomize.py").write_text("print('Welcome!', flush=True)")
    with pytest.raises(ServiceStartError, match="did not start"):
        start_service(paths)
    monkeypatch.delenv("PYTHONPATH")
    assert start_service(paths)[1]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the limit does not hold for root")
def test_a_user_who_may_have_no_more_processes(paths: Paths) -> None:
    command = ["bash", "-c", 'ulimit -u 1; exec "$0" service start', str(FOUNDRY)]
    done = subprocess.run(command, env=clean_environment(paths.home), capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "ulimit -u" in done.stderr
    assert done.stderr.count("\n") == 1


OBSTACLES = ["run/start.lock", "run/service.lock", "run/instance.json", "logs/foundry.log", "logs/console.log"]


@pytest.mark.parametrize("name", OBSTACLES)
@pytest.mark.parametrize("kind", ["directory", "loop"])
def test_what_is_in_the_way_is_named(paths: Paths, name: str, kind: str) -> None:
    obstacle = paths.home / name
    obstacle.parent.mkdir(mode=0o700, parents=True)
    if kind == "directory":
        obstacle.mkdir()
    elif name == "run/instance.json":
        pytest.skip("a link is replaced by the record")
    else:
        obstacle.symlink_to(obstacle.name)
    with pytest.raises(ServiceStartError) as caught:
        start_service(paths)
    assert caught.value.message.startswith(f"{obstacle} cannot be used: ")
    assert caught.value.hint == "Move it away, or set FOUNDRY_HOME to another directory."


def test_a_home_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        home = Paths(tmp_path / name)
        with pytest.raises(ServiceStartError) as caught:
            start_service(home)
        assert caught.value.message == f"{tmp_path / name} cannot be used: it is not a directory."
        assert caught.value.hint == "You can set FOUNDRY_HOME to another directory."
        with pytest.raises(ConfigError, match="it is not a directory"), changing(home):
            pass


def test_a_record_that_cannot_be_read_is_said(paths: Paths) -> None:
    client, _ = start_service(paths)
    paths.instance_file.unlink()
    paths.instance_file.mkdir()
    status = _foundry(paths.home, "service", "status")
    assert "Model management service does not answer!" in status.stdout
    assert f"{paths.instance_file} cannot be used: Is a directory." in status.stderr
    assert str(paths.instance_file) in _foundry(paths.home, "service", "ps").stderr
    paths.instance_file.rmdir()
    client.record.write(paths.instance_file)


def test_settings_that_are_a_directory(paths: Paths) -> None:
    paths.config_file.mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        load_config(paths)
    assert str(paths.config_file) in caught.value.message
    assert caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_nobody_of_the_same_user_looks_into_the_service(paths: Paths) -> None:
    client, _ = start_service(paths)
    with_no_more_rights = ["setpriv", "--bounding-set", "-all"] if os.geteuid() == 0 else []
    command = [*with_no_more_rights, "cat", f"/proc/{client.record.pid}/environ"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.returncode) == ("", 1)
    assert "Permission denied" in done.stderr


def test_the_lock_of_a_service_that_hangs_leads_to_it(paths: Paths) -> None:
    client, _ = start_service(paths)
    os.kill(client.record.pid, signal.SIGSTOP)
    paths.instance_file.unlink()
    assert stop_service(paths, patience=0.1)
    assert not psutil.pid_exists(client.record.pid) or psutil.Process(client.record.pid).status() == psutil.STATUS_ZOMBIE

"""The life of the service process: one per home, detached, found again, stopped; and what may go wrong on the way."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from foundry_cli.client.client import ServiceClient, TextDelta
from foundry_cli.client.supervisor import find_service, require_service, start_service, stop_service
from foundry_cli.errors import ConfigError, FoundryError, ServiceStartError, ServiceUnreachableError
from foundry_cli.instance import read_instance
from foundry_cli.paths import Paths
from tests.conftest import FOUNDRY, add_model, clean_environment

pytestmark = pytest.mark.slow


@pytest.fixture
def paths(home: Path) -> Iterator[Paths]:
    """A home whose service, if any, is stopped at the end."""
    made = Paths(home)
    yield made
    stop_service(made)


def _wait_for_end(pid: int) -> None:
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=20)


def _kill(client: ServiceClient) -> None:
    os.kill(client.record.pid, signal.SIGKILL)
    _wait_for_end(client.record.pid)


def test_starting_twice_gives_the_same_service(paths: Paths) -> None:
    first, is_new = start_service(paths)
    assert is_new
    second, is_new = start_service(paths)
    assert not is_new
    assert second.record == first.record == read_instance(paths.instance_file)
    assert first.is_alive()


def _services(paths: Paths) -> list[int]:
    """Every process that has served the home, by its log: nobody but root may see of which home a service is."""
    return [int(pid) for pid in re.findall(r"serves \S+, process (\d+)", (paths.logs / "foundry.log").read_text())]


def test_many_starts_at_the_same_time_give_one_service(paths: Paths) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: start_service(paths), range(40)))
    assert sum(is_new for _, is_new in answers) == 1
    assert {client.record.instance_id for client, _ in answers} == {require_service(paths).record.instance_id}
    assert _services(paths) == [answers[0][0].record.pid]


@pytest.mark.slow
def test_many_commands_at_the_same_time_start_one_service(paths: Paths) -> None:
    environment = clean_environment(paths.home)

    def start(_: int) -> str:
        command = [str(FOUNDRY), "service", "start"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
        return done.stdout

    with ThreadPoolExecutor(64) as pool:
        lines = list(pool.map(start, range(64)))
    client = require_service(paths)
    assert sum("is Started" in line for line in lines) == 1
    assert all(client.record.base_url in line for line in lines)
    assert _services(paths) == [client.record.pid]


def test_a_start_during_a_stop_waits_for_its_end(paths: Paths) -> None:
    add_model(paths, "endless:1", ["0123456789"], busy=4, eos_after_reply=False)
    first, _ = start_service(paths)
    answer = first.chat("endless", [{"role": "user", "content": "Hi"}])
    assert isinstance(next(answer), TextDelta)
    first.stop()  # drains: the stream goes on
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(start_service, paths)
        answer.close()  # type: ignore[attr-defined]
        client, is_new = second.result(30)
    assert is_new
    assert client.record.instance_id != first.record.instance_id


def test_stopping(paths: Paths) -> None:
    assert stop_service(paths) is False
    assert not paths.home.exists()  # asking leaves nothing
    client, _ = start_service(paths)
    assert stop_service(paths) is True
    _wait_for_end(client.record.pid)
    assert find_service(paths) is None
    assert not client.is_alive()
    assert not paths.socket.exists()
    assert not paths.instance_file.exists()
    with pytest.raises(ServiceUnreachableError, match="not running"):
        require_service(paths)


def test_a_killed_service_leaves_nothing_in_the_way(paths: Paths) -> None:
    add_model(paths, "echo:1", ["Hello"])
    client, _ = start_service(paths)
    client.load("echo")
    (loaded,) = client.status()["loadedModels"]
    worker = psutil.Process(loaded["pid"])
    _kill(client)
    worker.wait(20)  # dies with its parent
    assert paths.instance_file.exists()
    assert find_service(paths) is None
    assert stop_service(paths) is False
    again, is_new = start_service(paths)
    assert is_new
    assert again.record.port == client.record.port  # sticky


def test_the_pid_of_a_stale_record_is_not_signalled(paths: Paths) -> None:
    client, _ = start_service(paths)
    _kill(client)
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    replace(client.record, pid=innocent.pid).write(paths.instance_file)
    assert stop_service(paths) is False
    assert find_service(paths) is None
    innocent.communicate(b"\n", timeout=20)
    assert innocent.returncode == 0


def test_a_service_that_hangs_is_killed(paths: Paths) -> None:
    client, _ = start_service(paths)
    os.kill(client.record.pid, signal.SIGSTOP)
    assert stop_service(paths, patience=0.1) is True
    assert start_service(paths)[1]


def test_a_lock_of_somebody_unknown_is_an_error(paths: Paths) -> None:
    client, _ = start_service(paths)
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.kill(client.record.pid, signal.SIGSTOP)
    replace(client.record, pid=innocent.pid).write(paths.instance_file)
    with pytest.raises(FoundryError, match="cannot be told"):
        stop_service(paths, patience=0.1)
    innocent.communicate(b"\n", timeout=20)
    assert innocent.returncode == 0
    os.kill(client.record.pid, signal.SIGCONT)
    client.record.write(paths.instance_file)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_gracefully(paths: Paths, number: signal.Signals) -> None:
    client, _ = start_service(paths)
    os.kill(client.record.pid, number)
    _wait_for_end(client.record.pid)
    assert not paths.instance_file.exists()
    assert "stopped" in (paths.logs / "foundry.log").read_text()


def test_a_second_signal_ends_at_once(paths: Paths) -> None:
    add_model(paths, "endless:1", ["0123456789"], busy=4, eos_after_reply=False)
    client, _ = start_service(paths)
    answer = client.chat("endless", [{"role": "user", "content": "Hi"}])
    next(answer)
    (loaded,) = client.status()["loadedModels"]
    worker = psutil.Process(loaded["pid"])
    os.kill(client.record.pid, signal.SIGTERM)
    while client.is_alive():  # two signals of one kind that come at once are one
        pass
    assert isinstance(next(answer), TextDelta)  # still answering
    os.kill(client.record.pid, signal.SIGTERM)
    with pytest.raises(FoundryError, match="broke off"):
        list(answer)
    worker.wait(20)
    assert start_service(paths)[1]


GARBAGE = ["", "{", "[]", "null", '{"pid": 1}', "\xff", "x" * 200_000, "[" * 100_000]


def _records(client: ServiceClient) -> Iterator[str]:
    yield from GARBAGE
    good = vars(client.record)
    for key, value in [
        ("pid", "1"), ("pid", -1), ("pid", True), ("port", 99999), ("port", -1), ("port", None), ("started_at", "x"),
        ("started_at", 10**400), ("socket", "\0"), ("socket", "x" * 300), ("socket", 5), ("token", "a\r\nb"),
        ("host", "a b\n"), ("version", []),
    ]:  # fmt: skip
        yield json.dumps({**good, key: value})
    yield json.dumps({**good, "instance_id": "other"})
    yield json.dumps({**good, "socket": "", "port": 1, "host": "x" * 300})


def test_a_record_of_garbage_is_no_service_and_no_obstacle(paths: Paths) -> None:
    client, _ = start_service(paths)
    records = list(_records(client))
    _kill(client)
    for record in records:
        paths.instance_file.write_text(record, encoding="latin-1")
        assert find_service(paths) is None, record[:80]
        assert stop_service(paths) is False
    paths.instance_file.write_text(records[0])
    assert start_service(paths)[1]


def test_a_service_that_could_not_start_holds_no_lock_when_it_says_so(paths: Paths) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b"\n" * 4096):
            pass  # until it is full: the service will have to wait before it can say anything
    os.set_blocking(writer, True)
    with socket.create_server(("127.0.0.1", 0)) as taken, open(reader, "rb") as words:
        environment = {**clean_environment(paths.home), "FOUNDRY_PORT": str(taken.getsockname()[1])}
        service = subprocess.Popen([sys.executable, "-m", "foundry_cli.service"], stdout=writer, env=environment)
        os.close(writer)
        while not paths.lock_file.exists():
            assert service.poll() is None
        with FileLock(paths.lock_file, timeout=30):
            assert service.poll() is None
        assert json.loads(words.read())["error"]["code"] == ServiceStartError.code
        assert service.wait(20) == 1


def test_the_port_is_kept_and_given_up_when_taken(paths: Paths) -> None:
    first, _ = start_service(paths)
    stop_service(paths)
    second, _ = start_service(paths)
    assert second.record.port == first.record.port
    stop_service(paths)
    with socket.create_server(("127.0.0.1", first.record.port)):
        third, _ = start_service(paths)
        assert third.record.port != first.record.port


def test_a_fixed_port_that_is_taken(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("FOUNDRY_PORT", str(port))
        with pytest.raises(ServiceStartError, match=rf"127\.0\.0\.1:{port}") as caught:
            start_service(paths)
        assert caught.value.hint is not None
        assert f"Process {os.getpid()} uses port {port}" in caught.value.hint
    assert start_service(paths)[0].record.port == port


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FOUNDRY_PORT", "seventy", "FOUNDRY_PORT"),
        ("FOUNDRY_HOST", "0.0.0.0", "without an API key"),
        ("FOUNDRY_HOST", "192.0.2.1", "without an API key"),
        ("FOUNDRY_HOST", "127.0.0.2", "without an API key"),
        ("FOUNDRY_LOG_LEVEL", "loud", "FOUNDRY_LOG_LEVEL"),
    ],
)
def test_settings_that_cannot_be(paths: Paths, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        start_service(paths)
    assert find_service(paths) is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "x" * 300, "a..b"])
def test_a_host_of_another_machine(paths: Paths, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("FOUNDRY_HOST", host)
    monkeypatch.setenv("FOUNDRY_API_KEY", "secret")
    with pytest.raises((ConfigError, ServiceStartError), match=r"address|assign"):
        start_service(paths)


def test_a_key_beyond_loopback(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_HOST", "0.0.0.0")
    monkeypatch.setenv("FOUNDRY_API_KEY", "secret")
    client, _ = start_service(paths)
    assert client.is_alive()  # the owner needs none
    import http.client

    for key, status in (("secret", 200), ("wrong", 401), ("", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", client.record.port, timeout=20)
        connection.request("GET", "/v1/models", headers={"Host": "name.example", "Authorization": f"Bearer {key}"})
        assert connection.getresponse().status == status
        connection.close()
    environment = psutil.Process(client.record.pid).cmdline()
    assert "secret" not in environment


def test_everything_below_home_is_private(paths: Paths) -> None:
    script = "import os, sys; os.umask(0); os.execv(sys.argv[1], [sys.argv[1], 'service', 'start'])"
    command = [sys.executable, "-c", script, str(FOUNDRY)]
    subprocess.run(command, env=clean_environment(paths.home), check=True, capture_output=True)
    entries = [paths.home, *paths.home.rglob("*")]
    assert {entry.name for entry in entries} >= {"service.sock", "service.lock", "instance.json", "foundry.log", "console.log"}
    for entry in entries:
        mode = entry.lstat().st_mode
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), entry


def test_the_process_is_detached(paths: Paths, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone}; rmdir {gone}; exec 0<&-; for n in $(seq 3 20); do eval "exec $n>>{tmp_path}/held$n"; flock $n; done; '
    script += f"{FOUNDRY} service start 2>&1 | cat"
    done = subprocess.run(["bash", "-c", script], env=clean_environment(paths.home), capture_output=True, text=True, timeout=60)
    assert "is Started" in done.stdout  # and cat has ended, too: nobody holds the pipe
    pid = require_service(paths).record.pid
    for number in range(3, 21):
        with (tmp_path / f"held{number}").open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever has the file open would still have its lock
    assert os.getsid(pid) == pid
    if os.geteuid() != 0:
        pytest.skip("only root may see the rest, which is in /proc")
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    for number, target in ((0, "/dev/null"), (1, str(paths.logs / "console.log")), (2, str(paths.logs / "console.log"))):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == target


@pytest.mark.parametrize("name", ["a\u3000b", "fa\u200dmily", "no\xa0break", "\udcff", "ö 漢 'q"])
def test_a_home_of_any_name(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    environment = clean_environment(home)

    def foundry(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([str(FOUNDRY), *arguments], env=environment, capture_output=True, timeout=60)

    assert b"is Started" in foundry("service", "start").stdout
    try:
        assert foundry("service", "status").returncode == 0
    finally:
        assert b"is stopped" in foundry("service", "stop").stdout


def test_a_service_without_a_record_can_be_ended(paths: Paths) -> None:
    client, _ = start_service(paths)
    paths.instance_file.write_text("{}")
    assert stop_service(paths, patience=0.5)
    _wait_for_end(client.record.pid)
    assert not psutil.pid_exists(client.record.pid)


def test_a_long_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    paths = Paths(tmp_path / ("x" * 120))
    client, _ = start_service(paths)
    try:
        assert Path(client.record.socket).is_relative_to(runtime)
        assert client.is_alive()
    finally:
        stop_service(paths)
    (runtime / "foundry").chmod(0o777)  # now somebody else could put a socket there
    with pytest.raises(ServiceStartError, match="cannot listen"):
        start_service(paths)


@pytest.mark.parametrize("name", ["home", "home/logs", "home/run", "home/run/service.sock", "home/logs/foundry.log"])
def test_something_in_the_way(paths: Paths, name: str) -> None:
    obstacle = paths.home.parent / name
    obstacle.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if obstacle.suffix:
        obstacle.mkdir()
    else:
        obstacle.write_text("mine")
    with pytest.raises(ServiceStartError) as caught:
        start_service(paths)
    assert name.split("/")[-1] in caught.value.message or "cannot be used" in caught.value.message
    assert "\n" not in caught.value.message
    assert obstacle.is_dir() or obstacle.read_text() == "mine"
    shutil.rmtree(obstacle) if obstacle.is_dir() else obstacle.unlink()
    assert start_service(paths)[1]


def test_a_process_that_says_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(paths.home))  # where it finds a module that ends it
    paths.home.mkdir(mode=0o700)
    (paths.home / "sitecustomize.py").write_text("import os, sys; print('the last words', file=sys.stderr); os._exit(3)")
    with pytest.raises(ServiceStartError, match="did not start") as caught:
        start_service(paths)
    assert "the last words" in (caught.value.hint or "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says what the limit of a process is")
def test_a_low_limit_of_open_files_is_raised(paths: Paths) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        client, _ = start_service(paths)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert psutil.Process(client.record.pid).rlimit(psutil.RLIMIT_NOFILE)[0] == min(4096, hard)


@pytest.mark.skipif(os.name == "nt", reason="there files in use cannot be removed")
def test_a_service_whose_directory_was_removed_ends(paths: Paths) -> None:
    client, _ = start_service(paths)
    shutil.rmtree(paths.run)
    process = psutil.Process(client.record.pid)
    assert psutil.wait_procs([process], timeout=60)[0]


@pytest.mark.skipif(os.name == "nt", reason="there files in use cannot be removed")
def test_an_abandoned_service_leaves_its_successor_alone(paths: Paths) -> None:
    old, _ = start_service(paths)
    shutil.rmtree(paths.home)
    new, is_new = start_service(paths)
    assert is_new
    os.kill(old.record.pid, signal.SIGTERM)
    _wait_for_end(old.record.pid)
    assert not psutil.pid_exists(old.record.pid)
    assert require_service(paths).record == new.record
    assert paths.socket.exists()

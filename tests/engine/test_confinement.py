"""What a confined process can still do, tried from within."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.confinement import KEPT_ENVIRONMENT, device_files, worker_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    return int(ctypes.CDLL(None).syscall(444, None, 0, 1))


has_landlock = pytest.mark.skipif(landlock_version() < 1, reason="no Landlock here")
has_seccomp = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no filter for this machine")

PROGRAM = """
import errno
import fcntl, json, os, resource, signal, socket, subprocess, sys
from pathlib import Path
from foundry_cli.engine.confinement import confine

model, outside = Path(sys.argv[1]), Path(sys.argv[2])
threads = len(os.listdir("/proc/self/task"))
confine(model, [Path("/dev/full")])

def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__ if error.errno != errno.ENOTTY else "done"
    return "done"

def connect(family, kind, address):
    with socket.socket(family, kind) as s:
        s.connect(address)

def later_import():
    import wave, colorsys

print(json.dumps({
    "threads": threads,
    "read the model": attempt(lambda: (model / "file").read_text()),
    "list the model": attempt(lambda: os.listdir(model)),
    "import": attempt(later_import),
    "read /proc": attempt(lambda: Path("/proc/meminfo").read_text()),
    "random": attempt(lambda: Path("/dev/urandom").open("rb").read(1)),
    "read outside": attempt(lambda: (outside / "secret").read_text()),
    "list outside": attempt(lambda: os.listdir(outside)),
    "list the root": attempt(lambda: os.listdir("/")),
    "read /etc": attempt(lambda: Path("/etc/passwd").read_text()),
    "list processes": attempt(lambda: os.listdir("/proc")),
    "read the parent's environment": attempt(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
    "write the model": attempt(lambda: (model / "file").write_text("x")),
    "append to the model": attempt(lambda: (model / "file").open("a")),
    "truncate": attempt(lambda: os.truncate(model / "file", 0)),
    "create in the model": attempt(lambda: (model / "new").write_text("x")),
    "create outside": attempt(lambda: (outside / "new").write_text("x")),
    "make a folder": attempt(lambda: os.mkdir(model / "folder")),
    "remove": attempt(lambda: os.unlink(model / "file")),
    "rename": attempt(lambda: os.rename(model / "file", model / "other")),
    "link": attempt(lambda: os.symlink("/etc/passwd", model / "link")),
    "read a device": attempt(lambda: Path("/dev/full").open("rb").read(1)),
    "write a device": attempt(lambda: os.open("/dev/full", os.O_WRONLY)),
    "control a device": attempt(lambda: fcntl.ioctl(os.open("/dev/full", os.O_RDWR), 0x5401, bytes(64))),
    "write another device": attempt(lambda: os.open("/dev/zero", os.O_RDWR)),
    "write /dev/shm": attempt(lambda: Path("/dev/shm/foundry-test").write_text("x")),
    "TCP": attempt(lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 9))),
    "UDP": attempt(lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 9))),
    "Unix socket": attempt(lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, str(outside / "socket"))),
    "program": attempt(lambda: subprocess.run(["/bin/true"])),
    "exec": attempt(lambda: os.execv("/bin/true", ["true"])),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    "status": Path("/proc/self/status").read_text(),
    "signal": attempt(lambda: os.kill(os.getppid(), 0)),
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process in the worker's environment could do after `confine`."""
    model, outside = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("outside")
    (model / "file").write_text("weights")
    (outside / "secret").write_text("secret")
    command = [sys.executable, "-c", PROGRAM, str(model), str(outside)]
    root = str(Path(__file__).parents[2])
    environment = {**worker_environment(), "PYTHONPATH": root}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (model / "file").read_text() == "weights"
    assert os.listdir(model) == ["file"]
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize(
    "action",
    [
        "read the model",
        "list the model",
        "import",
        "read /proc",
        "random",
        "read a device",
        "write a device",
        "control a device",
    ],
)
def test_what_is_needed_can_be_done(results: dict[str, Any], action: str) -> None:
    assert results[action] == "done"


@has_landlock
@pytest.mark.parametrize(
    "action",
    ["read outside", "list outside", "list the root", "read /etc", "list processes", "read the parent's environment",
     "write the model", "append to the model", "create in the model", "create outside", "make a folder", "remove", "rename",
     "link", "write another device", "write /dev/shm"],
)  # fmt: skip
def test_files_are_out_of_reach(results: dict[str, Any], action: str) -> None:
    assert results[action] == "PermissionError"


@pytest.mark.skipif(landlock_version() < 3, reason="needs Landlock 3")
def test_truncating_is_writing(results: dict[str, Any]) -> None:
    assert results["truncate"] == "PermissionError"


@pytest.mark.skipif(landlock_version() < 6, reason="needs Landlock 6")
def test_the_service_cannot_be_signalled(results: dict[str, Any]) -> None:
    assert results["signal"] == "PermissionError"


@has_seccomp
@pytest.mark.parametrize("action", ["TCP", "UDP", "Unix socket", "program", "exec"])
def test_sockets_and_programs_are_refused(results: dict[str, Any], action: str) -> None:
    assert results[action] == "PermissionError"


def test_privileges_and_core_dumps_are_given_up(results: dict[str, Any]) -> None:
    assert results["core"] == 0
    assert "NoNewPrivs:\t1" in results["status"]


def test_no_thread_is_older_than_the_confinement(results: dict[str, Any]) -> None:
    """Landlock and seccomp bind the calling thread and those it starts, not the ones that are there."""
    assert results["threads"] == 1


def test_the_environment_holds_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "FOUNDRY_API_KEY", "HTTPS_PROXY", "LD_PRELOAD", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "secret")
    environment = worker_environment()
    assert "secret" not in environment.values()
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert {name for name in environment if name not in KEPT_ENVIRONMENT} == {
        "ORT_DISABLE_TELEMETRY",
        "PYTHONUTF8",
        "PYTHONSAFEPATH",
        "GLIBC_TUNABLES",
        "OPENBLAS_NUM_THREADS",
    }


def test_device_files_are_those_of_gpus_and_npus(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "dri/renderD128", "accel/accel0", "kfd", "sda", "mem", "tty0", "kvm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.name for path in device_files(tmp_path)]
    assert names == ["nvidia-uvm", "nvidia0", "nvidiactl", "dri", "accel", "kfd"]


WRITING_PROGRAM = """
import json, os, sys
from pathlib import Path
from foundry_cli.engine.confinement import confine

model, kept, other = map(Path, sys.argv[1:])
confine(model, writable=kept)

def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"

def exchange():
    (kept / "new.partial").write_text("x")
    os.replace(kept / "new.partial", kept / "new.kv")

def forget():
    (kept / "gone.kv").write_text("x")
    os.unlink(kept / "gone.kv")

print(json.dumps({
    "make": attempt(lambda: (kept / "a.kv").write_text("x")),
    "read": attempt(lambda: (kept / "a.kv").read_text()),
    "list": attempt(lambda: os.listdir(kept)),
    "exchange": attempt(exchange),
    "remove": attempt(forget),
    "set times": attempt(lambda: os.utime(kept / "a.kv")),
    "truncate": attempt(lambda: os.truncate(kept / "a.kv", 0)),
    "make a folder": attempt(lambda: os.mkdir(kept / "folder")),
    "make a link": attempt(lambda: os.symlink("/etc/passwd", kept / "link")),
    "make a pipe": attempt(lambda: os.mkfifo(kept / "pipe")),
    "run": attempt(lambda: os.execv(kept / "program", ["program"])),
    "write beside it": attempt(lambda: (kept.parent / "new").write_text("x")),
    "list beside it": attempt(lambda: os.listdir(kept.parent)),
    "write into another": attempt(lambda: (other / "new.kv").write_text("x")),
    "read another": attempt(lambda: (other / "secret.kv").read_text()),
    "remove of another": attempt(lambda: os.unlink(other / "secret.kv")),
    "move there": attempt(lambda: os.rename(kept / "new.kv", other / "new.kv")),
    "move from there": attempt(lambda: os.rename(other / "secret.kv", kept / "secret.kv")),
    "link there": attempt(lambda: os.link(other / "secret.kv", kept / "linked.kv")),
    "follow a link": attempt(lambda: (kept / "outward").read_text()),
    "write the model": attempt(lambda: (model / "file").write_text("x")),
}))
"""


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process could do with a folder for its conversations, and with that of another model."""
    model, root = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("conversations")
    kept, other = root / "mine", root / "other"
    for folder in (kept, other):
        folder.mkdir(mode=0o700)
    (model / "file").write_text("weights")
    (other / "secret.kv").write_text("secret")
    (kept / "outward").symlink_to(other / "secret.kv")
    (kept / "program").write_text("#!/bin/sh\n")
    (kept / "program").chmod(0o700)
    command = [sys.executable, "-c", WRITING_PROGRAM, str(model), str(kept), str(other)]
    environment = {**worker_environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, str] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("action", ["make", "read", "list", "exchange", "remove", "set times", "truncate"])
def test_conversations_can_be_kept(writing: dict[str, str], action: str) -> None:
    assert writing[action] == "done"


@has_landlock
@pytest.mark.parametrize(
    "action",
    ["make a folder", "make a link", "make a pipe", "run", "write beside it", "list beside it", "write into another",
     "read another", "remove of another", "move there", "move from there", "link there", "follow a link", "write the model"],
)  # fmt: skip
def test_nothing_else_can_be_done_with_the_folders(writing: dict[str, str], action: str) -> None:
    assert writing[action] in ("PermissionError", "OSError")  # EXDEV, where files would leave their folder

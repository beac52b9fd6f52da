"""Fixtures: an isolated home directory, a running service, and the installed command."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import start_service, stop_service
from foundry_cli.execution_providers import provider_report
from foundry_cli.paths import Paths, write_atomically
from tests.models.scripted import write_scripted_model

# A shell that starts the tests in the background lets them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is installed has its bytecode; without it each of hundreds of processes would compile what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_TELEMETRY = "ORT_DISABLE_TELEMETRY"
os.environ[_TELEMETRY] = "1"  # some tests import the runtime before the program does, which switches it off by itself

PROVIDERS = "providers.json"
FOUNDRY = Path(sys.executable).with_name("foundry")


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment without this project's variables and proxies, with `home` as FOUNDRY_HOME."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOUNDRY_") and name != _TELEMETRY}
    return {**kept, "FOUNDRY_HOME": str(home), "FOUNDRY_OFFLINE": "1", "NO_COLOR": "1", **extra}


def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: a fifth of the time the tests wait for other processes."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own files, nor listens to the user's settings."""
    for name in [name for name in os.environ if name.startswith("FOUNDRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FOUNDRY_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("FOUNDRY_OFFLINE", "1")  # servers on this machine can be reached nevertheless


@dataclass(frozen=True)
class RunningService:
    """A real service on a home directory of its own."""

    paths: Paths
    client: ServiceClient

    @property
    def url(self) -> str:
        """Address of the REST interface."""
        return self.client.record.base_url


@functools.cache
def _provider_record() -> bytes | None:
    """What the program writes down about the execution providers of this machine; None when it could not ask."""
    with tempfile.TemporaryDirectory() as home:
        provider_report(Paths(Path(home)))
        record = Paths(Path(home)).run / PROVIDERS
        return record.read_bytes() if record.exists() else None


def know_providers(paths: Paths) -> None:
    """Let a home know the execution providers from an earlier start: asking for them costs a process each time."""
    record = _provider_record()
    if record is not None:
        write_atomically(paths.run / PROVIDERS, record)


def run_service(home: Path) -> Iterator[RunningService]:
    """Start a service on `home`, and stop it at the end."""
    paths = Paths(home)
    know_providers(paths)
    client, _ = start_service(paths)
    try:
        yield RunningService(paths, client)
    finally:
        stop_service(paths)


def add_model(paths: Paths, name: str, replies: list[object], **options: object) -> Path:
    """Put a scripted model into the cache of `paths`; `name` with or without a version."""
    directory = paths.default_cache / "Tests" / name.replace(":", "-")
    directory.mkdir(parents=True)
    return write_scripted_model(directory, replies, name=name, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for many tests. Models: `echo` (two turns), `long` (2,000 letters), `slow` (heavy steps)."""
    home = tmp_path_factory.mktemp("service")
    paths = Paths(home)
    add_model(paths, "echo:1", ["The first answer.", "The second answer: \N{GRINNING FACE} done."])
    add_model(paths, "long:1", ["abcdefghij" * 200], context_length=8192)
    add_model(paths, "slow:1", ["0123456789" * 100], context_length=8192, busy=4)
    yield from run_service(home)


@pytest.fixture
def fresh_service(tmp_path: Path) -> Iterator[RunningService]:
    """A service for one test, which may stop or break it. Its cache is empty."""
    yield from run_service(tmp_path / "home")


@dataclass(frozen=True)
class Output:
    """What a command left."""

    stdout: str
    stderr: str
    code: int


Foundry = Callable[..., Output]


@pytest.fixture
def foundry(tmp_path: Path) -> Iterator[Foundry]:
    """Run the installed command: `foundry("model", "list", home=…, input=…, env={…})`; services it starts are stopped."""
    homes: set[Path] = set()

    def run(*arguments: str, home: Path | None = None, input: str | None = None, env: dict[str, str] | None = None) -> Output:
        directory = home or tmp_path / "home"
        if home is None:
            homes.add(directory)
        environment = clean_environment(directory, **(env or {}))
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            [str(FOUNDRY), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
            timeout=60,
            **stdin,  # type: ignore[call-overload]
        )
        return Output(done.stdout, done.stderr, done.returncode)

    yield run
    for directory in homes:
        stop_service(Paths(directory))


__all__ = ["FOUNDRY", "Foundry", "Output", "RunningService", "add_model", "clean_environment", "know_providers"]

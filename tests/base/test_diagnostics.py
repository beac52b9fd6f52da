"""Secrets never leave the machine in a report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundry_cli.diagnostics import facts, redact
from foundry_cli.instance import InstanceRecord
from foundry_cli.paths import Paths

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

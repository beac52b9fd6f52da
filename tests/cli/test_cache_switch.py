"""`foundry cache cd` while a model is being downloaded: where the model is afterwards, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foundry_cli.paths import Paths
from foundry_cli.store.cache import scan
from tests.cli.in_process import Command
from tests.conftest import FOUNDRY, clean_environment
from tests.fakes.gate import Gate
from tests.fakes.mirror import served, write_mirror
from tests.fakes.web import Answer, Seen, static_files

BY_COMMAND = [str(FOUNDRY), "model", "download", "hello"]
BY_SERVICE = [sys.executable, "-m", "foundry_cli.download", "hello:1"]


@contextmanager
def held_up(home: Path, here: Command, arguments: list[str]) -> Iterator[Callable[[], tuple[int, str]]]:
    """A download of `hello:1` that has begun and waits for the server; call it to let it end, for its code and output."""
    directory = write_mirror(home.parent / "mirror", {"hello:1": "Hello."}, 1_500_000)
    plain, gate = static_files(directory), Gate()

    def respond(request: Seen) -> Answer:
        if request.path.endswith("ballast.bin"):
            gate.pass_one()
        return plain(request)

    def end() -> tuple[int, str]:
        gate.open_for(1000)
        assert process.stdout is not None
        output = process.stdout.read()  # `communicate` would close its standard input first, which cancels it
        return process.wait(timeout=30), output

    with served(directory, respond) as server:
        assert here("catalog", "add", server.url).code == 0
        pipe = subprocess.PIPE
        environment = clean_environment(home)
        with subprocess.Popen(
            arguments, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
        ) as process:
            gate.wait_for_waiting(1)
            yield end


@pytest.mark.parametrize("arguments", [BY_COMMAND, BY_SERVICE], ids=["command", "service"])
def test_a_download_ends_where_it_began_and_says_so(here: Command, tmp_path: Path, arguments: list[str]) -> None:
    old, new = Paths(tmp_path / "home").default_cache, tmp_path / "new"
    with held_up(tmp_path / "home", here, arguments) as end:
        assert here("cache", "cd", str(new)).code == 0
        code, output = end()
    assert code == 1
    assert f"hello:1 was downloaded into {old}, but the cache directory is {new} now." in output
    assert f"'foundry cache import {old / 'Tests' / 'hello-1'}' copies it." in output
    assert (scan(new).models, scan(new).partials) == ((), ())
    assert [(model.id, model.problem) for model in scan(old).models] == [("hello:1", "")]
    assert here("cache", "import", str(old / "Tests" / "hello-1")).stdout == "Imported hello:1\n"
    models = json.loads(here("cache", "list", "-o", "json").stdout)["models"]
    assert "hello:1" in [model["id"] for model in models if model["state"] == "complete"]


def test_back_again_nothing_is_wrong(here: Command, tmp_path: Path) -> None:
    old = Paths(tmp_path / "home").default_cache
    with held_up(tmp_path / "home", here, BY_COMMAND) as end:
        here("cache", "cd", str(tmp_path / "new"))
        here("cache", "cd", str(old))
        code, output = end()
    assert (code, output.splitlines()[-1]) == (0, "Model hello:1 was downloaded.")

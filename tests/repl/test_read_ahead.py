"""While the next question is typed, the model reads what has been said: Enter costs only the question."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.input import create_pipe_input

from foundry_cli.client.supervisor import stop_service
from foundry_cli.paths import Paths
from foundry_cli.repl.chat import Chat
from foundry_cli.repl.conversation import Conversation, save_conversation
from foundry_cli.repl.settings import ChatSettings
from tests.conftest import RunningService, add_model, run_service
from tests.repl.test_session import Talk
from tests.repl.test_terminal import CHAT, Terminal

pytestmark = pytest.mark.slow

LONG = Conversation("Be kind.").with_turn("What is it? " * 60, "It is that. " * 20).with_turn("Why?", "Because. " * 10)
QUESTION = "and then?"
FEW = 60  # tokens: the question and what the template writes around it


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that logs what was read ahead, with the models `echo` and `other`."""
    yield from _reading_service(tmp_path_factory.mktemp("reader") / "home", "batch")


@pytest.fixture(params=["batch", "genai"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningService]:
    """The same with one of the engines."""
    yield from _reading_service(tmp_path / "home", request.param)


def _reading_service(home: Path, engine: str) -> Iterator[RunningService]:
    paths = Paths(home)
    home.mkdir(mode=0o700)
    paths.config_file.write_text(json.dumps({"defaultLogLevel": 1, "engineSettings": {"engine": engine}}))
    for name in ("echo:1", "other:1"):
        add_model(paths, name, ["The first answer.", "The second answer.", "The third answer."], context_length=8192)
    yield from run_service(home)


class Log:
    """The chats that were read, by the log of the service."""

    def __init__(self, service: RunningService) -> None:
        self._file = service.paths.logs / "foundry.log"
        self._seen = len(self._read())

    def wait(self, reason: str = "length") -> str:
        """The next one that was read to its end."""
        deadline = time.monotonic() + 30
        while not (found := [line for line in self._read()[self._seen :] if f"reason='{reason}'" in line]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self._seen = len(self._read())
        return found[0]

    def count(self) -> int:
        """How many there were since."""
        return len(self._read()) - self._seen

    def _read(self) -> list[str]:
        return [line for line in self._file.read_text("utf-8").splitlines() if "before the next question" in line]


def test_a_question_costs_only_its_own_tokens(either: RunningService, tmp_path: Path) -> None:
    save_conversation(LONG, "echo:1", tmp_path / "talk.json")
    either.client.load("echo:1")
    with create_pipe_input() as keys:
        talk = Talk(either, keys, "echo:1", ChatSettings())
        log = Log(either)
        talk.type(f"/load {tmp_path / 'talk.json'}")
        assert "Usage(" in log.wait()
        for _ in range(2):
            log = Log(either)
            talk.type(QUESTION)
            assert talk.chat.stats is not None
            end = talk.chat.stats.end
            assert end is not None
            assert end.prompt_tokens > 300
            assert end.prompt_tokens - end.cached_tokens <= FEW
            log.wait()


def test_what_else_is_read(reader: RunningService) -> None:
    reader.client.load("echo:1")
    with create_pipe_input() as keys:
        talk = Talk(reader, keys, "echo:1", ChatSettings(system="Be kind. " * 20))
        log = Log(reader)
        talk.type()
        log.wait()
        talk.type("", "/show", "/set seed 1")
        assert log.count() == 0, "nothing has changed"
        talk.type("/system Be short.")
        log.wait()
        talk.type("one")
        log.wait()
        talk.type("/clear")
        log.wait()
        talk.type("/model other:1")
        assert "other:1 has read" in log.wait()
        talk.type('/system ""', "/system Be brief.", "")
        log.wait()
        assert log.count() == 0, "where nothing had been said, nothing was read"


def test_a_service_that_cannot_do_it_is_no_matter(reader: RunningService) -> None:
    with create_pipe_input() as keys:
        talk = Talk(reader, keys, "no-such-model", ChatSettings(system="Be kind."))
        assert talk.type("") == ""
    home = Paths(reader.paths.home.parent / "gone")
    chat = Chat(home, next(_stopped(home)).client, "echo:1", ChatSettings(system="Be kind."))
    chat.read_ahead()
    assert chat.is_connected


def _stopped(paths: Paths) -> Iterator[RunningService]:
    for service in run_service(paths.home):
        stop_service(paths)
        yield service


def test_in_a_terminal(reader: RunningService, tmp_path: Path) -> None:
    save_conversation(LONG, "echo:1", tmp_path / "talk.json")
    reader.client.load("echo:1")
    terminal = Terminal([sys.executable, "-c", CHAT, "echo:1"], reader)
    terminal.see("enter your prompt")
    terminal.prompt()
    terminal.type("/set verbose on")
    terminal.see("verbose is on.")
    log = Log(reader)
    terminal.prompt()
    terminal.type(f"/load {tmp_path / 'talk.json'}")
    terminal.see("Loaded 2 questions")
    terminal.prompt()
    log.wait()
    terminal.type(QUESTION)
    terminal.see("Prompt: ")
    match = re.search(r"(\d+) tokens, (\d+) of them", terminal.see("cached."))
    assert match
    assert int(match[1]) > 300
    assert int(match[1]) - int(match[2]) <= FEW
    terminal.process.close(force=True)

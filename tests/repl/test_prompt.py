"""The prompt: keys, completion, history."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from foundry_cli.repl.completer import CommandCompleter
from foundry_cli.repl.history import PromptHistory
from foundry_cli.repl.key_bindings import chat_key_bindings


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe:
        yield pipe


def read(keys: PipeInput, typed: str, default: str = "") -> str:
    keys.send_text(typed)
    session: PromptSession[str] = PromptSession(
        multiline=True, key_bindings=chat_key_bindings(), input=keys, output=DummyOutput()
    )
    return session.prompt(default=default)


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("one\r", "one"),
        ("one\n", "one"),
        ("one\x1b\rtwo\r", "one\ntwo"),
        ('"""one\rtwo\r"""\r', '"""one\ntwo\n"""'),
        ('/system """one\rtwo"""\r', '/system """one\ntwo"""'),
        ("wrong\x03right\r", "right"),
        ("\x1b[200~pasted\nlines\x1b[201~\r", "pasted\nlines"),
    ],
)
def test_keys(typed: str, text: str, keys: PipeInput) -> None:
    assert read(keys, typed) == text


def test_control_c_at_an_empty_prompt_interrupts(keys: PipeInput) -> None:
    with pytest.raises(KeyboardInterrupt):
        read(keys, "\x03")


def test_control_d_leaves_only_at_an_empty_prompt(keys: PipeInput) -> None:
    assert read(keys, "ab\x1b[D\x04\r") == "a"
    with pytest.raises(EOFError):
        read(keys, "\x04")


def complete(text: str) -> list[str]:
    completer = CommandCompleter(lambda: ["echo", "echo:1", "evil\x1b[2J"])
    completions = completer.get_completions(Document(text), CompleteEvent())
    return [text[: len(text) + completion.start_position] + completion.text for completion in completions]


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("/sa", ["/save"]),
        ("/s", ["/set", "/system", "/show", "/stats", "/save"]),
        ("/set temp", ["/set temperature "]),
        ("/set temperature 0", []),
        ("/model ec", ["/model echo", "/model echo:1"]),
        ("/model ev", ["/model evil"]),
        ("/show c", ["/show conversation"]),
        ("/stats x", []),
        ("//s", []),
        ("hello /s", []),
        ("", []),
    ],
)
def test_completion(text: str, completed: list[str]) -> None:
    assert complete(text) == completed


def test_files_are_completed(tmp_path: Path) -> None:
    (tmp_path / "talk.json").touch()
    assert complete(f"/load {tmp_path}/ta") == [f"/load {tmp_path}/talk.json"]


def test_history_is_kept_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "home" / "history"
    history = PromptHistory(path)
    history.append_string("one")
    history.append_string("two\nlines \ud83d")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(PromptHistory(path).load_history_strings()) == ["two\nlines ?", "one"]


def test_history_that_cannot_be_kept_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    history = PromptHistory(tmp_path / "file" / "history")
    history.append_string("one")
    assert history.get_strings() == ["one"]
    directory = PromptHistory(tmp_path)
    directory.append_string("one")
    assert list(directory.load_history_strings()) == []

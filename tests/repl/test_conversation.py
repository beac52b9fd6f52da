"""Conversations, and the files they are kept in."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from foundry_cli.errors import FoundryError
from foundry_cli.repl.conversation import Conversation, Message, load_conversation, save_conversation

TALK = Conversation("Be brief.").with_turn("Hi", "Hello 😀").with_turn("Why?", "Bec", is_cancelled=True)


def test_request_holds_everything_said_so_far() -> None:
    assert TALK.request("And?") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello 😀"},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Bec"},
        {"role": "user", "content": "And?"},
    ]
    assert Conversation().request("Hi") == [{"role": "user", "content": "Hi"}]


def test_turns_can_be_taken_back() -> None:
    assert TALK.turns == 2
    assert TALK.last_question == "Why?"
    assert TALK.without_last_turn() == Conversation("Be brief.").with_turn("Hi", "Hello 😀")
    assert TALK.without_messages() == Conversation("Be brief.")
    assert Conversation().without_last_turn() == Conversation()
    assert Conversation().last_question is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    save_conversation(TALK, "echo:1", path)
    assert load_conversation(path) == (TALK, "echo:1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = json.loads(path.read_text("utf-8"))
    assert document["format"] == "foundry-conversation"
    assert document["version"] == 1
    assert document["messages"][3] == {"role": "assistant", "content": "Bec", "is_cancelled": True}


def test_a_lone_surrogate_does_not_prevent_saving(tmp_path: Path) -> None:
    save_conversation(Conversation().with_turn("a\ud83d", "b"), "m", tmp_path / "talk.json")
    assert load_conversation(tmp_path / "talk.json")[0].messages[0] == Message("user", "a?")


WRONG = {
    "no JSON": b"talk",
    "no object": b"[]",
    "another format": b'{"format": "x"}',
    "newer": b'{"format": "foundry-conversation", "version": 2, "messages": []}',
    "no messages": b'{"format": "foundry-conversation", "version": 1}',
    "a question without answer": b'{"format": "foundry-conversation", "version": 1, "messages": ['
    b'{"role": "user", "content": "x"}]}',
    "two questions": b'{"format": "foundry-conversation", "version": 1, "messages": ['
    b'{"role": "user", "content": "x"}, {"role": "user", "content": "x"}]}',
    "a number as content": b'{"format": "foundry-conversation", "version": 1, "messages": ['
    b'{"role": "user", "content": 1}, {"role": "assistant", "content": "x"}]}',
    "a number as system prompt": b'{"format": "foundry-conversation", "version": 1, "system": 1, "messages": []}',
    "nested too deeply": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe{",
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_bytes(data)
    with pytest.raises(FoundryError, match=r"talk\.json"):
        load_conversation(path)


def test_failures_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(FoundryError, match=r"none\.json cannot be read: No such file"):
        load_conversation(tmp_path / "none.json")
    with pytest.raises(FoundryError, match="cannot be read: Is a directory"):
        load_conversation(tmp_path)
    with pytest.raises(FoundryError, match="does not exist"):
        save_conversation(TALK, "m", tmp_path / "no" / "talk.json")
    with pytest.raises(FoundryError, match="cannot be saved"):
        save_conversation(TALK, "m", tmp_path / ("x" * 300))
    with pytest.raises(FoundryError, match="cannot be saved"):
        save_conversation(TALK, "m", tmp_path / "a\0b")

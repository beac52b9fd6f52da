"""Whole chats over a pipe, with the real service."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from foundry_cli.client.supervisor import find_service
from foundry_cli.repl.chat import Chat
from foundry_cli.repl.printer import Printer, console_for
from foundry_cli.repl.session import GREETING, ChatSession, ChatSettings, make_prompt
from tests.conftest import RunningService, add_model

FIRST, SECOND = "🤖 The first answer.\n\n", "🤖 The second answer: 😀 done.\n\n"


class Recorder(io.StringIO):
    """Keeps what is shown, and acts once when an awaited text appears."""

    _awaited = ""
    _from = 0
    _act: Callable[[], object]

    def at(self, text: str, act: Callable[[], object]) -> None:
        """Call `act` as soon as `text` is shown from now on."""
        self._awaited, self._from, self._act = text, len(self.getvalue()), act

    def write(self, text: str) -> int:
        """As the base class."""
        count = super().write(text)
        if self._awaited and self._awaited in self.getvalue()[self._from :]:
            self._awaited = ""
            self._act()
        return count


def press_control_c() -> None:
    """As the terminal does it while an answer comes."""
    os.kill(os.getpid(), signal.SIGINT)


def kill(service: RunningService) -> None:
    """End the service as a crash would, and wait until it is gone."""
    process = psutil.Process(service.client.record.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


class Talk:
    """A chat that is typed beforehand."""

    def __init__(self, service: RunningService, keys: PipeInput, model: str, settings: ChatSettings) -> None:
        self.chat = Chat(service.paths, service.client, model, settings)
        self.stream = Recorder()
        self._keys = keys
        prompt = make_prompt(self.chat, InMemoryHistory(), keys, DummyOutput())
        self._session = ChatSession(self.chat, Printer(console_for(self.stream)), prompt)

    def type(self, *lines: str) -> str:
        """Type lines and Ctrl-D; what is shown, without the greeting."""
        start = len(self.stream.getvalue())
        self._keys.send_text("".join(f"{line}\r" for line in lines) + "\x04")
        self._session.run()
        shown = self.stream.getvalue()[start:]
        assert shown.startswith(f"{GREETING}\n")
        return shown.removeprefix(f"{GREETING}\n")


Start = Callable[..., Talk]


@pytest.fixture
def start(service: RunningService) -> Iterator[Start]:
    """Begin a chat with a model of the shared service, or of another one."""
    with create_pipe_input() as keys:
        yield lambda model, where=service, **settings: Talk(where, keys, model, ChatSettings(**settings))


def test_turns_follow_each_other(start: Start) -> None:
    talk = start("echo:1")
    assert talk.type("one", "", "  ", "two") == FIRST + SECOND
    assert [message.content for message in talk.chat.conversation.messages][::2] == ["one", "two"]


def test_leaving(start: Start) -> None:
    assert start("echo:1").type("/exit", "never") == ""


def test_unknown_commands_do_not_reach_the_model(start: Start) -> None:
    talk = start("echo:1")
    shown = talk.type("/retyr", "/etc/hosts")
    assert "Exception: Unknown command /retyr.\nDid you mean /retry?" in shown
    assert "To ask the model about /etc/hosts, write //etc/hosts." in shown
    assert talk.chat.conversation.turns == 0
    assert talk.type("//etc/hosts") == FIRST
    assert talk.chat.conversation.last_question == "/etc/hosts"


def test_help_lists_every_command(start: Start) -> None:
    shown = start("echo:1").type("/?")
    for text in ("/help, /?", "/set [PARAMETER VALUE]", "/retry", "Ctrl-C stops the answer", "//etc/hosts"):
        assert text in shown


def test_retry_replaces_the_last_answer(start: Start) -> None:
    talk = start("echo:1")
    assert talk.type("/retry") == "Exception: There is no question to ask again.\n"
    assert talk.type("one", "two", "/retry", "/retry") == FIRST + SECOND * 3
    assert talk.chat.conversation.turns == 2


def test_clear_keeps_the_system_prompt(start: Start) -> None:
    talk = start("echo:1", system="Be kind.")
    assert talk.type("one", "/clear", "one") == f"{FIRST}The conversation is forgotten. The system prompt is kept.\n{FIRST}"
    assert talk.type("/system", '/system ""', "/system", "/clear", "/retry").split("\n") == [
        "Be kind.",
        "The system prompt is removed.",
        "There is no system prompt.",
        "The conversation is forgotten.",
        "Exception: There is no question to ask again.",
        "",
    ]
    talk.type("/system New.")
    assert talk.chat.conversation.request("x")[0] == {"role": "system", "content": "New."}


def test_a_command_with_a_stray_argument_does_nothing(start: Start) -> None:
    talk = start("echo:1")
    shown = talk.type("one", "/clear the screen please", "/exit now", "/retry it", "/show everything", "/help me")
    assert shown.startswith(
        f"{FIRST}Exception: /clear takes no argument.\nA question that begins so is written with two slashes: //clear …\n"
        "Exception: /exit takes no argument."
    )
    assert "Exception: /show takes no argument other than 'conversation'.\n" in shown
    assert "Exception: /help takes no argument." in shown
    assert talk.chat.conversation.turns == 1
    assert "> one" in talk.type("/show conversation")


def test_settings_go_with_the_question(start: Start) -> None:
    talk = start("long:1")
    shown = talk.type("/set", "/set max_tokens 5", "/set max_tokens", "/set max_tokens 0", "/set verbose on", "hello", "/show")
    assert "temperature         default" in shown
    assert "max_tokens is 5.\nmax_tokens is 5.\nException: max_tokens cannot be '0'" in shown
    assert "🤖 abcde\nThe answer was cut off, because it reached the limit of its length.\nTime to first token:" in shown
    assert "Answer: 5 tokens, " in shown
    assert "Settings:      max_tokens 5, verbose on\nConversation:  1 question\n" in shown


def test_stats_count_what_was_cached(start: Start) -> None:
    talk = start("echo:1")
    assert talk.type("/stats") == "There is no answer yet.\n"
    talk.type("one", "two")
    stats = talk.type("/stats")
    assert stats.startswith("Time to first token: ")
    assert talk.chat.stats is not None
    assert talk.chat.stats.end is not None
    assert talk.chat.stats.end.cached_tokens > 0
    assert f"{talk.chat.stats.end.cached_tokens} of them cached" in stats


def test_a_cancelled_answer_stays_as_far_as_it_came(start: Start) -> None:
    talk = start("slow:1")
    talk.stream.at("🤖 0123", press_control_c)
    shown = talk.type("hello", "/stats")
    assert "🤖 0123" in shown
    assert "\nCancelled.\n\nTime to first token:" in shown
    assert "The answer was cancelled" in shown
    question, answer = talk.chat.conversation.messages
    assert question.content == "hello"
    assert answer.is_cancelled
    assert answer.content.startswith("0123")
    assert len(answer.content) < 900
    assert talk.type("/show conversation") == f"> hello\n🤖 {answer.content}\nCancelled.\n\n"
    talk.stream.at("🤖 0", press_control_c)
    talk.type("/retry")
    assert talk.chat.conversation.turns == 1


def test_conversations_are_saved_and_loaded(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "my talk.json"
    talk = start("echo:1", system="Be kind.")
    assert "For example: /save" in talk.type("/save")
    assert talk.type("one", f"/save {path}") == f"{FIRST}Saved 1 question to {path}.\n"
    assert json.loads(path.read_text("utf-8"))["model"] == "echo:1"
    other = start("slow:1")
    shown = other.type(f"/load {path}")
    assert shown == f"Loaded 1 question from {path}.\nIt was with the model echo:1; /model echo:1 goes on with that.\n"
    assert other.chat.conversation == talk.chat.conversation
    assert other.type("/model echo:1", "two", "/save") == (
        f"🟢 Model echo:1 loaded successfully\n{SECOND}Saved 2 questions to {path}.\n"
    )
    assert "exists already" in start("echo:1").type(f"/save {path}")
    assert "For example: /load" in talk.type("/load")
    assert "cannot be read" in talk.type(f"/load {path}x", "/load ~nobody/x")


def test_a_cleared_conversation_does_not_replace_the_saved_one(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talk = start("echo:1")
    talk.type("one", f"/save {path}")
    kept = path.read_bytes()
    assert "For example: /save" in talk.type("/clear", "/save")
    assert "exists already" in talk.type("two", f"/save {path}")
    assert path.read_bytes() == kept


def test_a_conversation_that_differs_from_its_file_is_not_said_to_be_in_it(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talk = start("echo:1")
    assert talk.type("one", f"/save {path}", "/show").endswith(f"Conversation:  1 question, saved in {path}\n")
    assert talk.type("two", "/show").endswith(f"Conversation:  2 questions, changed since it was saved in {path}\n")
    assert talk.type("/save", "/show").endswith(f"saved in {path}\n")
    talk.chat.replace_conversation(talk.chat.conversation.without_last_turn())
    assert talk.type("/show").endswith(f"changed since it was saved in {path}\n")
    assert talk.type("/save ~nobody-here/x").endswith("determine home directory.\n")


def test_a_conversation_that_fills_the_context_can_be_left(start: Start, fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "wordy:1", ["0123456789" * 20], context_length=128)
    talk = start("wordy:1", where=fresh_service)
    assert "reached the limit of its length" in talk.type("one")
    shown = talk.type("two", "\x03/clear", "two")
    assert "maximum context length" in shown
    assert "/clear forgets the conversation; /save FILE keeps it before." in shown
    assert talk.chat.conversation.turns == 1
    assert talk.chat.conversation.last_question == "two"


@pytest.mark.parametrize("stops", [pytest.param(True, marks=pytest.mark.slow), False], ids=["stopped", "killed"])
def test_a_service_that_ends_during_an_answer_leaves_the_question(
    start: Start, fresh_service: RunningService, stops: bool
) -> None:
    def end() -> None:
        if stops:
            fresh_service.client.stop()  # the answer has ten seconds more
        else:
            os.kill(fresh_service.client.record.pid, signal.SIGKILL)

    add_model(fresh_service.paths, "slow:1", ["0123456789" * 400], context_length=8192, busy=40)
    talk = start("slow:1", where=fresh_service)
    talk.stream.at("🤖 01", end)
    shown = talk.type("hello", "\x03")  # the question stands at the prompt, and is taken back
    assert shown.endswith("\n\nThe service has gone. It is started again when you send the next question.\n")


def test_nul_in_a_paste_is_left_out(start: Start) -> None:
    talk = start("echo:1")
    assert talk.type("\x1b[200~o\x00ne\x1b[201~") == FIRST
    assert talk.chat.conversation.last_question == "one"


def test_an_unknown_model_changes_nothing(start: Start) -> None:
    talk = start("echo:1")
    shown = talk.type("/model nosuch", "/model", "one")
    assert "Exception: " in shown
    assert "'nosuch'" in shown
    assert shown.endswith(f"The model is echo:1.\n{FIRST}")


def test_model_names_come_from_the_service(start: Start) -> None:
    talk = start("echo:1")
    assert "echo:1" in talk.chat.model_names()


def test_errors_are_shown_and_the_chat_goes_on(start: Start) -> None:
    talk = start("echo:1")
    shown = talk.type(f"\x1b[200~{'word ' * 3000}\x1b[201~", "one")  # pasted
    assert shown.startswith("Exception: ")
    assert shown.endswith(FIRST)
    assert talk.chat.conversation.turns == 1


def test_control_c_at_the_prompt_says_how_to_leave(start: Start) -> None:
    assert start("echo:1").type("\x03one") == f"Press Ctrl-D or type /exit to leave the chat.\n{FIRST}"
    assert start("echo:1").type("wrong\x03one") == FIRST


def test_a_service_that_has_gone_is_started_again(start: Start, fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "echo:1", ["The first answer.", "The second answer: 😀 done."])
    talk = start("echo:1", where=fresh_service)
    assert talk.type("one") == FIRST
    kill(fresh_service)
    shown = talk.type("two")
    assert shown == f"The service was started again.\n{SECOND}"
    assert find_service(fresh_service.paths) is not None
    assert [message.content for message in talk.chat.conversation.messages][::2] == ["one", "two"]


@pytest.mark.slow
def test_a_service_that_goes_during_an_answer_is_noticed(start: Start, fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "slow:1", ["0123456789" * 100], context_length=8192, busy=4)
    talk = start("slow:1", where=fresh_service)
    talk.stream.at("🤖 01", lambda: kill(fresh_service))
    shown = talk.type("hello", "\x03")
    assert "🤖 01" in shown
    assert shown.endswith("\n\nThe service has gone. It is started again when you send the next question.\n")
    assert talk.chat.conversation.turns == 0

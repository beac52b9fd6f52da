"""Chats in a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest

from tests.conftest import RunningService, add_model, clean_environment
from tests.repl.screen import Screen

CHAT = """\
import sys, termios
from foundry_cli.client.supervisor import require_service
from foundry_cli.paths import Paths
from foundry_cli.repl.session import ChatSettings, run_chat
before = termios.tcgetattr(0)
paths = Paths.from_environment()
try:
    run_chat(paths, require_service(paths), sys.argv[1], ChatSettings())
finally:
    print("terminal restored:", termios.tcgetattr(0) == before, flush=True)
"""
BACK_SECONDS = 1.0  # for the prompt after Ctrl-C; 0.2 is the aim on a machine that does nothing else

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


class Terminal:
    """A person at a terminal: types, and waits for what is shown."""

    def __init__(self, command: list[str], service: RunningService, **environment: str) -> None:
        environment = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **environment}
        variables = clean_environment(service.paths.home, **environment)
        variables = {name: value for name, value in variables.items() if value}
        self.process = pexpect.spawn(
            command[0], command[1:], env=variables, encoding="utf-8", timeout=30, dimensions=(24, 80), cwd=str(Path.cwd())
        )

    def see(self, *texts: str) -> str:
        """Wait until `texts` are shown one after the other; what stood before the last one."""
        for text in texts:
            self.process.expect_exact(text)
        return str(self.process.before)

    def prompt(self) -> str:
        """Wait for the next prompt; what stood before it."""
        return self.see("> ")

    def type(self, text: str, key: str = "\r") -> None:
        """Type a text and a key."""
        self.process.send(text + key)

    def is_echoing(self) -> bool:
        """Whether the terminal's driver shows what is typed."""
        return bool(termios.tcgetattr(self.process.child_fd)[3] & termios.ECHO)

    def end(self) -> int:
        """Wait for the end of the command; its exit status."""
        self.process.expect(pexpect.EOF)
        self.process.wait()
        return int(self.process.exitstatus if self.process.exitstatus is not None else -self.process.signalstatus)


Open = Callable[..., Terminal]


@pytest.fixture
def open_chat(service: RunningService) -> Iterator[Open]:
    """Open a terminal with a chat, up to its first prompt."""
    opened: list[Terminal] = []

    def open_one(model: str, where: RunningService = service, **environment: str) -> Terminal:
        terminal = Terminal([sys.executable, "-c", CHAT, model], where, **environment)
        opened.append(terminal)
        terminal.see("Interactive mode, please enter your prompt")
        terminal.prompt()
        return terminal

    yield open_one
    for terminal in opened:
        terminal.process.close(force=True)


def test_a_chat(open_chat: Open, tmp_path: Path, service: RunningService) -> None:
    talk = tmp_path / "talk.json"
    terminal = open_chat("echo:1")
    for question, answer in [("one", "🤖 The first answer."), ("two", "🤖 The second answer: 😀 done."), ("three", "done.")]:
        terminal.type(question)
        terminal.see(answer)
        terminal.prompt()
    terminal.type(f"/save {talk}")
    terminal.see("Saved 3 questions")
    terminal.prompt()
    terminal.type("/clear")
    terminal.see("forgotten.")
    terminal.prompt()
    terminal.type(f"/load {talk}")
    terminal.see("Loaded 3 questions")
    terminal.prompt()
    terminal.type("/show conversation")
    terminal.see("> three")
    terminal.prompt()
    terminal.type("", "\x04")
    terminal.see("terminal restored: True")
    assert terminal.end() == 0
    assert (service.paths.history_file.stat().st_mode & 0o777) == 0o600
    assert "+/show conversation\n" in service.paths.history_file.read_text("utf-8")


def test_control_c_stops_the_answer_at_once(open_chat: Open) -> None:
    terminal = open_chat("slow:1")
    terminal.type("hello")
    terminal.see("Thinking...", "🤖 0123")
    assert not terminal.is_echoing()
    pressed = time.monotonic()
    terminal.type("", "\x03")
    terminal.see("Cancelled.")
    terminal.prompt()
    assert time.monotonic() - pressed < BACK_SECONDS
    terminal.type("", "\x03")
    terminal.see("Press Ctrl-D or type /exit to leave the chat.")
    terminal.prompt()
    terminal.type("/exit")
    terminal.see("terminal restored: True")
    assert terminal.end() == 0


@pytest.mark.slow
def test_control_c_held_at_the_prompt_harms_nothing(open_chat: Open) -> None:
    terminal = open_chat("echo:1")
    terminal.process.delaybeforesend = None
    shown = ""
    for _ in range(400):
        terminal.type("", "\x03")
        with suppress(pexpect.TIMEOUT):  # between two prompts, too
            shown += terminal.process.read_nonblocking(1000, timeout=0.01)
    terminal.type("hello")
    shown += terminal.see("The first answer.")
    assert "Press Ctrl-D or type /exit to leave the chat." in shown
    assert [word for word in ("Error", "Interrupt", "Warning", "Cancelled") if word in shown] == []


def test_control_c_stops_the_reading_of_a_long_question(open_chat: Open) -> None:
    terminal = open_chat("slow:1")
    terminal.type("word " * 400)
    terminal.see("Thinking...")
    pressed = time.monotonic()
    terminal.type("", "\x03")
    terminal.see("Cancelled.")
    terminal.prompt()
    assert time.monotonic() - pressed < BACK_SECONDS
    terminal.type("/show")
    terminal.see("Conversation:  0 questions")


def test_what_is_typed_early_stands_at_the_next_prompt(open_chat: Open) -> None:
    terminal = open_chat("echo:1")
    terminal.type("one\r/set seed 5")
    assert "seed" not in terminal.see("The first answer.")
    terminal.see("seed is 5.")


def test_markdown_is_rendered_in_colour(open_chat: Open, fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "md:1", ["It is **bold**.\n\n- one\n- two\n"])
    terminal = open_chat("md:1", fresh_service, NO_COLOR="")
    terminal.type("hello")
    terminal.see("🤖 It is \x1b[1mbold\x1b[0m.", "•", "one", "•", "two")
    terminal.prompt()


def test_hostile_answers_do_not_reach_the_terminal(open_chat: Open, fresh_service: RunningService) -> None:
    add_model(
        fresh_service.paths, "evil:1", ["begin\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[2J\x08\x08\u202eabc\x9b31m end."]
    )
    terminal = open_chat("evil:1", fresh_service)
    terminal.type("hello")
    assert terminal.see("begin", "abc", " end.") == ""


def test_termination_restores_the_terminal(open_chat: Open) -> None:
    terminal = open_chat("echo:1")
    terminal.process.kill(signal.SIGTERM)
    terminal.see("terminal restored: True")
    assert terminal.end() == 128 + signal.SIGTERM
    terminal = open_chat("slow:1")
    terminal.type("hello")
    terminal.see("🤖 0123")
    terminal.process.kill(signal.SIGTERM)
    terminal.see("terminal restored: True")
    assert terminal.end() == 128 + signal.SIGTERM


def test_a_resized_window(open_chat: Open) -> None:
    terminal = open_chat("slow:1", NO_COLOR="")
    terminal.type("hello")
    terminal.see("🤖 0123")
    terminal.process.setwinsize(10, 30)
    terminal.see("0123456789")
    terminal.type("", "\x03")
    terminal.see("Cancelled.")
    terminal.prompt()
    terminal.process.setwinsize(24, 80)
    terminal.type("/exit")
    terminal.see("terminal restored: True")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dumb", "xterm"])
def test_plain_answers_are_broken_between_words(kind: str, open_chat: Open, fresh_service: RunningService) -> None:
    add_model(fresh_service.paths, "words:1", ["twelve words " * 12 + "end."])
    terminal = open_chat("words:1", fresh_service, TERM=kind)
    terminal.process.setwinsize(24, 40)
    terminal.type("hello")
    shown = terminal.see("🤖 ", "end.")
    screen = Screen(40, 24)
    screen.feed(f"🤖 {shown}end.".replace("\r\n", "\n"))
    assert set(screen.text.replace("🤖", "").split()) == {"twelve", "words", "end."}
    assert len(screen.lines) == 5
    assert ("\x1b" in shown) == (kind == "xterm")
    terminal.prompt()
    terminal.type("/clear it")
    terminal.see("A question that begins so is written")
    assert "\r\n" in terminal.see("with two slashes")


def test_suspended_and_continued(service: RunningService) -> None:
    terminal = Terminal(["bash", "--norc", "-i"], service, PS1="shell$ ")
    terminal.see("shell$ ")
    terminal.process.sendline(f"{sys.executable} -c '{CHAT}' slow:1")
    terminal.see("enter your prompt")
    terminal.prompt()
    terminal.type("", "\x1a")
    terminal.see("Stopped", "shell$ ")
    terminal.process.sendline("stty -a | grep -ow -e -echo -e echo; fg")
    assert "-echo" not in terminal.see("run_chat").partition("fg\r\n")[2]
    terminal.prompt()
    terminal.type("hello")
    terminal.see("🤖 0123")
    terminal.type("", "\x1a")
    terminal.see("Stopped", "shell$ ")
    terminal.process.sendline("fg")
    terminal.see("0123456789")
    terminal.type("", "\x03")
    terminal.see("Cancelled.")
    terminal.prompt()
    terminal.type("", "\x04")
    terminal.see("terminal restored: True", "shell$ ")
    terminal.process.close(force=True)


def test_what_a_shell_wrote_meanwhile_stays_on_the_screen(service: RunningService) -> None:
    terminal = Terminal(["bash", "--norc", "-i"], service, PS1="shell$ ", NO_COLOR="")
    terminal.see("shell$ ")
    terminal.process.sendline(f"{sys.executable} -c '{CHAT}' slow:1")
    terminal.see("enter your prompt")
    terminal.prompt()
    terminal.type("hello")
    terminal.see("🤖 ", "\r\n", "012")  # the second row
    terminal.type("", "\x1a")
    terminal.see("Stopped", "shell$ ")
    terminal.process.sendline("fg")
    terminal.see("run_chat", "012")
    terminal.type("", "\x03")
    assert "\x1b[J" not in terminal.see("Cancelled.")
    terminal.prompt()
    terminal.type("", "\x04")
    terminal.see("terminal restored: True", "shell$ ")
    terminal.process.close(force=True)


@pytest.mark.slow
def test_keys_typed_while_the_service_dies_are_not_added_to_its_question(
    open_chat: Open, fresh_service: RunningService
) -> None:
    add_model(fresh_service.paths, "slow:1", ["0123456789" * 400], context_length=8192, busy=40)
    terminal = open_chat("slow:1", fresh_service)
    terminal.type("hello")
    terminal.see("🤖 01")
    terminal.type("typed ahead")
    os.kill(fresh_service.client.record.pid, signal.SIGKILL)
    terminal.see("The service has gone.")
    terminal.prompt()
    terminal.see("hello")
    terminal.type("", "\x03")  # takes the question back
    terminal.type("/exit")
    assert "typed ahead" not in terminal.see("terminal restored: True")
    assert terminal.end() == 0


@pytest.mark.parametrize("question", ["", "hello\r"])
def test_a_closed_window_ends_the_chat(question: str, service: RunningService) -> None:
    controller, end = os.openpty()
    environment = clean_environment(service.paths.home, TERM="xterm-256color", PROMPT_TOOLKIT_NO_CPR="1")
    command = [sys.executable, "-c", CHAT, "slow:1"]
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(end)
        wait_for(controller, b"> ")
        if question:
            os.write(controller, question.encode())
            wait_for(controller, b"0123")
        os.close(controller)  # without a hang-up signal: the terminal is not this process's own
        process.wait(timeout=30)
        assert process.returncode is not None


def wait_for(descriptor: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(descriptor, 1000)

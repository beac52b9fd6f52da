"""The chat in a terminal: reads what is typed, and shows what comes back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output
from prompt_toolkit.styles import Style

from foundry_cli.client.client import ReasoningDelta, ServiceClient
from foundry_cli.errors import (
    ContextLengthError,
    EngineDiedError,
    FoundryError,
    ServiceStoppingError,
    ServiceUnreachableError,
)
from foundry_cli.paths import Paths
from foundry_cli.repl.actions import ACTIONS
from foundry_cli.repl.chat import Answer, Chat
from foundry_cli.repl.commands import Call, parse_input
from foundry_cli.repl.completer import CommandCompleter
from foundry_cli.repl.history import PromptHistory
from foundry_cli.repl.key_bindings import chat_key_bindings
from foundry_cli.repl.printer import Printer, TerminalGoneError
from foundry_cli.repl.sanitizer import clean_prompt
from foundry_cli.repl.settings import ChatSettings
from foundry_cli.repl.style import PROMPT_STYLE
from foundry_cli.repl.terminal import InterruptGate, Keyboard

__all__ = ["ChatSession", "ChatSettings", "make_prompt", "run_chat"]

GREETING = """\
Interactive Chat. Enter /? or /help for help.
Press Ctrl+C to cancel generation. Type /exit to leave the chat.

Interactive mode, please enter your prompt"""

_FULL = "/clear forgets the conversation; /save FILE keeps it before."


def run_chat(paths: Paths, client: ServiceClient, model: str, settings: ChatSettings) -> None:
    """Chat until the person leaves. Standard input is a terminal."""
    chat = Chat(paths, client, model, settings)
    prompt = make_prompt(chat, PromptHistory(paths.history_file))
    printer, keyboard = Printer.for_stdout(), Keyboard(sys.stdin.fileno())
    with keyboard.quiet():
        ChatSession(chat, printer, prompt, keyboard).run()


def make_prompt(chat: Chat, history: History, input: Input | None = None, output: Output | None = None) -> PromptSession[str]:
    """The prompt, on the terminal or on the given input and output."""
    session: PromptSession[str] = PromptSession(
        [("class:prompt", "> ")],
        multiline=True,  # Enter is bound to send
        prompt_continuation="  ",
        style=Style.from_dict(PROMPT_STYLE),
        history=history,
        completer=CommandCompleter(chat.model_names),
        complete_while_typing=Condition(_is_command),
        complete_in_thread=True,  # the names of models come from the service
        key_bindings=chat_key_bindings(),
        enable_suspend=True,
        search_ignore_case=True,
        input=input,
        output=output,
    )
    session.app.renderer.cpr_not_supported_callback = None  # would print a warning into the chat
    return session


def _is_command() -> bool:
    text = get_app().current_buffer.text
    return text.startswith("/") and not text.startswith("//")


class ChatSession:
    """The loop around a chat."""

    def __init__(self, chat: Chat, printer: Printer, prompt: PromptSession[str], keyboard: Keyboard | None = None) -> None:
        self._chat = chat
        self._printer = printer
        self._prompt = prompt
        self._keyboard = keyboard or Keyboard()
        self._gate = InterruptGate()
        self._offered = ""  # stands at the next prompt already

    def run(self) -> None:
        """Chat until the person leaves or the window is closed."""
        with suppress(TerminalGoneError), self._gate:
            self._printer.line(GREETING)
            while self._turn():
                self._gate.forget()

    def _turn(self) -> bool:
        """One prompt and what follows from it; False to leave."""
        try:
            text = self._read()
        except EOFError:
            return False
        except KeyboardInterrupt:
            self._printer.note("Press Ctrl-D or type /exit to leave the chat.")
            return True
        try:
            with self._keyboard.signals(self._printer.disturb):
                return self._take(text)
        except KeyboardInterrupt:
            self._printer.end_answer("Cancelled.")
        except FoundryError as error:
            self._report(error, text)
        return True

    def _read(self) -> str:
        offered, self._offered = self._offered, ""
        self._chat.read_ahead()
        if offered:  # keys that nobody has seen yet would become a part of it, or send it
            self._keyboard.drop_keys()
        try:
            text = self._prompt.prompt(default=offered)
        except OSError as error:
            raise TerminalGoneError from error
        return clean_prompt(text)

    def _take(self, text: str) -> bool:
        entry = parse_input(text)
        if entry is None:
            return True
        if not isinstance(entry, Call):
            self._answer(lambda: self._chat.ask(entry.text))
        elif entry.command.name == "exit":
            return False
        elif entry.command.name == "retry":
            self._answer(self._chat.ask_again)
        else:
            if entry.command.name == "model":
                self._connect()
            with self._gate.opened():
                ACTIONS[entry.command.name](self._chat, self._printer, entry.argument)
        return True

    def _answer(self, ask: Callable[[], Answer]) -> None:
        """Have a question answered. A service that has ended since the last one is started again, once."""
        self._connect()
        try:
            self._show(ask())
        except (ServiceUnreachableError, ServiceStoppingError) as error:
            if self._printer.is_answering or not self._chat.has_lost_service(error):
                raise
            self._printer.end_wait()
            self._connect()
            self._show(ask())

    def _show(self, answer: Answer) -> None:
        is_cancelled = False
        self._printer.wait()
        try:
            while (piece := self._gate.next(answer)) is not None:
                show = self._printer.thought if isinstance(piece, ReasoningDelta) else self._printer.answer
                show(piece.text)
        except KeyboardInterrupt:
            is_cancelled = True
        finally:
            answer.close()
        self._chat.keep(answer, is_cancelled=is_cancelled)
        self._printer.end_answer(*self._notes(answer, is_cancelled=is_cancelled))

    def _notes(self, answer: Answer, *, is_cancelled: bool) -> list[str]:
        if is_cancelled:
            return ["Cancelled."]
        notes = [] if answer.text.strip() else ["The model gave no answer."]
        if answer.end is not None and answer.end.finish_reason == "length":
            notes.append("The answer was cut off, because it reached the limit of its length.")
        return [*notes, answer.stats.text()] if self._chat.settings.verbose else notes

    def _connect(self) -> None:
        if self._chat.is_connected:
            return
        with self._gate.opened():
            was_started = self._chat.reconnect()
        if was_started:
            self._printer.note("The service was started again.")

    def _report(self, error: FoundryError, text: str) -> None:
        """Say what went wrong; a question that was not answered to its end is offered again."""
        self._printer.end_answer()
        was_connected = self._chat.is_connected
        is_full = isinstance(error, ContextLengthError) and bool(self._chat.conversation.messages)
        if was_connected and self._chat.has_lost_service(error):
            self._printer.line("The service has gone. It is started again when you send the next question.", "error")
        elif is_full:
            self._printer.error(FoundryError(error.message, hint=_FULL))
        else:
            self._printer.error(error)
        if is_full or not self._chat.is_connected or isinstance(error, EngineDiedError):
            self._offered = text

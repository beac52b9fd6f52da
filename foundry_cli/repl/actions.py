"""What the `/` commands do, except those that ask the model or leave the chat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from foundry_cli.errors import FoundryError
from foundry_cli.repl.chat import Chat
from foundry_cli.repl.commands import KEYS_HELP, describe_commands, without_quotes
from foundry_cli.repl.conversation import load_conversation, save_conversation
from foundry_cli.repl.printer import Printer
from foundry_cli.repl.settings import PARAMETERS, describe_parameters, find_parameter, set_parameter, value_text


def _help(_chat: Chat, printer: Printer, _argument: str) -> None:
    printer.line("Commands:")
    printer.pairs(describe_commands())
    printer.line(f"\n{KEYS_HELP}")


def _set(chat: Chat, printer: Printer, argument: str) -> None:
    if not argument:
        printer.pairs(describe_parameters(chat.settings))
        return
    if " " in argument:
        chat.settings = set_parameter(chat.settings, argument)
    parameter = find_parameter(argument.split()[0])
    printer.line(f"{parameter.name} is {value_text(chat.settings, parameter)}.")


def _system(chat: Chat, printer: Printer, argument: str) -> None:
    if not argument:
        printer.line(chat.conversation.system or "There is no system prompt.")
        return
    text = without_quotes(argument)
    chat.set_system(text)
    printer.line("The system prompt is set." if text else "The system prompt is removed.")


def _model(chat: Chat, printer: Printer, argument: str) -> None:
    if not argument:
        printer.line(f"The model is {chat.model}.")
        return
    printer.wait("🕘 Loading model...")
    try:
        chat.switch_model(argument)
    finally:
        printer.end_wait()
    printer.line(f"🟢 Model {chat.model} loaded successfully")


def _clear(chat: Chat, printer: Printer, _argument: str) -> None:
    chat.replace_conversation(chat.conversation.without_messages())
    chat.file = None  # what was saved stays as it is
    kept = " The system prompt is kept." if chat.conversation.system else ""
    printer.line(f"The conversation is forgotten.{kept}")


def _show(chat: Chat, printer: Printer, argument: str) -> None:
    if argument:
        _show_messages(chat, printer)
        return
    changed = [p for p in PARAMETERS if value_text(chat.settings, p) not in ("default", "off")]
    settings = ", ".join(f"{p.name} {value_text(chat.settings, p)}" for p in changed)
    printer.line(f"Model:         {chat.model}")
    printer.line(f"System prompt: {chat.conversation.system or 'none'}")
    printer.line(f"Settings:      {settings or 'defaults of the model'}")
    printer.line(f"Conversation:  {_count(chat.conversation.turns)}{_place(chat)}")


def _place(chat: Chat) -> str:
    if chat.file is None:
        return ""
    return f", saved in {chat.file}" if chat.conversation == chat.saved else f", changed since it was saved in {chat.file}"


def _show_messages(chat: Chat, printer: Printer) -> None:
    for message in chat.conversation.messages:
        if message.role == "user":
            printer.line(f"> {message.content}")
        else:
            printer.answer(message.content)
            printer.end_answer(*(["Cancelled."] if message.is_cancelled else []))
    if not chat.conversation.messages:
        printer.line("Nothing has been said yet.")


def _stats(chat: Chat, printer: Printer, _argument: str) -> None:
    printer.line(chat.stats.text() if chat.stats else "There is no answer yet.")


def _save(chat: Chat, printer: Printer, argument: str) -> None:
    path = _path(argument) if argument else chat.file
    if path is None:
        raise FoundryError("A file name is missing.", hint="For example: /save talk.json")
    if path != chat.file and path.exists():
        raise FoundryError(f"The file {path} exists already.", hint="Choose another name, or remove that file first.")
    save_conversation(chat.conversation, chat.model, path)
    chat.file, chat.saved = path, chat.conversation
    printer.line(f"Saved {_count(chat.conversation.turns)} to {path}.")


def _load(chat: Chat, printer: Printer, argument: str) -> None:
    if not argument:
        raise FoundryError("A file name is missing.", hint="For example: /load talk.json")
    path = _path(argument)
    conversation, model = load_conversation(path)
    chat.replace_conversation(conversation)
    chat.file, chat.saved = path, conversation
    printer.line(f"Loaded {_count(conversation.turns)} from {path}.")
    if model and model != chat.model:
        printer.note(f"It was with the model {model}; /model {model} goes on with that.")


def _path(argument: str) -> Path:
    try:
        return Path(argument).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no home directory, or no working directory
        raise FoundryError(f"The file name {argument!r} cannot be used: {str(error).rstrip('.')}.") from error


def _count(turns: int) -> str:
    return "1 question" if turns == 1 else f"{turns} questions"


Action = Callable[[Chat, Printer, str], None]

ACTIONS: dict[str, Action] = {
    "help": _help,
    "set": _set,
    "system": _system,
    "model": _model,
    "clear": _clear,
    "show": _show,
    "stats": _stats,
    "save": _save,
    "load": _load,
}
"""By the name of the command."""

"""The `/` commands: which there are, and how a typed text is understood."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from foundry_cli.errors import InvalidRequestError

_BLOCK = '"""'


@dataclass(frozen=True)
class Command:
    """A command of the chat. `argument` is shown in the help."""

    name: str
    description: str
    argument: str = ""
    other_names: tuple[str, ...] = ()

    def takes(self, argument: str) -> bool:
        """Whether `argument` may follow the name."""
        only = self.argument.strip("[]")
        return not argument or only.isupper() or argument == only


COMMANDS = (
    Command("help", "show this help", other_names=("?",)),
    Command("set", "list the parameters, or set one; the value 'default' resets it", "[PARAMETER VALUE]"),
    Command("system", 'show or set the system prompt; /system "" removes it', "[TEXT]"),
    Command("model", "show the model, or go on with another one", "[NAME]"),
    Command("retry", "ask the last question again, in place of the last answer"),
    Command("clear", "forget the conversation, keep the system prompt"),
    Command("show", "show model, system prompt and settings, or what was said", "[conversation]"),
    Command("stats", "show tokens and speed of the last answer"),
    Command("save", "save the conversation to a file", "[FILE]"),
    Command("load", "go on with a saved conversation", "FILE"),
    Command("exit", "leave the chat", other_names=("quit", "bye")),
)
_BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.other_names)}

KEYS_HELP = """\
Enter sends, Alt-Enter begins a new line. Text between \"\"\" and \"\"\" may have many lines.
A question that begins with a slash is written with two: //etc/hosts is …
Ctrl-C stops the answer; what has been said so far stays in the conversation. Ctrl-D leaves."""
"""How to type; for `/help`."""


@dataclass(frozen=True)
class Question:
    """A text for the model."""

    text: str


@dataclass(frozen=True)
class Call:
    """A command with its argument."""

    command: Command
    argument: str


def parse_input(text: str) -> Question | Call | None:
    """What was typed; None when it is nothing. Raises `InvalidRequestError` for an unknown command or argument."""
    text = text.strip()
    if text.startswith("//"):
        return Question(text[1:])
    if not text.startswith("/"):
        question = without_quotes(text)
        return Question(question) if question.strip() else None
    name, argument = _split(text)
    command = _BY_NAME.get(name.lower())
    if command is None:
        raise _unknown(name)
    if not command.takes(argument):
        raise _surplus(command, name)
    return Call(command, argument)


def is_open(text: str) -> bool:
    '''Whether `text` begins a block with """ that has not ended, so that Enter must not send it.'''
    text = text.lstrip()
    if text.startswith("/") and not text.startswith("//"):
        text = _split(text)[1]
    return text.startswith(_BLOCK) and (len(text) < 2 * len(_BLOCK) or not text.rstrip().endswith(_BLOCK))


def without_quotes(text: str) -> str:
    '''The inside of a """ block, or of an empty pair of quotes; any other text as it is.'''
    if text.startswith(_BLOCK):
        return text[len(_BLOCK) :].removesuffix(_BLOCK).strip("\n")
    return "" if text in ('""', "''") else text


def describe_commands() -> list[tuple[str, str]]:
    """Every command: how it is called, and what it does."""
    calls = ("/help, /?" if command.name == "help" else f"/{command.name} {command.argument}" for command in COMMANDS)
    return [(call.rstrip(), command.description) for call, command in zip(calls, COMMANDS, strict=True)]


def _split(text: str) -> tuple[str, str]:
    """The word after the slash, and the rest."""
    name, rest = re.fullmatch(r"/(\S*)\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return name, rest


def _surplus(command: Command, name: str) -> InvalidRequestError:
    known = f"no argument other than {command.argument.strip('[]')!r}" if command.argument else "no argument"
    return InvalidRequestError(
        f"/{command.name} takes {known}.", hint=f"A question that begins so is written with two slashes: //{name} …"
    )


def _unknown(name: str) -> InvalidRequestError:
    near = difflib.get_close_matches(name.lower(), _BY_NAME, n=1)
    suggestion = f"Did you mean /{near[0]}?" if near else "Type /help for the commands."
    return InvalidRequestError(
        f"Unknown command /{name}.", hint=f"{suggestion} To ask the model about /{name}, write //{name}."
    )

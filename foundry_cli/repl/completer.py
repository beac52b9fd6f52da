"""Completion of `/` commands and their arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from foundry_cli.repl.commands import COMMANDS
from foundry_cli.repl.sanitizer import sanitize
from foundry_cli.repl.settings import PARAMETERS

Names = Callable[[], list[str]]


class CommandCompleter(Completer):
    """Completes command names, parameters of `/set`, model names and file names."""

    def __init__(self, model_names: Names) -> None:
        self._model_names = model_names
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The completions at the cursor; none outside of commands."""
        text = document.text_before_cursor
        if not text.startswith("/") or text.startswith("//") or "\n" in text:
            return
        name, blank, argument = text[1:].partition(" ")
        if not blank:
            yield from _command_names(name)
        elif name in ("save", "load"):
            yield from self._paths.get_completions(Document(argument), complete_event)
        elif " " not in argument:
            yield from self._arguments(name, argument)

    def _arguments(self, command: str, start: str) -> Iterable[Completion]:
        if command == "set":
            return [
                Completion(f"{parameter.name} ", -len(start), display=parameter.name, display_meta=parameter.description)
                for parameter in PARAMETERS
                if parameter.name.startswith(start)
            ]
        sources: dict[str, Names] = {"model": self._model_names, "show": lambda: ["conversation"]}
        names = sources[command]() if command in sources else []
        return [Completion(name, -len(start)) for name in map(sanitize, names) if name.startswith(start)]


def _command_names(start: str) -> Iterable[Completion]:
    for command in COMMANDS:
        if command.name.startswith(start):
            yield Completion(command.name, -len(start), display=f"/{command.name}", display_meta=command.description)

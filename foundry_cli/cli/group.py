"""Groups of commands, each of which is made when it is asked for: Typer would make all of them for every call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_command_name
from typer.models import CommandInfo

from foundry_cli.cli import output

Command = TyperCommand | TyperGroup

_OF_ALL: dict[str, Any] = {
    "context_settings": {"help_option_names": ["--help", "-h", "-?"], "max_content_width": 100},
    "rich_markup_mode": None,
    "add_completion": False,
    "pretty_exceptions_enable": False,
}


class Commands(Mapping[str, Command]):
    """The commands of a group by their names, in the order of `makers`."""

    def __init__(self, makers: Mapping[str, Callable[[], Command]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class _SteadyHelp:
    """Names the option for help in the order in which it was given; Click shows them in that of a set."""

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """Called by Click."""
        free = super().get_help_option_names(ctx)  # type: ignore[misc]
        return [name for name in ctx.help_option_names if name in free]


class SteadyGroup(_SteadyHelp, TyperGroup):
    """A group whose help is the same each time."""


class _SteadyCommand(_SteadyHelp, TyperCommand):
    """The same for a command, whose errors say what is wanted instead."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Called by Click."""
        ctx.allow_extra_args = True  # they are told of here
        try:
            rest = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.replace("a valid number", _number(getattr(error, "param", None)))
            raise
        if rest:
            texts = output.shown(" ".join(map(str, rest)), sys.stderr)
            ctx.fail(f"Got unexpected extra argument(s) ({texts}).{self._way()}")
        return rest

    def _way(self) -> str:
        kinds = {parameter.name: parameter.param_type_name for parameter in self.params}
        return _WAYS.get(kinds.get("prompt", ""), "")


_WAYS = {
    "option": ' A question is given with --prompt "...", between quotation marks.',
    "argument": " A prompt of several words stands between quotation marks.",
}
_TYPES = {"int": "number", "int range": "number", "float": "number", "float range": "number", "str": "text"}


def _number(parameter: Any) -> str:
    """What `parameter` must be, with its bounds."""
    value_type = getattr(parameter, "type", None)
    low, high = getattr(value_type, "min", None), getattr(value_type, "max", None)
    bounds = f" from {low} to {high}" if None not in (low, high) else "" if low is None else f" of at least {low}"
    return f"a {'whole ' if 'Int' in type(value_type).__name__ else ''}number{bounds}"


def group(help_text: str, cls: type[SteadyGroup] = SteadyGroup) -> typer.Typer:
    """A command group that shows its help when called without a command."""
    return typer.Typer(cls=cls, help=help_text, no_args_is_help=True, **_OF_ALL)


def make_group(app: typer.Typer) -> TyperGroup:
    """What Typer makes of a `group`."""
    infos, app.registered_commands = app.registered_commands, []
    made = typer.main.get_group(app)
    app.registered_commands = infos
    made.commands = Commands({_name(info): partial(_make, info) for info in infos})  # type: ignore[assignment]
    return made


def make_single(name: str, function: Callable[..., None]) -> TyperCommand:
    """A command that stands in no group."""
    app = typer.Typer(**_OF_ALL)
    app.command(name)(function)
    return _make(app.registered_commands[0])


def _name(info: CommandInfo) -> str:
    return info.name or get_command_name(getattr(info.callback, "__name__", ""))


def _make(info: CommandInfo) -> TyperCommand:
    info.cls = _SteadyCommand
    made = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=_OF_ALL["rich_markup_mode"])
    for parameter in made.params:
        if parameter.type.name in _TYPES:
            parameter.type = copy(parameter.type)  # one object serves many parameters
            parameter.type.name = _TYPES[parameter.type.name]
    return cast("TyperCommand", made)

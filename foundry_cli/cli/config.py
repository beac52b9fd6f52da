"""`foundry config …`: settings one by one, under the names that later versions of the original give them."""

from __future__ import annotations

from typing import Annotated

import typer

from foundry_cli.cli.group import group
from foundry_cli.cli.options import OutputOption
from foundry_cli.cli.output import Format

app = group("Show and change settings one by one")

KeyArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="port, cache-directory, log-level, idle-timeout-minutes or strict-fields.", show_default=False
    ),
]


@app.command("show")
def show(output_format: OutputOption = Format.text) -> None:
    """Show the settings in force; those that are not the defaults are marked."""
    from foundry_cli.cli import config_keys

    config_keys.show(output_format)


@app.command("set")
def set_value(
    key: KeyArgument,
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE",
            help="A port or 'auto', a directory, a level, a number of minutes (0: never), true or false.",
            show_default=False,
        ),
    ],
    output_format: OutputOption = Format.text,
) -> None:
    """Change a setting; a running service takes it up, with a restart where one is needed."""
    from foundry_cli.cli import config_keys

    config_keys.change(key, value, output_format)


@app.command("reset")
def reset(key: KeyArgument, output_format: OutputOption = Format.text) -> None:
    """Put a setting back to its default."""
    from foundry_cli.cli import config_keys

    config_keys.change(key, None, output_format)

"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer
from typer.core import TyperGroup

from foundry_cli.cli.output import Format


class Device(str, Enum):
    """Values of `--device`."""

    auto = "Auto"
    cpu = "CPU"
    gpu = "GPU"
    npu = "NPU"

    @property
    def chosen(self) -> str | None:
        """The device, or None for the best one."""
        return None if self is Device.auto else self.value


class Switch(str, Enum):
    """Values of options that take `true` or `false`."""

    true = "true"
    false = "false"


CONTEXT = {"help_option_names": ["--help", "-h", "-?"], "max_content_width": 100}

ModelArgument = Annotated[str, typer.Argument(help="Alias, model id, or model id without version.", show_default=False)]
OutputOption = Annotated[
    Format, typer.Option("--output", "-o", help="Format of the result.", case_sensitive=False, show_default=True)
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Device whose variant of the model is meant.", case_sensitive=False)
]
AcceptLicenseOption = Annotated[
    bool, typer.Option("--accept-license", help="Accept the licence of the model, where its source asks for that.")
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--ep", metavar="PROVIDER", help="Execution provider to run it with, such as cpu or cuda.", show_default="by the model"
    ),
]
TtlOption = Annotated[
    int | None,
    typer.Option("--ttl", min=1, max=315_360_000, help="Seconds of idleness before the model is unloaded.", show_default="600"),
]


def group(help_text: str, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """A command group that shows its help when called without a command."""
    return typer.Typer(
        cls=cls,
        help=help_text,
        no_args_is_help=True,
        context_settings=CONTEXT,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

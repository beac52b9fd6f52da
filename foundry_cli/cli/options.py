"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

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


class ModelType(str, Enum):
    """Values of `--type`."""

    chat = "Chat"
    embedding = "Embedding"
    multimodal = "Multimodal"
    speech = "Speech"


class Switch(str, Enum):
    """Values of options that take `true` or `false`."""

    true = "true"
    false = "false"


ModelArgument = Annotated[str, typer.Argument(help="Alias, model id, or model id without version.", show_default=False)]


def _output_format(ctx: typer.Context, value: Format) -> Format:
    """What stands behind the command; else what stands before it: `foundry -o json model list`."""
    source = ctx.get_parameter_source("output_format")
    before = ctx.find_root().params.get("output_format")
    return value if before is None or (source is not None and source.name == "COMMANDLINE") else Format(before)


OutputOption = Annotated[
    Format,
    typer.Option(
        "--output", "-o", help="Format of the result.", case_sensitive=False, show_default=True, callback=_output_format
    ),
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

PortOption = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="TCP port, this time.", show_default="of the settings")
]
IdleTimeoutOption = Annotated[
    int | None,
    typer.Option(
        "--idle-timeout",
        metavar="MINUTES",
        min=0,
        max=525_600,
        help="Minutes without a request after which the service stops, this time; 0: never.",
        show_default="of the settings",
    ),
]
LogLevelOption = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        help="trace, debug, info, warn, error, critical or none, this time.",
        show_default="of the settings",
    ),
]
SystemOption = Annotated[str | None, typer.Option("--system", help="System message.", show_default=False)]
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", min=0, max=2, help="0: always the most probable word.", show_default="the model's"),
]
TopPOption = Annotated[
    float | None,
    typer.Option("--top-p", min=0, max=1, help="Share of probability to choose from.", show_default="the model's"),
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Longest answer in tokens.", show_default="no limit")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Same seed, same answer.", show_default="random")]

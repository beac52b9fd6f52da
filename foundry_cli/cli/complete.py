"""`foundry complete`: one question, one answer, nothing kept."""

from __future__ import annotations

from typing import Annotated

import typer

from foundry_cli.cli import output
from foundry_cli.cli.options import (
    AcceptLicenseOption,
    Device,
    DeviceOption,
    MaxTokensOption,
    ModelArgument,
    OutputOption,
    ProviderOption,
    SeedOption,
    SystemOption,
    TemperatureOption,
    TopPOption,
    TtlOption,
)
from foundry_cli.cli.output import Format


def complete(
    model: ModelArgument,
    prompt: Annotated[
        str | None, typer.Argument(help="What to answer; without it, what comes on standard input.", show_default=False)
    ] = None,
    system: SystemOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    ttl: TtlOption = None,
    device: DeviceOption = Device.auto,
    ep: ProviderOption = None,
    accept_license: AcceptLicenseOption = False,
    output_format: OutputOption = Format.text,
) -> None:
    """Answer one prompt and exit. The answer goes to standard output, everything else to standard error."""
    from foundry_cli.cli import chat
    from foundry_cli.repl.settings import ChatSettings

    question = chat.read_text(prompt)
    settings = ChatSettings(
        system=chat.system_message(system), temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed, ttl=ttl
    )
    wanted = chat.Wanted(model, device.chosen, ep=ep, ttl=ttl, accept_license=accept_license, retain=True)
    client, info = chat.ready_model(wanted, is_quiet=True)
    if output_format is Format.json:
        output.record(chat.answer_fields(client, info, question, settings))
    else:
        chat.answer_once(client, info, question, settings)

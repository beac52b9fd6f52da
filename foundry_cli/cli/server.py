"""`foundry server …`: the service under the name, and with the output, of later versions of the original."""

from __future__ import annotations

from typing import Annotated

import typer

from foundry_cli.cli import output, service
from foundry_cli.cli.group import group
from foundry_cli.cli.options import OutputOption
from foundry_cli.cli.output import Format, symbol

app = group("Manage the service, as later versions do it")

app.command("start")(service.start)
app.command("stop")(service.stop)
app.command("restart")(service.restart)


@app.command("status")
def show_status(output_format: OutputOption = Format.text) -> None:
    """Show whether the server runs, since when, and its address."""
    from foundry_cli.cli.service_status import print_state, state_fields
    from foundry_cli.paths import Paths

    fields = state_fields(Paths.from_environment())
    if output_format is Format.json:
        output.record(fields)
        return
    print_state(fields)
    if fields["state"] == "not_running":
        output.note("To start the server, run the following command: foundry server start")
    elif fields["state"] == "not_answering":
        output.note("To end it and start another, run the following command: foundry server restart")


@app.command("logs")
def show_logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many lines, the last ones.")] = 50,
) -> None:
    """Show the end of the log."""
    from collections import deque

    from foundry_cli import diagnostics
    from foundry_cli.log import LOG_NAME
    from foundry_cli.paths import Paths

    rule = symbol("──") or "--"
    output.line(f"{rule} daemon {rule} {LOG_NAME} {rule}")
    for text in deque(diagnostics.log_lines(Paths.from_environment()), maxlen=lines):
        output.line(text)

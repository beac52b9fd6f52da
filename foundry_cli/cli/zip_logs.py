"""`foundry zip-logs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foundry_cli.cli import output


def zip_logs(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="The zip file to write; an existing one is not replaced.",
            show_default="foundry-logs-<time>.zip",
        ),
    ] = None,
) -> None:
    """Collect the logs into a zip file, for a report. Prompts and answers are not in the logs."""
    from foundry_cli import diagnostics
    from foundry_cli.paths import Paths

    target = diagnostics.zip_logs(Paths.from_environment(), path)
    output.line(f"Logs were collected in {target}")

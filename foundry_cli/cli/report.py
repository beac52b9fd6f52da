"""`foundry report`: the facts that a report about a problem needs, as text. Nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundry_cli.cli import output

if TYPE_CHECKING:
    from foundry_cli.paths import Paths


def report(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="The file to write; an existing one is not replaced.", show_default="the terminal"
        ),
    ] = None,
) -> None:
    """Show what a report about a problem should say, as Markdown. Nothing is sent, and nothing private is in it."""
    from foundry_cli.paths import Paths

    text = report_text(Paths.from_environment())
    if file is None:
        output.line(text.rstrip("\n"))
        output.note(_way())
    else:
        _write(file, text)
        output.line(f"The report was written to {file}. {_way()}")


def _way() -> str:
    from importlib.metadata import metadata

    address = issue_address(metadata("foundry-cli").get_all("Project-URL") or [])
    place = f"at {address}" if address else "where you have this program from"
    return f"Read it, and paste it into an issue {place}. 'foundry zip-logs' collects the logs."


def issue_address(addresses: list[str]) -> str:
    """Of `Label, address` as a package names its places on the web, the one for issues; "" when there is none."""
    parts = [text.partition(",") for text in addresses]
    return next((address.strip() for label, _, address in parts if label.strip().lower() == "issues"), "")


def report_text(paths: Paths) -> str:
    """The report as Markdown. Settings that cannot be read do not keep it from being made."""
    from foundry_cli.cli.overview import overview, sections
    from foundry_cli.config import Config, load_config
    from foundry_cli.diagnostics import redact
    from foundry_cli.errors import ConfigError

    try:
        config, warnings = load_config(paths), []
    except ConfigError:
        config, warnings = Config(), ["The settings cannot be used; models and catalogs are those of the defaults."]
    found = overview(paths, config)
    return redact(_markdown(sections(found), [*warnings, *found["warnings"]]))


def _markdown(parts: dict[str, dict[str, Any]], warnings: list[str]) -> str:
    blocks = [
        [f"## {title}", "", *(f"- **{name}:** {value}" for name, value in facts.items())] for title, facts in parts.items()
    ]
    blocks.append(["## Warnings", "", *(f"- {warning}" for warning in warnings or ["No warnings."])])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _write(file: Path, text: str) -> None:
    """Write a new file, for its owner only. Raises `FoundryError`."""
    import os

    from foundry_cli.errors import FoundryError

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise FoundryError(f"{file} exists already.", hint="Name another file.") from error
    except OSError as error:
        raise FoundryError(f"{file} cannot be written: {error.strerror}.") from error

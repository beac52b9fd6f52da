"""`foundry provider …`: models that other servers with OpenAI's interface run."""

from __future__ import annotations

from typing import Annotated

import typer

from foundry_cli.cli import output
from foundry_cli.cli.group import group
from foundry_cli.cli.options import OutputOption
from foundry_cli.cli.output import Format

app = group("Use models that other servers with OpenAI's interface run")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the model is called here.", show_default=False)],
    url: Annotated[
        str,
        typer.Option(
            "--url",
            metavar="BASE",
            help="Base URL as OpenAI's clients take it: https://api.example.com/v1.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="What the model is called there.", show_default="the same name")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", metavar="VARIABLE", help="Environment variable that holds the key.", show_default=False),
    ] = None,
    api_key_file: Annotated[
        str | None,
        typer.Option("--api-key-file", metavar="FILE", help="File of mode 0600 that holds the key.", show_default=False),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow http, which is not encrypted, to another machine.")
    ] = False,
    output_format: OutputOption = Format.text,
) -> None:
    """Add a model that another server runs; requests that name it are sent there."""
    from foundry_cli.cli import provider_settings
    from foundry_cli.external_models import ExternalModel

    external = ExternalModel(
        name,
        url,
        model or name,
        key_variable=api_key_env,
        key_file=provider_settings.absolute(api_key_file),
        is_insecure=insecure,
    )
    problem = provider_settings.add(external)
    if output_format is Format.json:
        output.document({"provider": {**external.fields(), "problem": problem or None}})
        return
    output.line(f"Model {external.name} was added; requests for it go to {external.host}.")
    if problem:
        output.note(problem)


@app.command("list")
@app.command("ls", hidden=True)
def list_providers(output_format: OutputOption = Format.text) -> None:
    """List the models that other servers run, and where their keys are."""
    from foundry_cli.cli import provider_settings

    providers = provider_settings.known()
    if output_format is Format.json:
        output.document({"providers": providers})
        return
    output.line(f"{'Model':<31}{'Key':<25}{'Name There':<31}Location")
    for each in providers:
        remark = "" if each["saved"] else "  (until the service ends)"
        output.line(f"{each['name']:<30} {_key_place(each):<24} {each['model']:<30} {each['url']}{remark}")
        if each["problem"]:
            output.line(f"{'':<31}{each['problem']}")


def _key_place(provider: dict[str, object]) -> str:
    """Where the key is, in a word."""
    return f"${provider['apiKeyEnv']}" if provider["apiKeyEnv"] else str(provider["apiKeyFile"] or "-")


@app.command("remove")
@app.command("rm", hidden=True)
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.", show_default=False)],
    output_format: OutputOption = Format.text,
) -> None:
    """Remove a model that another server runs. The key stays where it is."""
    from foundry_cli.cli import provider_settings

    provider_settings.remove(name)
    if output_format is Format.json:
        output.document({"removed": name})
    else:
        output.line(f"Model {name} was removed.")

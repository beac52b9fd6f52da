"""`foundry model …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from foundry_cli import __version__
from foundry_cli.cli import output
from foundry_cli.cli.options import Device, DeviceOption, ModelArgument, OutputOption, Switch, TtlOption, group
from foundry_cli.cli.output import Format, symbol

if TYPE_CHECKING:
    from foundry_cli.client.client import ServiceClient
    from foundry_cli.inventory import Inventory

app = group("Discover, run and manage models")


@app.command("list")
@app.command("ls", hidden=True)
def list_models(
    filter_text: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Show only some models. Keys: device, provider, task, alias. '!' before the value negates, '*' at the end "
            "of an alias is a wildcard.",
            show_default=False,
        ),
    ] = None,
    output_format: OutputOption = Format.text,
) -> None:
    """List the models that are known on this machine."""
    from foundry_cli.cli import model_table
    from foundry_cli.inventory import filter_models

    models = local_inventory().models()
    if filter_text is not None:
        models = filter_models(models, filter_text)
    if output_format is Format.json:
        output.document({"models": [model_table.model_fields(model) for model in models]})
    else:
        model_table.print_models(models)


@app.command("info")
def show_info(
    model: ModelArgument,
    license_text: Annotated[bool, typer.Option("--license", help="Show the licence of the model.")] = False,
    device: DeviceOption = Device.auto,
    output_format: OutputOption = Format.text,
) -> None:
    """Show what is known about a model."""
    from foundry_cli.cli import model_table

    inventory = local_inventory()
    info = inventory.resolve(model, device.chosen)
    if output_format is Format.json:
        output.document({"model": model_table.model_fields(info)})
        return
    is_alias = model.strip().lower() == info.alias.lower() and device is Device.auto
    model_table.print_models(
        [other for other in inventory.models() if other == info or (is_alias and other.alias == info.alias)]
    )
    if license_text:
        output.line()
        output.line(info.license_description or info.license or "The model does not say under which licence it is.")


@app.command("load")
def load(model: ModelArgument, ttl: TtlOption = None, device: DeviceOption = Device.auto) -> None:
    """Load a model into the service, so that the first answer comes at once."""
    info = local_inventory().resolve(model, device.chosen)
    client = _start_service(output.line)
    output.line(f"{symbol('🕓 ')}Loading model...")
    output.flush()
    client.load(info.id, ttl=ttl)
    output.line(f"{symbol('🟢 ')}Model {model} loaded successfully")


@app.command("unload")
def unload(
    model: Annotated[str | None, typer.Argument(help="Alias or model id.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Unload every model.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also when the model is answering; the answer ends.")] = False,
) -> None:
    """Unload a model from the service and give its memory back."""
    from foundry_cli.client.supervisor import require_service
    from foundry_cli.paths import Paths

    if (model is None) != every:
        raise typer.BadParameter("Name a model, or use --all.")
    client = require_service(Paths.from_environment())
    if model is None:
        client.unload_all(force=force)
        output.line(f"{symbol('🔴 ')}All models unloaded")
        return
    loaded = {name.lower(): entry["id"] for entry in client.status()["loadedModels"] for name in _names(entry)}
    model_id = loaded.get(model.strip().lower())
    if model_id is None:
        local_inventory().resolve(model)
        output.line(f"Model {model} is not loaded")
        return
    client.unload(model_id, force=force)
    output.line(f"{symbol('🔴 ')}Model {model} unloaded successfully")


def _names(entry: dict[str, str]) -> tuple[str, str, str]:
    """What a loaded model can be called; its files may be gone meanwhile."""
    return entry["alias"], entry["id"].rpartition(":")[0], entry["id"]


@app.command("run")
def run(
    model: ModelArgument,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Answer this once, to standard output, and exit.", show_default=False)
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="System message.", show_default=False)] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0: always the most probable word.", show_default="the model's")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", min=0, max=1, help="Share of probability to choose from.", show_default="the model's"),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest answer in tokens.", show_default="no limit")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.", show_default="random")] = None,
    ttl: TtlOption = None,
    device: DeviceOption = Device.auto,
    retain: Annotated[Switch, typer.Option("--retain", help="Keep other models loaded.", case_sensitive=False)] = Switch.false,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show times and speed.")] = False,
) -> None:
    """Chat with a model. With --prompt, or with text on standard input, answer once and exit."""
    from foundry_cli.cli import chat
    from foundry_cli.repl.settings import ChatSettings

    settings = ChatSettings(
        system=system, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed, ttl=ttl, verbose=verbose
    )
    question = chat.read_question(prompt)
    info = local_inventory().resolve(model, device.chosen)
    say = output.line if question is None else output.note
    client = _start_service(say)
    chat.prepare_model(client, info, ttl=ttl, retain=retain is Switch.true, verbose=verbose, say=say)
    if question is None:
        chat.chat(client, info, settings)
    else:
        chat.answer_once(client, info, question, settings)


def local_inventory() -> Inventory:
    """What can be named on this machine, with the settings in force."""
    from foundry_cli.config import load_config
    from foundry_cli.inventory import Inventory
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    return Inventory(load_config(paths).cache_path(paths))


def _start_service(say: output.Say) -> ServiceClient:
    from foundry_cli.cli.lifecycle import started_line
    from foundry_cli.client.supervisor import start_service
    from foundry_cli.paths import Paths

    client, is_new = start_service(Paths.from_environment())
    if is_new:
        say(started_line(client.record))
    elif client.record.version != __version__:
        output.note(
            f"The running service is version {client.record.version}, this command is {__version__}; "
            "'foundry service restart' brings them together."
        )
    return client

"""`foundry model …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from foundry_cli.cli import model_bench, output, own_models
from foundry_cli.cli.group import group
from foundry_cli.cli.inventory import external_models, local_inventory
from foundry_cli.cli.options import (
    AcceptLicenseOption,
    Device,
    DeviceOption,
    MaxTokensOption,
    ModelArgument,
    ModelType,
    OutputOption,
    ProviderOption,
    SeedOption,
    Switch,
    SystemOption,
    TemperatureOption,
    TopPOption,
    TtlOption,
)
from foundry_cli.cli.output import Format, symbol

if TYPE_CHECKING:
    from foundry_cli.types import ModelInfo

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
    search: Annotated[
        str | None, typer.Option("--search", help="Only models whose names contain this text.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Only models of this catalog.", show_default=False)] = None,
    cached: Annotated[bool, typer.Option("--cached", help="Only models on this machine.")] = False,
    loaded: Annotated[bool, typer.Option("--loaded", help="Only models that the service has loaded.")] = False,
    device: DeviceOption = Device.auto,
    model_type: Annotated[
        ModelType | None, typer.Option("--type", help="Only models of this type.", case_sensitive=False, show_default=False)
    ] = None,
    all_devices: Annotated[
        bool, typer.Option("--all-devices", help="Also models that do not run on this machine, with the reason.")
    ] = False,
    variants: Annotated[
        bool, typer.Option("--variants", help="In JSON: 'variants' with their names, in place of 'models'.")
    ] = False,
    output_format: OutputOption = Format.text,
) -> None:
    """List the models of the catalogs and of this machine."""
    from foundry_cli.cli import model_list

    choice = model_list.Choice(
        filter_text, search, source, is_cached=cached, is_loaded=loaded, device=device.chosen,
        type=model_type.value if model_type else None, all_devices=all_devices,
    )  # fmt: skip
    model_list.show(choice, output_format, has_variants=variants)


@app.command("search")
def search_models(
    text: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    source: Annotated[
        str | None,
        typer.Option("--source", help="A catalog, or 'hf' for Hugging Face.", show_default="all catalogs"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="Most results of Hugging Face.")] = 20,
    output_format: OutputOption = Format.text,
) -> None:
    """Look for models in the catalogs, or on Hugging Face."""
    from foundry_cli.cli import model_list

    if source is not None and source.lower() in ("hf", "huggingface"):
        model_list.search_hugging_face(text, limit, output_format)
    else:
        model_list.show(model_list.Choice(search=text, source=source, all_devices=True), output_format)


@app.command("info")
def show_info(
    model: ModelArgument,
    license_text: Annotated[bool, typer.Option("--license", help="Show the licence of the model.")] = False,
    device: DeviceOption = Device.auto,
    output_format: OutputOption = Format.text,
) -> None:
    """Show what is known about a model."""
    from foundry_cli.cli import model_list

    model_list.show_one(model, device.chosen, has_license=license_text, output_format=output_format)


@app.command("download")
def download(
    model: Annotated[str, typer.Argument(help="Alias, model id, or hf:owner/repo[@revision][:subfolder].", show_default=False)],
    force: Annotated[
        bool,
        typer.Option("--force", help="Also when it does not run on this machine; check and mend it when it is here already."),
    ] = False,
    accept_license: AcceptLicenseOption = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Download a model. What has arrived is kept when it is interrupted; the same command goes on from there."""
    from foundry_cli.cli.download import Downloads
    from foundry_cli.cli.resolution import check_own, find_model

    info = find_model(model, device.chosen)
    check_own(info)
    if not info.is_cached:
        Downloads().fetch(info, force=force, accept_license=accept_license)
        output.line(f"Model {info.id} was downloaded.")
    elif force and not info.is_bundled:
        damaged = Downloads().mend(info)
        output.line(f"Mended {', '.join(check.path for check in damaged)}." if damaged else f"Model {info.id} is undamaged.")
    else:
        output.line(f"Model {info.id} was found in the local cache.")


@app.command("load")
def load(
    model: ModelArgument,
    ttl: TtlOption = None,
    device: DeviceOption = Device.auto,
    ep: ProviderOption = None,
    output_format: OutputOption = Format.text,
) -> None:
    """Load a model into the service, so that the first answer comes at once."""
    from foundry_cli.cli.lifecycle import running_service
    from foundry_cli.cli.resolution import find_cached_model

    info = find_cached_model(model, device.chosen)
    say = output.note if output_format is Format.json else output.line
    if info.is_external:
        _tell_external(info, output_format)
        return
    client = running_service(say)
    say(f"{symbol('🕓 ')}Loading model...")
    output.flush()
    client.load(info.id, ttl=ttl, ep=ep)
    say(f"{symbol('🟢 ')}Model {model} loaded successfully")
    if output_format is Format.json:
        output.document({"model": {"id": info.id, "loaded": True}})


@app.command("unload")
def unload(
    model: Annotated[str | None, typer.Argument(help="Alias or model id.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Unload every model.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also when the model is answering; the answer ends.")] = False,
    output_format: OutputOption = Format.text,
) -> None:
    """Unload a model from the service and give its memory back."""
    from foundry_cli.client.supervisor import require_service
    from foundry_cli.paths import Paths

    if (model is None) != every:
        raise typer.BadParameter("Name a model, or use --all.")
    client = require_service(Paths.from_environment())
    say = output.note if output_format is Format.json else output.line
    if model is None:
        client.unload_all(force=force)
        say(f"{symbol('🔴 ')}All models unloaded")
        if output_format is Format.json:
            output.document({"models": []})
        return
    status = client.status()
    here = [*status["loadedModels"], *status.get("loadingModels", [])]  # not there in a service of before an update
    loaded = {name.lower(): entry["id"] for entry in here for name in _names(entry)}
    model_id = loaded.get(model.strip().lower())
    if model_id is None:
        if external := [other for other in external_models() if other.id.lower() == model.strip().lower()]:
            _tell_external(external[0], output_format)
            return
        model_id = local_inventory().resolve(model).id
        say(f"Model {model} is not loaded")
    else:
        client.unload(model_id, force=force)
        say(f"{symbol('🔴 ')}Model {model} unloaded successfully")
    if output_format is Format.json:
        output.document({"model": {"id": model_id, "loaded": False}})


def _tell_external(model: ModelInfo, output_format: Format) -> None:
    say = output.note if output_format is Format.json else output.line
    say(f"Model {model.id} is run by another server, so there is nothing of it to load.")
    if output_format is Format.json:
        output.document({"model": {"id": model.id, "loaded": False}})


def _names(entry: dict[str, str]) -> tuple[str, str, str]:
    """What a loaded model can be called; its files may be gone meanwhile."""
    return entry["alias"], entry["id"].rpartition(":")[0], entry["id"]


@app.command("run")
def run(
    model: ModelArgument,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Answer this once, to standard output, and exit.", show_default=False)
    ] = None,
    system: SystemOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    ttl: TtlOption = None,
    device: DeviceOption = Device.auto,
    ep: ProviderOption = None,
    retain: Annotated[Switch, typer.Option("--retain", help="Keep other models loaded.", case_sensitive=False)] = Switch.false,
    accept_license: AcceptLicenseOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show times and speed.")] = False,
) -> None:
    """Chat with a model. With --prompt, or with text on standard input, answer once and exit."""
    from foundry_cli.cli import chat
    from foundry_cli.repl.settings import ChatSettings

    settings = ChatSettings(
        system=chat.system_message(system),
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
        ttl=ttl,
        verbose=verbose,
    )
    question = chat.read_question(prompt)
    wanted = chat.Wanted(
        model, device.chosen, ep=ep, ttl=ttl, accept_license=accept_license, retain=retain is Switch.true, verbose=verbose
    )
    client, info = chat.ready_model(wanted, is_quiet=question is not None)
    if question is None:
        chat.chat(client, info, settings)
    else:
        chat.answer_once(client, info, question, settings)


app.command("add")(own_models.add)
app.command("convert")(own_models.convert)
app.command("test")(own_models.test)
app.command("bench")(model_bench.bench)

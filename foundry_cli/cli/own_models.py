"""`foundry model add|convert|test`: models that people bring themselves."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundry_cli.cli import output
from foundry_cli.cli.directories import given_directory
from foundry_cli.cli.errors import ExitCode
from foundry_cli.cli.options import Device, DeviceOption, ModelArgument, OutputOption
from foundry_cli.cli.output import Format, symbol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foundry_cli.client.client import ServiceClient
    from foundry_cli.inventory import Inventory
    from foundry_cli.own_models.checking import ModelFacts
    from foundry_cli.own_models.conformance import Answer, Result
    from foundry_cli.own_models.conversion import Conversion
    from foundry_cli.own_models.identity import Identity
    from foundry_cli.store.verdicts import Verdict
    from foundry_cli.types import ModelInfo


class Precision(str, Enum):
    """Values of `--precision`: the type of the weights."""

    int4 = "int4"
    int8 = "int8"
    fp16 = "fp16"
    bf16 = "bf16"
    fp32 = "fp32"


class Target(str, Enum):
    """Values of `--device` of `convert`: what the model will run on."""

    cpu = "cpu"
    cuda = "cuda"
    dml = "dml"
    webgpu = "webgpu"
    trtrtx = "trtrtx"


NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME[:VERSION]", help="Name of the model.", show_default="made of the directory's name"),
]
AliasOption = Annotated[
    str | None, typer.Option("--alias", metavar="ALIAS", help="Short name of the model.", show_default="the name")
]


def add(
    directory: Annotated[
        str, typer.Argument(help="Folder with genai_config.json, or one that holds such a folder.", show_default=False)
    ],
    name: NameOption = None,
    alias: AliasOption = None,
) -> None:
    """Check a model folder and copy it into the cache. The folder stays as it is."""
    from foundry_cli.own_models.adding import find_model_folder

    _add(find_model_folder(given_directory(directory)), name, alias)


def convert(
    source: Annotated[
        str, typer.Argument(help="Directory of a checkpoint, or owner/repo[@revision] of Hugging Face.", show_default=False)
    ],
    directory: Annotated[
        str, typer.Option("--output", metavar="DIRECTORY", help="Where the model is put; new or empty.", show_default=False)
    ],
    precision: Annotated[Precision, typer.Option(help="Type of the weights.", case_sensitive=False)] = Precision.int4,
    device: Annotated[Target, typer.Option(help="What the model will run on.", case_sensitive=False)] = Target.cpu,
    name: NameOption = None,
    alias: AliasOption = None,
    is_added: Annotated[bool, typer.Option("--add", help="Add the model to the cache, too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is in the output directory.")] = False,
) -> None:
    """Make a model of a checkpoint in safetensors format. Needs the extra 'build' of this program."""
    from foundry_cli.own_models.builder import check_extra, check_precision
    from foundry_cli.own_models.checkpoint import check_source
    from foundry_cli.own_models.conversion import Conversion, check_output, suggest_name
    from foundry_cli.own_models.identity import make_identity

    check_precision(precision.value, device.value)
    output_directory = given_directory(directory)
    check_output(output_directory, is_replacing=force)
    check_source(source)
    identity = make_identity(name, alias, suggest_name(source, output_directory))
    if is_added:
        _check_unused(identity)
    check_extra()
    conversion = Conversion(output_directory, identity, precision.value, device.value, is_replacing=force)
    facts = _convert(source, conversion)
    output.line(f"{symbol('🟢 ')}The model {identity.id} is in {facts.folder}.")
    if is_added:
        _add(facts.folder, None, alias, facts)
    else:
        _tell_untried(facts)
        output.line(f"To add it to the cache, run: foundry model add {facts.folder}")


def test(  # the name of the command
    model: ModelArgument,
    device: DeviceOption = Device.auto,  # noqa: PT028
    output_format: OutputOption = Format.text,  # noqa: PT028
) -> None:
    """Test how a model behaves: template, stop tokens, streaming, Unicode and more, or its embeddings. Takes some seconds."""
    from foundry_cli.cli.lifecycle import running_service
    from foundry_cli.cli.resolution import find_local_model
    from foundry_cli.own_models.checking import read_facts
    from foundry_cli.own_models.conformance import verdict_of
    from foundry_cli.paths import Paths
    from foundry_cli.store.verdicts import PASSED, store_verdict

    paths = Paths.from_environment()
    info = find_local_model(model, device.chosen)
    assert info.path is not None  # it is cached
    facts = read_facts(info.path)
    client = running_service(output.note)
    output.note(f"Testing {info.id}...")
    client.load(info.id)  # so that the first check does not wait for that
    results: list[Result] = []
    checked, core = _checks(client, info, facts)
    for result in checked:
        results.append(result)
        if output_format is Format.text:
            output.line(_result_line(result))
            output.flush()
    verdict = verdict_of(results, core=core)
    store_verdict(paths, info.id, verdict)
    if output_format is Format.json:
        checks = [{**vars(result), "status": result.status.value, "seconds": round(result.seconds, 3)} for result in results]
        output.document({"model": info.id, "verdict": verdict.verdict, "date": verdict.date, "checks": checks})
    else:
        output.line(_summary(info, verdict, results))
    if verdict.verdict != PASSED:
        raise typer.Exit(ExitCode.FAILED)


def _checks(client: ServiceClient, model: ModelInfo, facts: ModelFacts) -> tuple[Iterator[Result], frozenset[str]]:
    """The results of the checks for what the model is there for, as they come, and the names of those that it must pass."""
    from foundry_cli.own_models import conformance, embedding_checks

    if model.makes_embeddings:
        subject = embedding_checks.EmbeddingSubject(ServiceEmbedder(client, model.id), facts)
        return conformance.run_each(embedding_checks.CHECKS, subject), embedding_checks.CORE
    chat = ServiceChat(client, model.id)
    return conformance.run_checks(conformance.Subject(chat, facts, model.supports_tool_calling)), conformance.CORE


class PhaseLine:
    """What long work is doing, on standard error: one changing line on a terminal, a line for each phase elsewhere."""

    def __init__(self) -> None:
        self._phase = ""
        self._status: Any = None

    def __enter__(self) -> PhaseLine:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, phase: str, progress: str) -> None:
        """Show `phase`, and how far it is."""
        if self._status is not None:
            from rich.markup import escape

            self._status.update(escape(f"{phase}: {progress}" if progress else f"{phase}..."))
        elif phase != self._phase:
            output.note(f"{phase}...")
        self._phase = phase


class ServiceChat:
    """A model of the service as the checks see it, see `conformance.Chat`."""

    def __init__(self, client: ServiceClient, model_id: str) -> None:
        self._client = client
        self._model_id = model_id

    def complete(self, messages: list[dict[str, str]], **options: Any) -> Answer:
        """See `conformance.Chat.complete`."""
        from foundry_cli.own_models.conformance import Answer

        document = self._client.complete(self._model_id, messages, **options)
        choice, usage = document["choices"][0], document["usage"]
        message = choice["message"]
        calls = tuple(message.get("tool_calls") or ())
        counts = usage["prompt_tokens"], usage["completion_tokens"]
        return Answer(message.get("content") or "", choice["finish_reason"], *counts, tool_calls=calls)

    def stream(self, messages: list[dict[str, str]], **options: Any) -> Answer:
        """See `conformance.Chat.stream`."""
        from foundry_cli.client.client import AnswerEnd, TextDelta
        from foundry_cli.own_models.conformance import Answer

        pieces: list[str] = []
        for event in self._client.chat(self._model_id, messages, **options):
            if isinstance(event, TextDelta):
                pieces.append(event.text)
            elif isinstance(event, AnswerEnd):
                counts = event.prompt_tokens, event.completion_tokens
                return Answer("".join(pieces), event.finish_reason, *counts, pieces=tuple(pieces))
        raise AssertionError("an answer without an end")


class ServiceEmbedder:
    """A model of the service as the checks see it, see `embedding_checks.Embedder`."""

    def __init__(self, client: ServiceClient, model_id: str) -> None:
        self._client = client
        self._model_id = model_id

    def embed(self, entries: str | list[str] | list[int], **options: Any) -> list[Any]:
        """See `embedding_checks.Embedder.embed`."""
        return [entry["embedding"] for entry in self._client.embed(self._model_id, entries, **options)["data"]]


def _usable_inventory() -> Inventory:
    """The models that are known, with a cache that can take more."""
    from foundry_cli.cli.inventory import own_inventory

    inventory = own_inventory()
    inventory.require_cache()
    return inventory


def _check_unused(identity: Identity) -> None:
    from foundry_cli.own_models.identity import check_unused

    check_unused(identity, _usable_inventory().models())


def _convert(source: str, conversion: Conversion) -> ModelFacts:
    from foundry_cli.config import load_config
    from foundry_cli.own_models.builder import ModelBuilder
    from foundry_cli.own_models.checkpoint import open_checkpoint
    from foundry_cli.own_models.conversion import convert
    from foundry_cli.paths import Paths

    paths = Paths.from_environment()
    with PhaseLine() as say:
        checkpoint = open_checkpoint(source, say, is_offline=load_config(paths).is_offline)
        return convert(conversion, checkpoint, ModelBuilder(paths.logs / "convert.log"), say)


def _add(folder: Path, name: str | None, alias: str | None, facts: ModelFacts | None = None) -> None:
    """Add a folder and say so; `facts`: what a check has found already."""
    from foundry_cli.own_models.adding import add, plan_addition
    from foundry_cli.own_models.checking import check_model
    from foundry_cli.paths import Paths
    from foundry_cli.store.verdicts import store_verdict

    inventory = _usable_inventory()
    plan = plan_addition(folder, inventory.cache, inventory.models(), name=name, alias=alias)
    if plan.left_out:
        output.note(f"Sub-folders are not copied, because a model uses no files in them: {', '.join(plan.left_out)}.")
    with PhaseLine() as say:

        def report(done: int, total: int) -> None:
            say("Copying the files", f"{_size(done)} of {_size(total)}")

        if facts is None:
            say("Checking the model", "")
            facts = check_model(folder)
        model = add(plan, facts, report)
    store_verdict(Paths.from_environment(), model.id, None)  # an earlier model may have had this id
    _tell_untried(facts)
    output.line(f"{symbol('🟢 ')}Model {model.id} was added to the cache ({_size(model.size_bytes)}).")
    if model.makes_embeddings:
        output.line(f"It makes embeddings: programs send texts to /v1/embeddings with the model {model.alias!r}.")
    else:
        output.line(f"To chat with it, run: foundry model run {model.alias}")


def _size(size: int) -> str:
    return output.gigabytes(size) if size >= 100 << 20 else f"{size / (1 << 20):.1f} MB"


def _tell_untried(facts: ModelFacts) -> None:
    if facts.untried:
        output.note(f"The model is made for {facts.execution_provider} and could not be tried here: {facts.untried}")


_SYMBOLS = {
    "passed": ("✓", "ok"),
    "failed": ("✗", "FAILED"),
    "not shown": ("–", "-"),  # noqa: RUF001
    "skipped": ("–", "-"),  # noqa: RUF001
}
_WORDS = {"passed": "passed", "failed": "failed", "not shown": "not shown", "skipped": "not supported"}
_SENTENCES = {
    "passed": ("🟢 ", "passed the test"),
    "failed": ("🔴 ", "failed the test"),
    "undecided": ("🟡 ", "could not be judged"),
}


def _result_line(result: Result) -> str:
    sign, word = _SYMBOLS[result.status.value]
    return f"{symbol(sign) or word} {result.name:<14} {result.detail}".rstrip()


def _summary(model: ModelInfo, verdict: Verdict, results: list[Result]) -> str:
    """How many checks ended how, with the names of those that did not pass."""
    parts = []
    for status, word in _WORDS.items():
        names = [result.name for result in results if result.status.value == status]
        if names:
            parts.append(f"{len(names)} {word}" + ("" if status == "passed" else f" ({', '.join(names)})"))
    seconds = sum(result.seconds for result in results)
    sign, sentence = _SENTENCES[verdict.verdict]
    return f"{symbol(sign)}{model.id} {sentence}: {', '.join(parts)}, in {seconds:.1f} s."

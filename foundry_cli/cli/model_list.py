"""The work of `foundry model list`, `search` and `info`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foundry_cli.cli import model_table, output
from foundry_cli.cli.inventory import external_models, local_inventory, local_machine
from foundry_cli.cli.output import Format
from foundry_cli.cli.resolution import find_model_to_show
from foundry_cli.inventory import Inventory, filter_models
from foundry_cli.suitability import reason_against
from foundry_cli.types import ModelInfo

if TYPE_CHECKING:
    from foundry_cli.catalog.sources.huggingface import SearchResult
    from foundry_cli.store.verdicts import Verdict
    from foundry_cli.suitability import Machine


@dataclass(frozen=True)
class Choice:
    """Which models are wanted."""

    filter_text: str | None = None
    search: str | None = None
    source: str | None = None
    is_cached: bool = False
    is_loaded: bool = False
    device: str | None = None
    type: str | None = None  # as `model_table.type_name` says it
    all_devices: bool = False

    def of(self, known: list[ModelInfo], inventory: Inventory) -> list[ModelInfo]:
        """Of the models `known` to `inventory`, and of external ones, those that are wanted, whatever they need to run."""
        models = [*known, *external_models()]
        if self.source is not None:
            source = {"hf": "huggingface"}.get(self.source.lower(), self.source.lower())
            if source not in ("local", "huggingface", *(model.source.lower() for model in models)):
                inventory.catalog.source(source)  # says which there are
            offered = _offered_ids(inventory, source)
            models = [model for model in models if model.source.lower() == source or model.id.lower() in offered]
        loaded = _loaded_ids() if self.is_loaded else frozenset()
        models = [model for model in models if self._is_wanted(model) and (not self.is_loaded or model.id in loaded)]
        return filter_models(models, self.filter_text) if self.filter_text is not None else models

    def _is_wanted(self, model: ModelInfo) -> bool:
        words = (self.search or "").lower().split()
        return (
            (model.is_cached or not self.is_cached)
            and self.device in (None, model.device)
            and self.type in (None, model_table.type_name(model))
            and all(word in _searchable(model) for word in words)
        )


def _offered_ids(inventory: Inventory, source: str) -> frozenset[str]:
    """Ids of all that a catalog offers, also where another one comes first; none for what is no catalog."""
    if all(each.name.lower() != source for each in inventory.catalog.sources):
        return frozenset()
    return frozenset(model.id.lower() for model in inventory.catalog.models(source))


def _loaded_ids() -> frozenset[str]:
    """Ids of the loaded models; none when no service runs."""
    from foundry_cli.client.supervisor import find_service
    from foundry_cli.paths import Paths

    client = find_service(Paths.from_environment())
    return frozenset(client.loaded_models() if client else ())


def _searchable(model: ModelInfo) -> str:
    return f"{model.alias} {model.id} {model.display_name} {model.publisher} {model.task}".lower()


def show(choice: Choice, output_format: Format, *, has_variants: bool = False) -> None:
    """Print the models that are wanted; those that do not run here only when they were asked for.

    `has_variants`: the JSON has `variants`, with `variantId` and `variantName`, where it has `models` otherwise.
    """
    inventory = local_inventory(is_fresh=not choice.is_cached)
    known, problems = inventory.models_and_problems()
    models = choice.of(known, inventory)
    for problem in problems:
        output.note(problem)
    machine = local_machine()
    reasons = {model.id: _reason(model, machine) for model in models}
    shown = [model for model in models if choice.all_devices or not reasons[model.id] or model.is_cached]
    verdicts = _verdicts()
    if output_format is Format.json:
        fields = [_fields(model, reasons[model.id], verdicts) for model in shown]
        output.document({"variants": [_variant(each) for each in fields]} if has_variants else {"models": fields})
        return
    remarks = {model.id: _remark(model, verdicts.get(model.id.lower()), reasons[model.id]) for model in shown}
    model_table.print_models(shown, remarks)
    if hidden := len(models) - len(shown):
        output.note(f"{hidden} more do not run on this machine; --all-devices shows them, and why.")


def _reason(model: ModelInfo, machine: Machine) -> str:
    """Why `model` would not run; "" when it would."""
    return "" if model.is_bundled or model.is_external else reason_against(model, machine)


def _variant(fields: dict[str, Any]) -> dict[str, Any]:
    return {"alias": fields["alias"], "variantId": fields["id"], "variantName": fields["id"].rpartition(":")[0], **fields}


def _verdicts() -> dict[str, Verdict]:
    from foundry_cli.paths import Paths
    from foundry_cli.store.verdicts import read_verdicts

    return read_verdicts(Paths.from_environment())


def _remark(model: ModelInfo, verdict: Verdict | None, reason: str) -> str:
    parts = [
        f"external, at {model.uri}" if model.is_external else "",
        f"damaged: {model.problem}" if model.problem else "",
        f"test {verdict.verdict}" if verdict else "",
        reason,
    ]
    return "; ".join(part for part in parts if part)


def _fields(model: ModelInfo, reason: str, verdicts: dict[str, Verdict]) -> dict[str, Any]:
    verdict = verdicts.get(model.id.lower())
    tested = verdict.verdict if verdict else None
    own = {"problem": model.problem or None, "runsHere": not reason, "reason": reason or None, "verdict": tested}
    return {**model_table.model_fields(model), **own}


def show_one(name: str, device: str | None, *, has_license: bool, output_format: Format) -> None:
    """Print one model, or all variants of an alias, and what else is known about the one that would be taken."""
    info = find_model_to_show(name, device)
    reason = _reason(info, local_machine())
    if output_format is Format.json:
        output.document({"model": {**_fields(info, reason, _verdicts()), "licenseDescription": info.license_description}})
        return
    is_alias = name.strip().lower() == info.alias.lower() and device is None
    variants = [other for other in local_inventory().models() if is_alias and other.alias == info.alias]
    model_table.print_models([info, *(other for other in variants if other.id != info.id)])
    for title, value in _facts(info, reason).items():
        if value:
            output.line(f"{title + ':':<17}{value}")
    if has_license:
        output.line()
        output.line(info.license_description or info.license or "The model does not say under which licence it is.")


def _facts(model: ModelInfo, reason: str) -> dict[str, str]:
    return {
        "Model": model.display_name if model.display_name != model.id else "",
        "Makes": "embeddings, for programs that send texts to /v1/embeddings" if model.makes_embeddings else "",
        "Publisher": model.publisher,
        "Source": model.source,
        "Provider": "" if model.is_external else model.execution_provider,
        "Context": f"{model.context_length} tokens" if model.context_length else "",
        "On this machine": str(model.path) if model.path else model.problem or "no",
        "Runs here": f"no, at {model.uri}" if model.is_external else reason or "yes",
        "Test": _verdict_text(model),
    }


def _verdict_text(model: ModelInfo) -> str:
    verdict = _verdicts().get(model.id.lower())
    return f"{verdict.verdict}, {verdict.date}" if verdict else ""


def search_hugging_face(text: str, limit: int, output_format: Format) -> None:
    """Print repositories of Hugging Face that hold ONNX models."""
    from foundry_cli.catalog.sources.huggingface import HuggingFaceSource
    from foundry_cli.cli.download import Downloads

    found = HuggingFaceSource().search(text, limit, Downloads().client)
    if output_format is Format.json:
        output.document({"models": [_result_fields(result) for result in found]})
        return
    for result in found:
        for reference in result.references:
            output.line(f"{reference:<70} {result.license:<14} {result.downloads:>10} downloads")
    if not found:
        output.line("No models match.")
    else:
        output.note("'foundry model download REFERENCE' fetches one.")


def _result_fields(result: SearchResult) -> dict[str, Any]:
    return {
        "repository": result.repository,
        "references": result.references,
        "license": result.license,
        "downloads": result.downloads,
        "gated": result.is_gated,
    }

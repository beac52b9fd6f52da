"""Models as a table, in the columns that other programs look for, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from foundry_cli.cli import output
from foundry_cli.types import ModelInfo

_COLUMNS = (("Alias", 31), ("Device", 11), ("Task", 15), ("File Size", 13), ("License", 13))
_TASKS = {"chat-completion": "chat"}
_TYPES = {
    "chat-completion": "Chat",
    "embeddings": "Embedding",
    "automatic-speech-recognition": "Speech",
    "vision-language-chat": "Multimodal",
}


def print_models(models: list[ModelInfo], remarks: Mapping[str, str] | None = None) -> None:
    """The table: one group per alias, the alias on its first row only. A remark by model id stands behind the id."""
    header = _row([title for title, _ in _COLUMNS], "Model ID")
    output.line(header)
    output.line("-" * max(95, len(header)))
    for alias, variants in groupby(models, key=lambda model: model.alias):
        row = ""
        for index, model in enumerate(variants):
            row = _row([alias if index == 0 else "", *_cells(model)], model.id)
            remark = (remarks or {}).get(model.id)
            output.line(f"{row}  ({remark})" if remark else row)
        output.line("-" * len(row))
    if not models:
        output.line("No models match.")


def _cells(model: ModelInfo) -> list[str]:
    task = _TASKS.get(model.task, model.task) + (", tools" if model.supports_tool_calling else "")
    if model.is_external:
        return ["-", task, "-", "-"]
    return [model.device, task, output.gigabytes(model.size_bytes), model.license]


def _row(cells: list[str], model_id: str) -> str:
    """Cells padded to their columns; a longer one pushes the rest with one blank."""
    padded = [cell.ljust(width - 1) + " " for cell, (_, width) in zip(cells, _COLUMNS, strict=True)]
    return "".join(padded) + model_id


def type_name(model: ModelInfo) -> str:
    """What kind of model it is, as later versions of the original call it; another task as it is."""
    return _TYPES.get(model.task, model.task)


def model_fields(model: ModelInfo) -> dict[str, Any]:
    """A model as JSON."""
    return {
        "alias": model.alias,
        "id": model.id,
        "displayName": model.display_name,
        "type": type_name(model),
        "task": model.task,
        "device": model.device.capitalize(),
        "executionProvider": model.execution_provider,
        "fileSizeMb": model.size_bytes // (1 << 20),
        "fileSizeBytes": model.size_bytes,
        "cached": model.is_cached,
        "bundled": model.is_bundled,
        "license": model.license,
        "publisher": model.publisher,
        "contextLength": model.context_length,
        "maxOutputTokens": model.max_output_tokens,
        "supportsToolCalling": model.supports_tool_calling,
        "source": model.source,
        "uri": model.uri,
        "path": str(model.path) if model.path else None,
    }

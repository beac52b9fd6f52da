"""Entries of the Azure catalog, in all three layouts and in layouts that should not exist."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry_cli.catalog.sources.azure_entry import model_of
from foundry_cli.types import ModelInfo
from tests.fakes.azure_catalog import entry, sample

PHI, DEEPSEEK = sample("v1_response.json")["indexEntitiesResponse"]["value"]
QWEN, WHISPER = sample("v2_value.json")["value"]
SUMMARY = sample("v2_summaries.json")["summaries"][0]


def changed(original: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of `original` with another value at `path`; None removes it."""
    copy: dict[str, Any] = json.loads(json.dumps(original))
    *parents, last = path.split("/")
    place = copy
    for part in parents:
        place = place.setdefault(part, {})
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return copy


def read(item: dict[str, Any]) -> ModelInfo:
    model = model_of(item)
    assert model is not None
    return model


def test_every_field_of_an_entry_of_protocol_1_is_read() -> None:
    assert model_of(PHI) == ModelInfo(
        name="Phi-4-mini-instruct-generic-cpu",
        version=5,
        alias="phi-4-mini",
        device="CPU",
        execution_provider="CPUExecutionProvider",
        display_name="Phi-4-mini-instruct-generic-cpu",
        publisher="Microsoft",
        task="chat-completion",
        size_bytes=5153960755,
        license="MIT",
        license_description=PHI["annotations"]["tags"]["licenseDescription"],
        prompt_template={
            "system": "<|system|>{Content}<|end|>",
            "user": "<|user|>{Content}<|end|>",
            "assistant": "<|assistant|>{Content}<|end|>",
            "prompt": "<|user|>{Content}<|end|><|assistant|>",
        },
        parent_uri="azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1",
        uri="azureml://registries/azureml/models/Phi-4-mini-instruct-generic-cpu/versions/5",
        provider_type="AzureFoundry",
        supports_tool_calling=True,
        tool_call_start="<|tool_call|>",
        tool_call_end="<|/tool_call|>",
        supports_reasoning=False,
        context_length=None,
        max_output_tokens=2048,
        created=1756834886,
        min_version="0.8.0",
        source="azure",
    )


def test_what_an_entry_leaves_out_follows_from_the_rest() -> None:
    model = read(DEEPSEEK)
    assert model.alias == "DeepSeek-R1-Distill-Qwen-7B"  # the name of the parent
    assert model.prompt_template is None  # the text is not JSON
    assert (model.supports_tool_calling, model.supports_reasoning) == (False, True)
    assert model.size_bytes == 3951042560  # written as text
    assert model.display_name == model.name
    assert model.created == 1746057600


def test_protocol_2_says_most_in_its_system_data_and_the_tags_fill_the_gaps() -> None:
    model = read(QWEN)
    assert (model.alias, model.license, model.task) == ("qwen2.5-0.5b", "apache-2.0", "chat-completion")
    assert model.license_description == "Apache License, Version 2.0"
    assert model.supports_tool_calling
    assert (model.tool_call_start, model.tool_call_end) == ("<tool_call>", "</tool_call>")
    assert model.prompt_template is not None
    assert model.prompt_template["prompt"].endswith("<|im_start|>assistant")
    assert (model.context_length, model.max_output_tokens) == (32768, 8192)
    assert model.min_version == "1.0.0"
    assert model.created == 1768464000  # two hours east of Greenwich


def test_limits_are_found_where_older_entries_have_them_and_unknown_providers_are_kept() -> None:
    model = read(WHISPER)
    assert (model.context_length, model.max_output_tokens) == (448, 224)
    assert (model.device, model.execution_provider) == ("NPU", "FutureExecutionProvider")
    assert model.task == "automatic-speech-recognition"
    assert model.alias == model.name


def test_a_flat_summary_is_read_as_well() -> None:
    model = read(SUMMARY)
    assert (model.id, model.alias, model.publisher) == ("qwen3-0.6b-generic-gpu:3", "qwen3-0.6b", "Alibaba")
    assert (model.device, model.execution_provider, model.size_bytes) == ("GPU", "WebGpuExecutionProvider", 734003200)
    assert (model.context_length, model.max_output_tokens) == (40960, 4096)
    assert model.uri == SUMMARY["assetId"]
    assert model.parent_uri.endswith("/qwen3-0.6b/versions/1")
    assert model.created == 1772600767


@pytest.mark.parametrize(
    ("path", "value", "field", "expected"),
    [
        ("properties/id", None, "id", "Phi-4-mini-instruct-generic-cpu:5"),
        ("properties/id", "without-a-version", "id", "Phi-4-mini-instruct-generic-cpu:5"),
        ("properties/variantInfo/variantMetadata/device", "GPU", "device", "GPU"),
        ("properties/variantInfo/variantMetadata/device", None, "device", "CPU"),
        ("properties/variantInfo/variantMetadata/executionProvider", None, "execution_provider", "CPUExecutionProvider"),
        ("properties/variantInfo/variantMetadata/fileSizeBytes", -5, "size_bytes", 0),
        ("properties/creationContext/createdTime", "yesterday", "created", 0),
        ("properties/creationContext/createdTime", "2025-13-41T00:00:00Z", "created", 0),
        ("properties/creationContext", [], "created", 0),
        ("annotations/tags/promptTemplate", {"prompt": "{Content}", "odd": 1}, "prompt_template", {"prompt": "{Content}"}),
        ("annotations/tags/promptTemplate", "[" * 100_000, "prompt_template", None),
        ("annotations/tags/promptTemplate", "[1]", "prompt_template", None),
        ("annotations/tags/supportsToolCalling", "false", "supports_tool_calling", False),
        ("annotations/tags/maxOutputTokens", "many", "max_output_tokens", 4096),
        ("annotations/tags/task", None, "task", "chat-completion"),
        ("annotations/systemCatalogData/inferenceTasks", ["embeddings"], "task", "embeddings"),
        ("annotations/systemCatalogData/inferenceTasks", "embeddings", "task", "chat-completion"),
        ("annotations/systemCatalogData/modelCapabilities", ["Reasoning", 7], "supports_reasoning", True),
        ("annotations/systemCatalogData/publisher", None, "publisher", "Microsoft"),
        ("annotations/systemCatalogData/displayName", "\x1b[2JPhi\u202e 4\n", "display_name", "[2JPhi 4"),
        ("annotations/tags/alias", None, "alias", "Phi-4-mini-instruct"),
    ],
)
def test_fields_that_are_missing_or_odd_have_a_sensible_value(path: str, value: object, field: str, expected: object) -> None:
    assert getattr(read(changed(PHI, path, value)), field) == expected


def test_name_and_version_come_from_the_address_of_the_asset_when_nothing_else_says_them() -> None:
    nameless = changed(changed(changed(PHI, "properties/id", None), "properties/name", None), "properties/version", None)
    assert read(changed(nameless, "properties/alphanumericVersion", "abc")).id == "Phi-4-mini-instruct-generic-cpu:5"


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        "text",
        {},
        {"properties": {"id": "a-generic-cpu:1"}},
        changed(PHI, "assetId", None),
        changed(PHI, "assetId", 5),
        changed(PHI, "properties/id", "../../escape-generic-cpu:1"),
        changed(PHI, "properties/id", "..:1"),
        changed(PHI, "properties/id", "x" * 300 + ":1"),
        changed(PHI, "properties/variantInfo/variantMetadata/device", "toaster"),
    ],
)
def test_a_malformed_entry_is_no_model(item: object) -> None:
    assert model_of(item) is None


def test_a_model_that_is_only_the_parent_of_variants_is_left_out() -> None:
    parent = changed(entry("Phi-4-mini-instruct"), "properties/variantInfo", None)
    assert model_of(parent) is None

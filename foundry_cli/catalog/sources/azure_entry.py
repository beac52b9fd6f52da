"""An entry of the Azure AI Foundry catalog as a model.

There are three layouts: full entries of protocol v1, full entries of v2, which say more in `systemCatalogData`, and flat
summaries of v2. All are read by one rule: what `systemCatalogData` says, else the tags, else what follows from the name.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

from foundry_cli.execution_providers import required_provider
from foundry_cli.types import DEVICES, ModelInfo, split_model_id

_LONGEST_NAME = 200  # characters
_MODEL_URI = re.compile(r"/models/([^/]+)(?:/versions/(\d{1,9})$)?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?", re.IGNORECASE)
_NAMED_DEVICE = re.compile(r"-(cpu|gpu|npu)$", re.IGNORECASE)


def model_of(entry: object) -> ModelInfo | None:
    """The variant in `entry`; None when it is malformed, or a model that has no files for a device."""
    top = _object(entry)
    properties = _object(top.get("properties")) or top
    annotations = _object(top.get("annotations"))
    tags = _object(annotations.get("tags"))
    system = _object(annotations.get("systemCatalogData")) or _object(top.get("systemCatalogData")) or top
    variant = _object(properties.get("variantInfo")) or _object(properties.get("variantInformation"))
    metadata = _object(variant.get("variantMetadata"))
    uri = _line(top.get("assetId"))
    identity = _identity(properties, uri)
    if identity is None or not uri:
        return None
    name, version = identity
    device = _device(metadata, name)
    if not device:
        return None
    parent = _parent_uri(variant)
    return ModelInfo(
        name=name,
        version=version,
        alias=_line(system.get("alias"), tags.get("alias"), _name_in(parent)) or name,
        device=device,
        execution_provider=_provider(metadata, name, device),
        display_name=_line(system.get("displayName"), tags.get("displayName")) or name,
        publisher=_line(system.get("publisher"), tags.get("author")),
        task=_task(system, tags),
        size_bytes=_number(metadata.get("fileSizeBytes")) or 0,
        license=_line(system.get("license"), tags.get("license")),
        license_description=_text(tags.get("licenseDescription")) or _text(system.get("licenseDescription")),
        prompt_template=_template(tags.get("promptTemplate")),
        parent_uri=parent,
        uri=uri,
        provider_type="AzureFoundry",
        **_capabilities(system, tags),
        created=_created(properties, top),
        min_version=_line(system.get("minFLVersion"), properties.get("minFLVersion"), tags.get("minFLVersion")) or None,
        source="azure",
    )


def _identity(properties: dict[str, Any], uri: str) -> tuple[str, int] | None:
    """Name and version: from the id, or from their own fields, or from the address of the asset."""
    name, version = split_model_id(_line(properties.get("id")))
    in_uri = _MODEL_URI.search(uri)
    if version is None:
        name = _line(properties.get("name")) or (in_uri.group(1) if in_uri else "")
        given = (properties.get("version"), properties.get("alphanumericVersion"), in_uri.group(2) if in_uri else None)
        version = next((number for number in map(_number, given) if number is not None), None)
    is_usable = version is not None and version < 10**9 and name.strip(". ") and not any(c in "/\\:" for c in name)
    return (name, version) if is_usable and version is not None and len(name) <= _LONGEST_NAME else None


def _device(metadata: dict[str, Any], name: str) -> str:
    """The device, by the name when the entry does not say; "" for what cannot be told."""
    named = _NAMED_DEVICE.search(name)
    device = (_line(metadata.get("device")) or (named.group(1) if named else "")).upper()
    return device if device in DEVICES else ""


def _provider(metadata: dict[str, Any], name: str, device: str) -> str:
    """The execution provider: any that the entry names, also one that is not known here."""
    return _line(metadata.get("executionProvider")) or required_provider(ModelInfo(name, 0, name, device, ""), ())


def _capabilities(system: dict[str, Any], tags: dict[str, Any]) -> dict[str, Any]:
    """What the model can do, as arguments of `ModelInfo`."""
    capabilities = system.get("modelCapabilities")
    can = {item.lower() for item in capabilities if isinstance(item, str)} if isinstance(capabilities, list) else set()
    limits = _object(_object(system.get("modelLimits")).get("textLimits"))
    return {
        "supports_tool_calling": _is_true(tags.get("supportsToolCalling")) or "tool-calling" in can,
        "tool_call_start": _text(tags.get("toolCallStart")),
        "tool_call_end": _text(tags.get("toolCallEnd")),
        "supports_reasoning": _is_true(tags.get("supportsReasoning")) or "reasoning" in can,
        "context_length": _count(system.get("textContextWindow"), limits.get("inputContextWindow")),
        "max_output_tokens": _count(tags.get("maxOutputTokens"), system.get("maxOutputTokens"), limits.get("maxOutputTokens")),
    }


def _task(system: dict[str, Any], tags: dict[str, Any]) -> str:
    tasks = system.get("inferenceTasks")
    return _line(tasks[0] if isinstance(tasks, list) and tasks else None, tags.get("task")) or "chat-completion"


def _parent_uri(variant: dict[str, Any]) -> str:
    parents = variant.get("parents")
    return _line(_object(parents[0]).get("assetId")) if isinstance(parents, list) and parents else ""


def _name_in(uri: str) -> str:
    match = _MODEL_URI.search(uri)
    return match.group(1) if match else ""


def _created(properties: dict[str, Any], top: dict[str, Any]) -> int:
    """Unix seconds; 0 for a time that cannot be read. There are seven digits of fractions, which Python 3.10 refuses."""
    context = _object(properties.get("creationContext"))
    match = _TIME.fullmatch(_line(context.get("createdTime"), top.get("createdTime")))
    if not match:
        return 0
    zone = match.group(2) or "Z"
    try:
        moment = datetime.fromisoformat(match.group(1) + ("+00:00" if zone in "Zz" else zone))
    except ValueError:
        return 0
    return max(0, int((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()))


def _template(value: object) -> dict[str, str] | None:
    """The prompt template, which travels as JSON text; None when there is none that can be used."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    parts = {key: text for key, text in _object(value).items() if isinstance(text, str)}
    return parts or None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _line(*values: object) -> str:
    """The first text that is not empty, as one line that is safe to show."""
    for value in values:
        if isinstance(value, str) and (line := "".join(c for c in value if c.isprintable()).strip()):
            return line
    return ""


def _number(value: object) -> int | None:
    """A whole number, which may be written as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return value if type(value) is int and value >= 0 else None


def _count(*values: object) -> int | None:
    """The first number above zero."""
    return next((number for number in map(_number, values) if number), None)


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")

"""A model as a JSON record, in the format of the original's `foundry.modelinfo.json`.

Keys: the union of what versions 1.2.4 and 2.x write, and the few of our own. Read leniently, written so that both
generations of the original can read it.
"""

from __future__ import annotations

from typing import Any

from foundry_cli.types import DEVICES, ModelInfo, split_model_id

_MIB = 1 << 20
_LONGEST_NAME, _LONGEST_TEXT, _LONGEST_LICENCE = 200, 500, 100_000  # characters
_LARGEST_NUMBER = 1 << 53


def to_record(model: ModelInfo) -> dict[str, Any]:
    """`model` as a record; what is known about its files on this machine is left out."""
    return {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "alias": model.alias,
        "displayName": model.display_name or model.name,
        "providerType": model.provider_type,
        "uri": model.uri,
        "modelType": "ONNX",
        "promptTemplate": model.prompt_template,
        "publisher": model.publisher,
        "task": model.task,
        "runtime": {"deviceType": model.device, "executionProvider": model.execution_provider},
        "fileSizeMb": model.size_bytes // _MIB,
        "fileSizeBytes": model.size_bytes,
        "modelSettings": {"parameters": []},
        "license": model.license,
        "licenseDescription": model.license_description,
        "requiresAcceptance": model.requires_acceptance,
        "parentModelUri": model.parent_uri,
        "supportsToolCalling": model.supports_tool_calling,
        "toolCallStart": model.tool_call_start,
        "toolCallEnd": model.tool_call_end,
        "supportsReasoning": model.supports_reasoning,
        "contextLength": model.context_length,
        "maxOutputTokens": model.max_output_tokens,
        "minFLVersion": model.min_version,
        "createdAt": model.created,
        "source": model.source,
        "intProperties": {key: value for key, value in _limits(model).items() if value},  # where 2.x looks for them
    }


def _limits(model: ModelInfo) -> dict[str, int | None]:
    return {"context_length": model.context_length, "max_output_tokens": model.max_output_tokens}


def from_record(record: object, *, source: str | None = None) -> ModelInfo | None:
    """The model in `record`, of `source` unless None; None for something that is not a record of a model."""
    if not isinstance(record, dict):
        return None
    name, version = split_model_id(_name(record))
    if not name:
        return None
    runtime = record.get("runtime")
    runtime = runtime if isinstance(runtime, dict) else {}
    device = _text(runtime, "deviceType").upper()
    template = record.get("promptTemplate")
    return ModelInfo(
        name=name,
        version=version if version is not None else _number(record, "version") or 0,
        alias=_text(record, "alias") or name,
        device=device if device in DEVICES else "CPU",
        execution_provider=_text(runtime, "executionProvider") or "CPUExecutionProvider",
        display_name=_text(record, "displayName"),
        publisher=_text(record, "publisher"),
        task=_text(record, "task") or "chat-completion",
        size_bytes=_number(record, "fileSizeBytes") or (_number(record, "fileSizeMb") or 0) * _MIB,
        license=_text(record, "license"),
        license_description=_long_text(record, "licenseDescription"),
        prompt_template=_template(template) if isinstance(template, dict) else None,
        parent_uri=_text(record, "parentModelUri"),
        uri=_text(record, "uri"),
        provider_type=_text(record, "providerType"),
        supports_tool_calling=record.get("supportsToolCalling") is True,
        tool_call_start=_text(record, "toolCallStart"),
        tool_call_end=_text(record, "toolCallEnd"),
        supports_reasoning=record.get("supportsReasoning") is True,
        context_length=_number(record, "contextLength") or _property(record, "context_length"),
        max_output_tokens=_number(record, "maxOutputTokens"),
        created=_number(record, "createdAt") or 0,
        min_version=_text(record, "minFLVersion") or None,
        requires_acceptance=record.get("requiresAcceptance") is True,
        source=source if source is not None else _text(record, "source") or "local",
    )


def _name(record: dict[str, Any]) -> str:
    """The id as it is, because two names must not become one; "" for one that cannot be shown."""
    name = record.get("id") or record.get("name")
    return name if isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_NAME else ""


def _text(record: dict[str, Any], key: str) -> str:
    """A text on one line that can be shown: what a terminal would take for a command is left out."""
    value = record.get(key)
    if not isinstance(value, str):
        return ""
    text = value if value.isprintable() else "".join(character for character in value if character.isprintable())
    return text[:_LONGEST_TEXT]


def _long_text(record: dict[str, Any], key: str) -> str:
    """The same for a text that may have lines."""
    value = record.get(key)
    if not isinstance(value, str):
        return ""
    text = value.replace("\r\n", "\n")[:_LONGEST_LICENCE]
    if text.replace("\n", "").replace("\t", "").isprintable():  # nearly always, and ten times as fast
        return text
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _number(record: dict[str, Any], key: str) -> int | None:
    """A whole number above zero; clients write some of them as text."""
    value = record.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    return value if type(value) is int and 0 < value <= _LARGEST_NUMBER else None


def _template(template: dict[str, Any]) -> dict[str, str]:
    return {_encodable(key): _encodable(value) for key, value in template.items() if isinstance(value, str)}


def _property(record: dict[str, Any], key: str) -> int | None:
    properties = record.get("intProperties")
    return _number(properties, key) if isinstance(properties, dict) else None

"""The files of a model directory, read and checked before any native code sees them.

Formats: genai_config.json of ONNX Runtime GenAI, tokenizer_config.json of Hugging Face, inference_model.json of
Foundry Local.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundry_cli.engine.sampling import SamplingDefaults
from foundry_cli.errors import ModelInvalidError

_LARGEST_JSON = 256 * 1024 * 1024  # bytes; tokenizers of a million entries stay below
_FLOAT_BYTES = 4  # keys and values of the CPU provider


@dataclass(frozen=True)
class ModelFiles:
    """What the directory says about the model."""

    directory: Path
    model_type: str
    context_length: int  # tokens
    eos_token_ids: frozenset[int]
    bos_token_id: int | None
    kv_bytes_per_token: int
    weight_bytes: int
    sampling: SamplingDefaults
    chat_template: str | None = None  # Jinja source
    prompt_template: dict[str, str] | None = None  # role to text with {Content}
    special_tokens: dict[str, str] = field(default_factory=dict)  # bos_token, eos_token… for the template


def read_model_files(directory: Path) -> ModelFiles:
    """Read and check the directory. Raises `ModelInvalidError` naming the file that is missing or wrong."""
    _check_files(directory)
    config = _read_json(directory / "genai_config.json")
    model = _object(config, "model", "genai_config.json")
    decoder = _object(model, "decoder", "genai_config.json")
    _check_file(directory, _string(decoder.get("filename"), "model.decoder.filename"))
    _read_json(directory / "tokenizer.json")
    tokenizer = _read_json(directory / "tokenizer_config.json")
    return ModelFiles(
        directory=directory,
        model_type=_string(model.get("type"), "model.type"),
        context_length=_count(model.get("context_length"), "model.context_length"),
        eos_token_ids=_token_ids(model.get("eos_token_id")),
        bos_token_id=next(iter(_token_ids(model.get("bos_token_id"))), None),
        kv_bytes_per_token=_kv_bytes(decoder),
        weight_bytes=sum(entry.stat().st_size for entry in directory.iterdir() if ".onnx" in entry.name),
        sampling=_sampling(config.get("search")),
        chat_template=_chat_template(directory, tokenizer),
        prompt_template=_prompt_template(directory),
        special_tokens=_special_tokens(tokenizer),
    )


def _check_files(directory: Path) -> None:
    """Only plain files and folders: a link could lead out of the directory to anything on the machine."""
    try:
        entries = list(os.scandir(directory))
    except OSError as error:
        raise ModelInvalidError(f"The model directory {directory} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if entry.is_symlink() or not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            raise ModelInvalidError(
                f"{entry.name} in {directory} is a link or a special file; models are read from plain files only.",
                hint="Copy the files it points to into the model directory.",
            )


def _check_file(directory: Path, name: str) -> Path:
    path = directory / name
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
        raise ModelInvalidError(f"genai_config.json in {directory} names the file {name!r}, which is not a plain name.")
    try:
        status = path.lstat()
    except OSError as error:
        raise _missing(path) from error
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise ModelInvalidError(f"{name} in {directory} is empty or not a file.", hint=_AGAIN)
    return path


_AGAIN = "Copy or download the model again."


def _missing(path: Path) -> ModelInvalidError:
    return ModelInvalidError(f"{path.name} is missing in the model directory {path.parent}.", hint=_AGAIN)


def _read_json(path: Path) -> dict[str, Any]:
    _check_file(path.parent, path.name)
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelInvalidError(f"{path} is too large to be read.")
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelInvalidError(f"{path} is damaged: {error}", hint=_AGAIN) from error
    if not isinstance(document, dict):
        raise ModelInvalidError(f"{path} is damaged: it does not hold a JSON object.", hint=_AGAIN)
    return document


def _object(document: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise ModelInvalidError(f"{name} has no object {key!r}.")
    return value


def _string(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ModelInvalidError(f"genai_config.json has no text for {name}.")
    return value


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 31:
        raise ModelInvalidError(f"genai_config.json has no usable number for {name}.")
    return value


def _token_ids(value: object) -> frozenset[int]:
    values = value if isinstance(value, list) else [value]
    return frozenset(entry for entry in values if isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0)


def _kv_bytes(decoder: dict[str, Any]) -> int:
    layers = _count(decoder.get("num_hidden_layers"), "model.decoder.num_hidden_layers")
    heads = _count(decoder.get("num_key_value_heads"), "model.decoder.num_key_value_heads")
    size = _count(decoder.get("head_size"), "model.decoder.head_size")
    return 2 * layers * heads * size * _FLOAT_BYTES


def _sampling(search: object) -> SamplingDefaults:
    """The `search` section: sampling only where it says `do_sample`."""
    if not isinstance(search, dict) or search.get("do_sample") is not True:
        penalty = search.get("repetition_penalty") if isinstance(search, dict) else None
        return SamplingDefaults(repetition_penalty=_number(penalty, 1.0))
    top_k = int(_number(search.get("top_k"), 0))
    return SamplingDefaults(
        temperature=_number(search.get("temperature"), 1.0),
        top_p=_number(search.get("top_p"), 1.0),
        top_k=top_k,
        repetition_penalty=_number(search.get("repetition_penalty"), 1.0),
    )


def _number(value: object, default: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if is_number else default  # type: ignore[arg-type]


def _chat_template(directory: Path, tokenizer: dict[str, Any]) -> str | None:
    """chat_template.jinja, else `chat_template` of tokenizer_config.json (text, or a list of named ones)."""
    path = directory / "chat_template.jinja"
    if path.exists():
        try:
            return _check_file(directory, path.name).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ModelInvalidError(f"{path} is damaged: {error}", hint=_AGAIN) from error
    template = tokenizer.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _prompt_template(directory: Path) -> dict[str, str] | None:
    path = directory / "inference_model.json"
    if not path.exists():
        return None
    template = _read_json(path).get("PromptTemplate")
    if not isinstance(template, dict):
        return None
    return {key: value for key, value in template.items() if isinstance(value, str)}


def _special_tokens(tokenizer: dict[str, Any]) -> dict[str, str]:
    """`bos_token` and its like, each a text or an object with `content`."""
    tokens: dict[str, str] = {}
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = tokenizer.get(key)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            tokens[key] = value
    return tokens

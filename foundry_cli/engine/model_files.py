"""The files of a model directory, read and checked before any native code sees them.

Formats: genai_config.json of ONNX Runtime GenAI, tokenizer.json and tokenizer_config.json of Hugging Face,
inference_model.json of Foundry Local.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundry_cli.engine.onnx_files import check_onnx_file
from foundry_cli.engine.sampling import SamplingDefaults
from foundry_cli.errors import ModelInvalidError
from foundry_cli.types import OTHER_TEMPLATES

_TOOL_TEMPLATE = "tool_use.jinja"
_LARGEST_JSON = 256 * 1024 * 1024  # bytes; tokenizers of a million entries stay below
_DEEPEST_CONFIG = 32
_FLOAT_BYTES = 4  # keys and values of the CPU provider
_REFUSED_OPTIONS = ("custom_ops_library", "session.model_external_initializers_file_folder_path")


@dataclass(frozen=True)
class ModelFiles:
    """What the directory says about the model."""

    directory: Path
    context_length: int  # tokens
    eos_token_ids: frozenset[int]
    bos_token_id: int | None
    kv_bytes_per_token: int
    sampling: SamplingDefaults
    chat_template: str | None = None  # Jinja source
    tool_template: str | None = None  # the same for conversations with tools, where the model has another one for them
    prompt_template: dict[str, str] | None = None  # role to text with {Content}
    special_tokens: dict[str, str] = field(default_factory=dict)  # bos_token, eos_token… for the template
    control_tokens: dict[str, int] = field(default_factory=dict)  # texts that steer the model and may not come from a user
    added_tokens: dict[str, int] = field(default_factory=dict)  # these, and other texts that are always one token
    longest_token: int = 1 << 16  # characters
    vocabulary_size: int = 1 << 31  # tokens
    operators: frozenset[str] = frozenset()  # kinds of nodes in all graphs
    config: dict[str, Any] = field(default_factory=dict)  # all of genai_config.json
    has_listed_templates: bool = False  # in tokenizer_config.json, which the runtime's tokenizer does not take

    @property
    def decoder(self) -> dict[str, Any]:
        """The section of the decoder in `config`."""
        section: dict[str, Any] = self.config["model"]["decoder"]
        return section

    @property
    def mask_name(self) -> str:
        """What the decoder calls the attention mask."""
        return str((self.decoder.get("inputs") or {}).get("attention_mask", "attention_mask"))


def read_model_files(directory: Path) -> ModelFiles:
    """Read and check the directory. Raises `ModelInvalidError` naming the file that is missing or wrong."""
    _check_entries(directory)
    config = read_json(directory / "genai_config.json")
    model = _object(config, "model")
    decoder = _object(model, "decoder")
    if "pipeline" not in decoder:  # of several graphs, each with its own file
        _text(decoder.get("filename"), "model.decoder.filename")
    operators: frozenset[str] = frozenset()
    for name in _named_files(config):
        path = _check_file(directory, name)
        if path.suffix == ".onnx":
            operators |= check_onnx_file(path, lambda name: _check_file(directory, name))
    control, added, longest = _vocabulary(read_json(directory / "tokenizer.json"))
    tokenizer = read_json(directory / "tokenizer_config.json")
    return ModelFiles(
        directory=directory,
        context_length=_count(model.get("context_length"), "model.context_length"),
        eos_token_ids=frozenset(_token_ids(model.get("eos_token_id"))),
        bos_token_id=next(iter(_token_ids(model.get("bos_token_id"))), None),
        kv_bytes_per_token=_kv_bytes(decoder),
        sampling=_sampling(config.get("search")),
        chat_template=_chat_template(directory, tokenizer),
        tool_template=_tool_template(directory, tokenizer),
        prompt_template=_prompt_template(directory),
        special_tokens=_special_tokens(tokenizer),
        control_tokens=control,
        added_tokens=added,
        longest_token=longest,
        vocabulary_size=_count(model.get("vocab_size"), "model.vocab_size"),
        operators=operators,
        config=config,
        has_listed_templates=isinstance(tokenizer.get("chat_template"), list),
    )


def _check_entries(directory: Path) -> None:
    """Only plain files and folders: a link could lead out of the directory to anything on the machine.

    Hard links pass: package installers make them, and they cannot be told from the file itself.
    """
    try:
        with os.scandir(directory) as entries:
            special = [entry.name for entry in entries if not _is_plain(entry)]
    except OSError as error:
        raise ModelInvalidError(f"The model directory {directory} cannot be read: {error.strerror}.") from error
    if special:
        raise ModelInvalidError(
            f"{min(special)} in {directory} is a link or a special file; models are read from plain files only.",
            hint="Copy the files it points to into the model directory.",
        )


def _is_plain(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


def _check_file(directory: Path, name: str) -> Path:
    """The path of a file that a model's own files name, if it is one and not empty."""
    path = directory / name
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name or ":" in name or not name.isprintable():
        raise ModelInvalidError(
            f"The model in {directory} names the file {name!r}, which is not a plain file name.",
            hint="Put all of its files into one folder, and their plain names into genai_config.json.",
        )
    try:
        status = path.lstat()
    except OSError as error:
        raise ModelInvalidError(f"{name} is missing in the model directory {directory}.", hint=_AGAIN) from error
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise ModelInvalidError(f"{name} in {directory} is empty or not a file.", hint=_AGAIN)
    return path


_AGAIN = "Copy or download the model again."


def _named_files(value: object, depth: int = 0) -> Iterator[str]:
    """All file names in genai_config.json. Raises `ModelInvalidError` for options that lead to other code or folders."""
    if depth > _DEEPEST_CONFIG:
        raise ModelInvalidError("genai_config.json is damaged: it is too deeply nested.", hint=_AGAIN)
    if isinstance(value, list):
        for item in value:
            yield from _named_files(item, depth + 1)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in _REFUSED_OPTIONS:
            raise ModelInvalidError(f"genai_config.json sets {key!r}, which models may not use here.")
        if key.endswith("filename") and item:
            yield _text(item, key)
        else:
            yield from _named_files(item, depth + 1)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of a model. Raises `ModelInvalidError` when it is missing, no plain file or damaged."""
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


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise ModelInvalidError(f"genai_config.json has no object {key!r}.")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ModelInvalidError(f"genai_config.json has no text for {name}.")
    return value


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 31:
        raise ModelInvalidError(f"genai_config.json has no usable number for {name}.")
    return value


def _token_ids(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [entry for entry in values if isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0]


def _kv_bytes(decoder: dict[str, Any]) -> int:
    layers = _count(decoder.get("num_hidden_layers"), "model.decoder.num_hidden_layers")
    heads = _count(decoder.get("num_key_value_heads"), "model.decoder.num_key_value_heads")
    size = _count(decoder.get("head_size"), "model.decoder.head_size")
    return 2 * layers * heads * size * _FLOAT_BYTES


def _sampling(search: object) -> SamplingDefaults:
    """The `search` section: sampling only where it says `do_sample`."""
    values = search if isinstance(search, dict) else {}
    penalty = _number(values.get("repetition_penalty"), 1.0) or 1.0
    if values.get("do_sample") is not True:
        return SamplingDefaults(repetition_penalty=penalty)
    return SamplingDefaults(
        temperature=_number(values.get("temperature"), 1.0),
        top_p=_number(values.get("top_p"), 1.0),
        top_k=int(_number(values.get("top_k"), 0)),
        repetition_penalty=penalty,
    )


def _number(value: object, default: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if is_number else default  # type: ignore[arg-type]


def _vocabulary(tokenizer: dict[str, Any]) -> tuple[dict[str, int], dict[str, int], int]:
    """The special tokens of tokenizer.json that have more than one character, all added tokens, the longest token's length."""
    model, entries = tokenizer.get("model"), tokenizer.get("added_tokens", [])
    if not isinstance(model, dict) or not isinstance(entries, list):
        raise ModelInvalidError("tokenizer.json is damaged: it has no 'model', or 'added_tokens' is not a list.", hint=_AGAIN)
    vocabulary = model.get("vocab")
    pieces = [entry[0] if isinstance(entry, list) and entry else entry for entry in _iterable(vocabulary)]
    known = [entry for entry in entries if isinstance(entry, dict) and _is_token(entry)]
    added = {entry["content"]: entry["id"] for entry in known}
    control = {entry["content"]: entry["id"] for entry in known if entry.get("special") is True}
    texts = [text for text in (*pieces, *control) if isinstance(text, str)]
    return {text: token for text, token in control.items() if len(text) > 1}, added, max(map(len, texts), default=1)


def _is_token(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("content"), str) and isinstance(entry.get("id"), int)


def _iterable(value: object) -> Iterable[Any]:
    return value if isinstance(value, (dict, list)) else ()


def _chat_template(directory: Path, tokenizer: dict[str, Any]) -> str | None:
    """chat_template.jinja, else `chat_template` of tokenizer_config.json (text, or a list of named ones)."""
    if (directory / "chat_template.jinja").exists():
        return _read_template(directory, "chat_template.jinja")
    template = tokenizer.get("chat_template")
    return template if isinstance(template, str) else _named_template(tokenizer, "default")


def _tool_template(directory: Path, tokenizer: dict[str, Any]) -> str | None:
    """The template named `tool_use`, from a file of its own or from the list of named ones."""
    folder = directory / OTHER_TEMPLATES
    if not folder.is_symlink() and (folder / _TOOL_TEMPLATE).exists():
        return _read_template(folder, _TOOL_TEMPLATE)
    return _named_template(tokenizer, "tool_use")


def _named_template(tokenizer: dict[str, Any], name: str) -> str | None:
    listed = tokenizer.get("chat_template")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    template = next((entry.get("template") for entry in reversed(entries) if entry.get("name") == name), None)
    return template if isinstance(template, str) else None


def _read_template(directory: Path, name: str) -> str:
    try:
        return _check_file(directory, name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelInvalidError(f"{directory / name} is damaged: {error}", hint=_AGAIN) from error


def _prompt_template(directory: Path) -> dict[str, str] | None:
    path = directory / "inference_model.json"
    if not path.exists():
        return None
    template = read_json(path).get("PromptTemplate")
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

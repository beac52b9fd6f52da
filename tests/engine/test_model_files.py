"""Broken model directories: each one is refused with one error that names the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.errors import ModelInvalidError
from tests.models.scripted import write_scripted_model

QWEN2 = Path(__file__).parents[1] / "models" / "qwen2-random"
REQUIRED = ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"]
JSON_FILES = [name for name in [*REQUIRED, "inference_model.json"] if name.endswith(".json")]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a real model, with its weights in a file of their own."""
    return Path(shutil.copytree(QWEN2, tmp_path / "model"))


def refuse(model: Path) -> str:
    with pytest.raises(ModelInvalidError) as caught:
        read_model_files(model)
    assert "\n" not in caught.value.message
    return caught.value.message


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_good_directory(model: Path) -> None:
    files = read_model_files(model)
    assert (files.context_length, files.bos_token_id, files.eos_token_ids) == (2048, 1, frozenset({2}))
    assert files.kv_bytes_per_token == 2 * 3 * 2 * 16 * 4
    assert files.control_tokens.keys() == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert files.sampling.temperature == 0.0


@pytest.mark.parametrize("name", REQUIRED)
def test_missing(model: Path, name: str) -> None:
    (model / name).unlink()
    assert f"{name} is missing" in refuse(model)


@pytest.mark.parametrize("name", [*REQUIRED, "inference_model.json", "chat_template.jinja"])
def test_empty(model: Path, name: str) -> None:
    (model / name).write_bytes(b"")
    assert f"{name} in" in refuse(model)


@pytest.mark.parametrize("name", [*REQUIRED, "inference_model.json"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(model: Path, name: str, share: float) -> None:
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[: int(len(content) * share)])
    assert name in refuse(model)


@pytest.mark.parametrize("name", [*JSON_FILES, "model.onnx"])
@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\xff" * 100, b"<html>404</html>", b"[" * 200_000, b"9" * 5000])
def test_garbage(model: Path, name: str, garbage: bytes) -> None:
    (model / name).write_bytes(garbage)
    assert name in refuse(model)


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"'])
def test_json_that_is_no_object(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    assert name in refuse(model)


def test_garbage_in_the_template(model: Path) -> None:
    (model / "chat_template.jinja").write_bytes(b"\xff\xfe\xff")
    assert "chat_template.jinja" in refuse(model)


@pytest.mark.parametrize("name", [*REQUIRED, "unrelated"])
def test_links(model: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"x")
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(target)
    assert f"{name} in" in refuse(model)


def test_special_files(model: Path) -> None:
    os.mkfifo(model / "chat_template.jinja")
    assert "chat_template.jinja" in refuse(model)


def test_folder_in_place_of_a_file(model: Path) -> None:
    (model / "model.onnx").unlink()
    (model / "model.onnx").mkdir()
    assert "model.onnx" in refuse(model)


def test_hard_links_are_files(model: Path) -> None:
    """Package installers link what they install."""
    os.link(model / "model.onnx", model / "other")
    assert read_model_files(model).directory == model


@pytest.mark.parametrize("directory", ["missing", "model/model.onnx"])
def test_no_directory(model: Path, directory: str) -> None:
    assert "cannot be read" in refuse(model.parent / directory)


FILE_NAMES = ["../model.onnx", "/etc/passwd", "a/b.onnx", "..", ".", "C:\\x.onnx", "C:x", "a\0b", "https://x/y", "a\nb"]


@pytest.mark.parametrize("name", FILE_NAMES)
@pytest.mark.parametrize("section", ["decoder", "vision", "pipeline"])
def test_paths_in_genai_config(model: Path, name: str, section: str) -> None:
    def change(config: dict[str, Any]) -> None:
        part = {"filename": name} if section != "pipeline" else [{"stage": {"filename": name}}]
        config["model"].setdefault(section, {})
        if isinstance(part, dict):
            config["model"][section].update(part)
        else:
            config["model"]["decoder"][section] = part

    edit(model / "genai_config.json", change)
    assert repr(name) in refuse(model)


@pytest.mark.parametrize("option", ["custom_ops_library", "session.model_external_initializers_file_folder_path"])
def test_options_that_lead_to_foreign_code_or_folders(model: Path, option: str) -> None:
    edit(model / "genai_config.json", lambda c: c["model"]["decoder"]["session_options"].update({option: "x.so"}))
    assert option in refuse(model)


WRONG: list[object] = [None, "text", -1, 0, 1.5, True, [], {}, 2**40]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("field", ["context_length", "decoder", "decoder.num_hidden_layers", "decoder.head_size"])
def test_wrong_types_in_genai_config(model: Path, field: str, value: object) -> None:
    def change(config: dict[str, Any]) -> None:
        *parents, last = ["model", *field.split(".")]
        for parent in parents:
            config = config[parent]
        config[last] = value

    edit(model / "genai_config.json", change)
    assert "genai_config.json" in refuse(model)


@pytest.mark.parametrize("value", [None, "text", [], {}, [{}], [[1]], [{"name": ["default"], "template": 1}], 5])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("genai_config.json", "search"),
        ("tokenizer_config.json", "chat_template"),
        ("tokenizer_config.json", "bos_token"),
        ("inference_model.json", "PromptTemplate"),
    ],
)
def test_wrong_types_of_what_may_be_left_out(model: Path, name: str, field: str, value: object) -> None:
    edit(model / name, lambda document: document.update({field: value}))
    assert isinstance(read_model_files(model), ModelFiles)


@pytest.mark.parametrize("value", [None, [], {"vocab": None}, {"vocab": [["a", 1], [], 5]}, {"vocab": {"a": 1}}, 5])
@pytest.mark.parametrize("added", [[], [5, None, {"special": True, "content": ["x"]}], {"a": 1}, None])
def test_wrong_types_in_tokenizer_json(model: Path, value: object, added: object) -> None:
    edit(model / "tokenizer.json", lambda document: document.update(model=value, added_tokens=added))
    if isinstance(value, dict) and isinstance(added, list):
        assert read_model_files(model).longest_token == 1
    else:
        assert "tokenizer.json" in refuse(model)


def test_sampling_of_the_model(model: Path) -> None:
    search = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 0}
    edit(model / "genai_config.json", lambda config: config.update(search=search))
    sampling = read_model_files(model).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.repetition_penalty) == (0.6, 0.95, 20, 1.0)


@pytest.mark.parametrize(
    ("template", "expected"),
    [("one", "one"), ([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}], "d"), ([], None)],
)
def test_chat_template_of_tokenizer_config(model: Path, template: object, expected: str | None) -> None:
    edit(model / "tokenizer_config.json", lambda document: document.update(chat_template=template))
    assert read_model_files(model).chat_template == expected


def test_the_template_for_tools(model: Path) -> None:
    assert read_model_files(model).tool_template is None
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    (model / "chat_template.jinja").unlink(missing_ok=True)
    edit(model / "tokenizer_config.json", lambda document: document.update(chat_template=named))
    files = read_model_files(model)
    assert (files.chat_template, files.tool_template) == ("a", "b")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool_use.jinja").write_text("c", encoding="utf-8")
    assert read_model_files(model).tool_template == "c"


def test_a_decoder_of_several_graphs(model: Path) -> None:
    config = json.loads((model / "genai_config.json").read_text())
    name = config["model"]["decoder"].pop("filename")
    config["model"]["decoder"]["pipeline"] = [{"first": {"filename": name}}, {"second": {"filename": "missing.onnx"}}]
    (model / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelInvalidError, match=r"missing\.onnx is missing"):
        read_model_files(model)
    (model / "missing.onnx").write_bytes((model / name).read_bytes())
    assert read_model_files(model).vocabulary_size == config["model"]["vocab_size"]


def test_chat_template_of_its_own_file_comes_first(model: Path) -> None:
    (model / "chat_template.jinja").write_text("from the file")
    edit(model / "tokenizer_config.json", lambda document: document.update(chat_template="other"))
    assert read_model_files(model).chat_template == "from the file"


def test_special_tokens_as_objects(model: Path) -> None:
    edit(model / "tokenizer_config.json", lambda document: document.update(bos_token={"content": "<s>"}, unk_token=[]))
    assert read_model_files(model).special_tokens["bos_token"] == "<s>"


def external(tensor: onnx.TensorProto, **entries: str) -> None:
    kept = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize(
    "entries",
    [*({"location": name} for name in FILE_NAMES if "\0" not in name), {"location": ""}, {"location": "absent.data"},
     {"offset": "999999999"}, {"length": "999999999"}, {"length": "many"}],
)  # fmt: skip
def test_weights_elsewhere(model: Path, entries: dict[str, str]) -> None:
    proto = onnx.load(model / "model.onnx", load_external_data=False)
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.external_data)
    external(tensor, **entries)
    (model / "model.onnx").write_bytes(proto.SerializeToString())
    assert refuse(model)


def test_weights_elsewhere_deep_in_the_graph(tmp_path: Path) -> None:
    write_scripted_model(tmp_path, ["x"], busy=1)  # its loop has a graph of its own
    proto = onnx.load(tmp_path / "model.onnx")
    loop = next(node for node in proto.graph.node if node.op_type == "Loop")
    tensor = loop.attribute[0].g.initializer.add(name="hidden", data_type=1, data_location=1)
    external(tensor, location="../secret")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert "'../secret'" in refuse(tmp_path)


def test_every_truncation_of_a_graph_is_noticed(tmp_path: Path) -> None:
    path = write_scripted_model(tmp_path, ["x"]) / "model.onnx"
    content = path.read_bytes()
    for length in range(1, len(content), max(1, len(content) // 200)):
        path.write_bytes(content[:length])
        assert "model.onnx" in refuse(tmp_path)

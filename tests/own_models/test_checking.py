"""What the engine, in a process of its own, says about model folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.model_check import PROBE
from foundry_cli.errors import EngineError, FoundryError, ModelInvalidError
from foundry_cli.own_models.checking import check_model, read_facts
from tests.models.scripted import write_scripted_model
from tests.own_models.folders import copy_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_model(tmp_path / "model")


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def made_for(folder: Path, *entries: object) -> None:
    options = {"provider_options": list(entries)}
    edit(folder / "genai_config.json", lambda config: config["model"]["decoder"]["session_options"].update(options))


def test_a_good_model_answers_and_tells_its_facts(folder: Path) -> None:
    facts = check_model(folder)
    assert (facts.folder, facts.context_length, facts.eos_token_ids) == (folder, 2048, (2,))
    assert "<|im_end|>" in facts.control_tokens
    assert facts.chat_template is not None
    assert facts.rendered is not None
    assert all(message["content"] in facts.rendered for message in PROBE)
    assert (facts.execution_provider, facts.device, facts.untried) == ("CPUExecutionProvider", "CPU", "")


def test_a_template_that_takes_no_system_message_is_rendered_without_one(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
        "<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}<|im_start|>assistant\n"
    )
    facts = read_facts(write_scripted_model(tmp_path / "model", ["hi"], chat_template=template))
    assert facts.rendered is not None
    assert PROBE[0]["content"] not in facts.rendered
    assert PROBE[3]["content"] in facts.rendered


def test_the_older_form_of_a_template_is_rendered_too(tmp_path: Path) -> None:
    texts = {"user": "U:{Content}\n", "prompt": "U:{Content}\nA:"}
    facts = read_facts(write_scripted_model(tmp_path / "model", ["hi"], chat_template=None, prompt_template=texts))
    assert facts.rendered is not None
    assert facts.rendered.endswith("U:delta question\nA:")


@pytest.mark.parametrize(
    "name", ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelInvalidError, match=f"{name} is missing") as caught:
        check_model(folder)
    assert caught.value.hint


def test_external_data_outside_of_the_folder_is_refused(folder: Path) -> None:
    data = (folder / "model.onnx").read_bytes()
    outside = b"../outside.data"
    assert len(outside) == len(b"model.onnx.data")
    (folder.parent / "outside.data").write_bytes((folder / "model.onnx.data").read_bytes())
    (folder / "model.onnx").write_bytes(data.replace(b"model.onnx.data", outside))
    with pytest.raises(ModelInvalidError, match="not a plain file name"):
        check_model(folder)


def test_a_model_without_a_chat_template_is_refused(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", lambda config: config.pop("chat_template"))
    edit(folder / "inference_model.json", lambda config: config.update(PromptTemplate=None))
    with pytest.raises(ModelInvalidError, match="chat template"):
        check_model(folder)


def test_files_that_look_good_and_do_not_run_are_found_by_trying(folder: Path) -> None:
    edit(folder / "genai_config.json", lambda config: config["model"]["decoder"]["inputs"].update(input_ids="nonsense"))
    read_facts(folder)
    with pytest.raises(FoundryError):
        check_model(folder)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"cuda": {"enable_cuda_graph": "0"}}], ("CUDAExecutionProvider", "GPU")),
        ([{"cpu": {}}, {"WebGPU": {}}], ("WebGpuExecutionProvider", "GPU")),
        ([{"OpenVINO": {"device_type": "NPU"}}], ("OpenVINOExecutionProvider", "NPU")),
        ([{"QNN": None}], ("QNNExecutionProvider", "NPU")),
        ([{"unheard-of": {}}, 3], ("CPUExecutionProvider", "CPU")),
    ],
)
def test_the_device_is_what_the_configuration_asks_for(folder: Path, entries: list[object], expected: tuple[str, str]) -> None:
    made_for(folder, *entries)
    facts = read_facts(folder)
    assert (facts.execution_provider, facts.device) == expected


def test_a_model_for_another_device_that_cannot_run_here_is_no_error(folder: Path) -> None:
    made_for(folder, {"QNN": {}})
    facts = check_model(folder)
    assert facts.device == "NPU"
    assert "QNNExecutionProvider" in facts.untried


@pytest.mark.parametrize("program", ["print('hello')", "print('[]')", "print('{}')", "import sys; sys.exit('boom')"])
def test_a_check_that_ends_without_a_result_is_an_error(folder: Path, program: str) -> None:
    with pytest.raises(EngineError, match="could not be checked"):
        read_facts(folder, command=[sys.executable, "-c", program])

"""Checkpoints: which ones are taken, and how they come from Hugging Face (its own client against a stand-in)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry_cli.errors import InvalidRequestError, ModelInvalidError
from foundry_cli.own_models.checkpoint import check_files, checkpoint_name, open_checkpoint
from foundry_cli.own_models.licence import licence_files
from tests.own_models.hub import COMMIT, Hub, running

GOOD = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"chat_template": "x"}',
    "LICENSE": b"MIT License",
}
ROOT = Path(__file__).parents[2]


def write(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def quiet(phase: str, progress: str) -> None:
    pass


def test_a_directory_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write(tmp_path / "owner" / "repo", GOOD)
    assert open_checkpoint(str(directory), quiet) == directory
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint("owner/repo", quiet) == directory  # before anybody is asked for a repository of that name


@pytest.mark.parametrize(
    ("names", "message", "way_out"),
    [
        ({"config.json", "pytorch_model.bin"}, "pickle files", "safetensors"),
        ({"config.json", "model.pt"}, "pickle files", "safetensors"),
        ({"model-q4.gguf"}, "GGUF", "original"),
        ({"genai_config.json", "model.onnx", "config.json"}, "an ONNX model already", "foundry model add"),
        ({"config.json", "model.onnx", "model.safetensors"}, "an ONNX model already", "foundry model add"),
        ({"model.safetensors"}, r"there is no config\.json", ""),
        ({"config.json", "README.md"}, "no file with weights", ""),
        (set[str](), "is no checkpoint", ""),
    ],
)
def test_other_directories_are_refused_with_the_reason(names: set[str], message: str, way_out: str) -> None:
    with pytest.raises(ModelInvalidError, match=message) as caught:
        check_files(names, "somewhere")
    assert way_out in (caught.value.hint or "")


@pytest.mark.parametrize(("file", "content"), [("config.json", b"[]"), ("config.json", b""), ("tokenizer_config.json", b"{}")])
def test_damage_is_found_before_the_long_work(tmp_path: Path, file: str, content: bytes) -> None:
    directory = write(tmp_path / "checkpoint", {**GOOD, file: content})
    with pytest.raises(ModelInvalidError, match=r"config\.json|chat template"):
        open_checkpoint(str(directory), quiet)


def test_a_template_in_a_file_of_its_own_counts(tmp_path: Path) -> None:
    directory = write(tmp_path / "checkpoint", {**GOOD, "tokenizer_config.json": b"{}", "chat_template.jinja": b"x"})
    assert open_checkpoint(str(directory), quiet) == directory


def test_a_model_for_embeddings_needs_no_template(tmp_path: Path) -> None:
    directory = write(tmp_path / "checkpoint", {**GOOD, "tokenizer_config.json": b"{}", "modules.json": b"[]"})
    assert open_checkpoint(str(directory), quiet) == directory


@pytest.mark.parametrize("source", ["", "one-word", "a/b/c", "/missing/directory", "hf:", "owner/", "../..x/y"])
def test_what_is_neither_directory_nor_repository_is_refused(source: str) -> None:
    with pytest.raises(InvalidRequestError, match="neither a directory nor"):
        open_checkpoint(source or "nothing", quiet, is_offline=True)


def test_names_come_from_the_repository_or_the_directory(tmp_path: Path) -> None:
    assert checkpoint_name("hf:Qwen/Qwen3-0.6B@main") == checkpoint_name("Qwen/Qwen3-0.6B") == "Qwen3-0.6B"
    assert checkpoint_name(str(write(tmp_path / "here" / "mine", GOOD))) == "mine"


def test_a_licence_that_is_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    directory = write(tmp_path / "checkpoint", {"README.md": b"x"})
    (tmp_path / "secret").write_text("secret")
    (directory / "LICENSE").symlink_to(tmp_path / "secret")
    assert [path.name for path in licence_files(directory)] == ["README.md"]


_OPEN = """
import json, sys
from foundry_cli.errors import FoundryError
from foundry_cli.own_models.checkpoint import open_checkpoint
from foundry_cli.own_models.licence import licence_files

said = []
try:
    directory = open_checkpoint(sys.argv[1], lambda *words: said.append(words), is_offline=sys.argv[2] == "offline")
    answer = {"directory": str(directory), "said": said, "licences": [path.name for path in licence_files(directory)]}
except FoundryError as error:
    answer = {"error": error.code, "message": error.message, "hint": error.hint}
print(json.dumps(answer))
"""


def fetch(source: str, endpoint: str, home: Path, mode: str = "online", **environment: str) -> dict[str, object]:
    """`open_checkpoint` in a process whose Hugging Face is `endpoint`: the client reads that when it is imported."""
    variables = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, source, mode],
        env={**kept, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""  # bars and warnings of the client are not for people
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    repositories = {
        "owner/good": {**GOOD, "pytorch_model.bin": b"pickle", "train.py": b"print()", "onnx.md": b"x"},
        "owner/pickle": {"config.json": b"{}", "pytorch_model.bin": b"pickle" * 1000},
        "owner/gated": GOOD,
    }
    with running(Hub(repositories, gated=("owner/gated",))) as hub:
        yield hub


def test_a_repository_is_fetched_without_what_is_not_needed_and_then_used_without_network(hub: Hub, tmp_path: Path) -> None:
    answer = fetch("hf:owner/good@main", hub.url, tmp_path)
    directory = Path(str(answer["directory"]))
    assert directory.name == COMMIT
    assert {path.name for path in directory.iterdir()} == set(GOOD)
    assert (directory / "model.safetensors").read_bytes() == GOOD["model.safetensors"]
    assert answer["licences"] == ["LICENSE"]
    assert {phase for phase, _ in answer["said"]} == {"Fetching the checkpoint"}  # type: ignore[attr-defined]
    assert not {"pytorch_model.bin", "train.py"} & set(hub.fetched)
    elsewhere = "https://huggingface.invalid"
    assert fetch("owner/good", elsewhere, tmp_path, "offline")["directory"] == str(directory)


def test_a_repository_with_pickle_files_only_is_refused_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    fetched = len(hub.fetched)
    answer = fetch("owner/pickle", hub.url, tmp_path)
    assert (answer["error"], "pickle files" in str(answer["message"])) == ("model_invalid", True)
    assert len(hub.fetched) == fetched


def test_a_gated_repository_needs_a_token(hub: Hub, tmp_path: Path) -> None:
    answer = fetch("owner/gated", hub.url, tmp_path)
    assert (answer["error"], "HF_TOKEN" in str(answer["hint"])) == ("license_not_accepted", True)
    assert "directory" in fetch("owner/gated", hub.url, tmp_path, HF_TOKEN="good")


@pytest.mark.parametrize("source", ["owner/missing", "owner/good@v9"])
def test_what_is_not_there_is_said(hub: Hub, tmp_path: Path, source: str) -> None:
    answer = fetch(source, hub.url, tmp_path)
    assert answer["error"] == "source_error"
    assert "no repository or revision" in str(answer["message"])


def test_a_server_that_is_not_there_and_a_network_that_is_off_are_told_apart(tmp_path: Path) -> None:
    with running(Hub({})) as gone:
        url = gone.url
    assert fetch("owner/good", url, tmp_path)["error"] == "source_unreachable"
    assert fetch("owner/good", "https://huggingface.invalid", tmp_path, "offline")["error"] == "offline"

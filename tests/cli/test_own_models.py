"""`foundry model add|convert|test`, with the real engine and service."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from foundry_cli.paths import Paths
from foundry_cli.store.verdicts import read_verdicts
from tests.cli.in_process import Command
from tests.conftest import RunningService, add_model
from tests.models.scripted import write_scripted_model
from tests.own_models.folders import copy_model, digests

HAS_BUILD = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "onnx_ir"))


@pytest.fixture
def foundry(settled: Command) -> Command:
    """The command line, without a process for each command."""
    return settled


def test_a_folder_is_added_listed_run_and_tested(foundry: Command, tmp_path: Path) -> None:
    folder = write_scripted_model(tmp_path / "my model", ["Good day!"], context_length=512)
    before = digests(folder)
    added = foundry("model", "add", str(folder), "--name", "polite:3", "--alias", "pol")
    assert (added.code, added.stdout.splitlines()[-1]) == (0, "To chat with it, run: foundry model run pol")
    assert "polite:3 was added to the cache" in added.stdout
    assert added.stderr.splitlines() == ["Checking the model...", "Copying the files..."]
    assert digests(folder) == before
    assert "polite:3" in foundry("model", "list").stdout
    assert foundry("model", "run", "pol", "--prompt", "Hi").stdout == "Good day!\n"
    tested = foundry("model", "test", "pol")
    assert tested.code == 0, tested.stdout
    assert tested.stdout.splitlines()[0].startswith("✓ chat template")
    assert "passed the test" in tested.stdout.splitlines()[-1]
    assert read_verdicts(Paths(tmp_path / "home"))["polite:3"].verdict == "passed"


def test_a_name_that_is_taken_is_a_usage_error_before_anything_is_copied(foundry: Command, tmp_path: Path) -> None:
    folder = copy_model(tmp_path / "model folder")
    output = foundry("model", "add", str(folder), "--name", "foundry-guide")
    assert output.code == 2
    assert "answers to 'foundry-guide' already" in output.stderr
    assert not (tmp_path / "home" / "cache" / "models" / "Local").exists()


def test_a_damaged_folder_is_refused_in_one_line(foundry: Command, tmp_path: Path) -> None:
    folder = copy_model(tmp_path / "model folder")
    data = (folder / "model.onnx.data").read_bytes()
    (folder / "model.onnx.data").write_bytes(data[: len(data) // 2])
    output = foundry("model", "add", str(folder))
    assert (output.code, output.stdout) == (1, "")
    assert output.stderr.splitlines()[0] == "Checking the model..."
    assert "model.onnx.data is damaged" in output.stderr.splitlines()[1]
    assert not list((tmp_path / "home").rglob("*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("add", ""), ("add", " "), ("convert", "x", "--output", "")])
def test_a_directory_without_a_name_is_not_the_current_one(foundry: Command, arguments: tuple[str, ...]) -> None:
    output = foundry("model", *arguments)
    assert (output.code, output.stdout) == (2, "")
    assert "The directory has no name." in output.stderr


def test_an_added_model_takes_no_verdict_over_from_one_that_had_its_name(foundry: Command, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    (paths.home / "verdicts.json").write_text(json.dumps({"again:1": {"verdict": "passed", "date": "x", "failed": []}}))
    assert foundry("model", "add", str(copy_model(tmp_path / "folder")), "--name", "again").code == 0
    assert read_verdicts(paths) == {}


def test_the_bundled_model_passes(foundry: Command, service: RunningService) -> None:
    output = foundry("model", "test", "foundry-guide", "--output", "json", home=service.paths.home)
    document = json.loads(output.stdout)
    assert (output.code, document["verdict"]) == (0, "passed"), document
    statuses = {check["name"]: check["status"] for check in document["checks"]}
    assert statuses["stop tokens"] == statuses["streaming"] == statuses["context limit"] == "passed"
    assert {status for name, status in statuses.items() if name not in ("JSON mode", "tool calls")} == {"passed"}


def test_a_model_that_misbehaves_fails_with_exit_code_1(foundry: Command, service: RunningService) -> None:
    template = "{% for m in messages[-1:] %}<|im_start|>user\n{{ m.content }}<|im_end|>\n<|im_start|>assistant\n{% endfor %}"
    broken = [b"gr\xc3", b"(n"]
    add_model(service.paths, "misbehaving:1", [broken], chat_template=template)
    output = foundry("model", "test", "misbehaving", home=service.paths.home)
    assert output.code == 1
    failed = [line.split("  ")[0] for line in output.stdout.splitlines() if line.startswith("✗")]
    assert failed == ["✗ chat template", "✗ history", "✗ Unicode"]
    verdict = read_verdicts(service.paths)["misbehaving:1"]
    assert (verdict.verdict, verdict.failed) == ("failed", ("chat template", "history", "Unicode"))


@pytest.mark.slow
def test_a_model_that_never_stops_is_not_said_to_stop(foundry: Command, service: RunningService) -> None:
    add_model(service.paths, "endless:1", ["Good day! "], eos_after_reply=False)
    output = foundry("model", "test", "endless", home=service.paths.home)
    assert output.code == 0, output.stdout
    lines = output.stdout.splitlines()
    assert next(line for line in lines if "stop tokens" in line).startswith("– stop tokens    no answer ended")  # noqa: RUF001
    assert "2 not shown (stop tokens, JSON mode)" in lines[-1]
    assert "✓ stop tokens" not in output.stdout


def test_a_cache_that_is_not_mounted_is_not_filled(foundry: Command, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert foundry("cache", "cd", str(disk)).code == 0
    disk.rename(tmp_path / "unmounted")
    disk.mkdir()
    folder = copy_model(tmp_path / "folder")
    for arguments in (["add", str(folder)], ["convert", "owner/repo", "--output", str(tmp_path / "out"), "--add"]):
        output = foundry("model", *arguments)
        assert output.code == 1
        assert "is not available" in output.stderr
        assert list(disk.iterdir()) == []


def test_an_addition_tells_what_it_leaves_out(foundry: Command, tmp_path: Path) -> None:
    folder = copy_model(tmp_path / "folder")
    (folder / "adapters").mkdir()
    output = foundry("model", "add", str(folder))
    assert output.code == 0, output.stderr
    assert output.stderr.splitlines()[0] == "Sub-folders are not copied, because a model uses no files in them: adapters."


@pytest.mark.slow
def test_a_damaged_own_model_can_be_added_again(foundry: Command, tmp_path: Path) -> None:
    folder = copy_model(tmp_path / "folder")
    assert foundry("model", "add", str(folder), "--name", "mine").code == 0
    (data,) = (tmp_path / "home").rglob("Local/mine-1/model.onnx.data")
    data.write_bytes(b"short")
    assert foundry("model", "add", str(folder), "--name", "mine").code == 0
    assert data.read_bytes() == (folder / "model.onnx.data").read_bytes()


def test_an_onnx_model_is_not_converted_and_the_way_to_add_it_is_told_first(foundry: Command, tmp_path: Path) -> None:
    folder = copy_model(tmp_path / "folder")
    output = foundry("model", "convert", str(folder), "--output", str(tmp_path / "out"))
    assert output.code == 1
    assert "is an ONNX model already" in output.stderr
    assert "foundry model add" in output.stderr


def test_an_unknown_model_cannot_be_tested(foundry: Command) -> None:
    assert foundry("model", "test", "no-such-model").code == 4


@pytest.mark.skipif(HAS_BUILD, reason="the extra 'build' is installed")
def test_converting_without_the_extra_says_how_to_get_it(foundry: Command, tmp_path: Path) -> None:
    output = foundry("model", "convert", "owner/repo", "--output", str(tmp_path / "out"))
    assert output.code == 1
    assert "pip install '.[build]'" in output.stderr
    assert not (tmp_path / "out").exists()


def test_a_converted_model_is_called_as_the_directory_it_is_put_into(foundry: Command, tmp_path: Path) -> None:
    output = foundry("model", "convert", "owner/repo", "--output", str(tmp_path / "foundry-guide"), "--add")
    assert output.code == 2
    assert "answers to 'foundry-guide' already" in output.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--precision", "fp16"], "no fp16 models for cpu"),
        (["--name", "a b"], "cannot be the name"),
        (["--add", "--name", "foundry-guide"], "answers to 'foundry-guide' already"),
        (["--precision", "int3"], "int3"),
    ],
)
def test_wrong_options_of_convert_are_usage_errors(foundry: Command, tmp_path: Path, options: list[str], text: str) -> None:
    output = foundry("model", "convert", "owner/repo", "--output", str(tmp_path / "out"), *options)
    assert output.code == 2
    assert text in output.stderr


def test_a_file_with_a_name_that_not_every_system_has_is_refused_with_the_way_out(foundry: Command, tmp_path: Path) -> None:
    folder = write_scripted_model(tmp_path / "mine", ["hello"])
    (folder / "a:b.txt").touch()
    output = foundry("model", "add", str(folder))
    assert (output.code, output.stdout) == (1, "")
    assert "'a:b.txt'" in output.stderr
    assert f"Rename it in {folder}" in output.stderr

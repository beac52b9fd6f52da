"""Converting: what goes to the builder, what becomes of its output, and what is left when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from foundry_cli.errors import FoundryError, InvalidRequestError, ModelInvalidError
from foundry_cli.own_models.builder import ModelBuilder, check_extra, check_precision
from foundry_cli.own_models.checking import ModelFacts, check_model, read_facts
from foundry_cli.own_models.conversion import Conversion, check_output, convert, suggest_name
from foundry_cli.own_models.identity import Identity
from tests.own_models.folders import copy_model, digests

ROOT = Path(__file__).parents[2]
IDENTITY = Identity("tiny", 1, "tiny")


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the stand-in is a module of the tests


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    (directory / "config.json").write_text('{"num_hidden_layers": 2}')
    (directory / "model.safetensors").write_text("x")
    (directory / "LICENSE").write_text("MIT License")
    return directory


class Phases(list[tuple[str, str]]):
    """What was said."""

    def __call__(self, phase: str, progress: str) -> None:
        self.append((phase, progress))


def builder(log: Path, behaviour: str = "succeed") -> ModelBuilder:
    return ModelBuilder(log / "convert.log", [sys.executable, "-m", "tests.own_models.builders", behaviour])


def run(checkpoint: Path, output: Path, behaviour: str = "succeed", *, is_replacing: bool = False) -> tuple[ModelFacts, Phases]:
    said = Phases()
    conversion = Conversion(output, IDENTITY, "int8", "trtrtx", is_replacing=is_replacing)
    return convert(conversion, checkpoint, builder(checkpoint.parent / "logs", behaviour), said, read_facts), said


def test_a_conversion_gives_a_checked_model_with_name_and_licence(checkpoint: Path, tmp_path: Path) -> None:
    output, said = tmp_path / "models" / "tiny", Phases()
    facts = convert(Conversion(output, IDENTITY, "int4", "cpu"), checkpoint, builder(tmp_path / "logs"), said)
    assert facts.folder == output
    assert facts == check_model(output)
    assert json.loads((output / "inference_model.json").read_text()) == {"Name": "tiny:1", "PromptTemplate": None}
    assert (output / "LICENSE").read_text() == "MIT License"
    assert [path.name for path in output.parent.iterdir()] == ["tiny"]
    assert list(dict.fromkeys(phase for phase, _ in said)) == [
        "Reading the checkpoint",
        "Converting the layers",
        "Writing the weights",
        "Writing configuration and tokenizer",
        "Checking the model",
    ]
    assert {("Converting the layers", "2 of 2"), ("Writing the weights", "50 %"), ("Writing the weights", "100 %")} <= set(said)


def test_the_builder_runs_no_programs_of_the_checkpoint_and_gets_no_token(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run(checkpoint, tmp_path / "out")
    seen = json.loads((checkpoint / "seen.json").read_text())
    arguments = seen["arguments"]
    assert arguments[:2] == ["--parent", str(os.getpid())]
    assert arguments[arguments.index("--extra_options") + 1 :] == ["hf_remote=false", "hf_token=false"]
    assert arguments[arguments.index("-p") + 1] == "int8"
    assert arguments[arguments.index("-e") + 1] == "NvTensorRtRtx"
    assert "hf_secret" not in seen["environment"].values()
    assert seen["environment"]["HF_HUB_OFFLINE"] == seen["environment"]["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_checkpoint_for_embeddings_gets_no_logits_and_keeps_its_files(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling"}]')
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    (checkpoint / "config_sentence_transformers.json").symlink_to("/etc/hostname")  # no file of the checkpoint
    facts, _ = run(checkpoint, tmp_path / "out")
    arguments = json.loads((checkpoint / "seen.json").read_text())["arguments"]
    assert arguments[arguments.index("--extra_options") + 1 :] == ["hf_remote=false", "hf_token=false", "exclude_lm_head=true"]
    for name in ("modules.json", "1_Pooling/config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (checkpoint / name).read_bytes()
    assert not (tmp_path / "out" / "config_sentence_transformers.json").exists()
    assert (facts.makes_embeddings, facts.has_unit_length) == (True, False)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("fail", r"ValueError: no such thing\."),
        ("remote", "programs of its own, which are never run"),
        ("killed", "perhaps because memory ran out"),
        ("nothing", r"genai_config\.json"),
        ("broken", r"tokenizer\.json is missing"),
    ],
)
def test_a_failure_says_why_and_leaves_nothing(checkpoint: Path, tmp_path: Path, behaviour: str, message: str) -> None:
    with pytest.raises(FoundryError, match=message) as caught:
        run(checkpoint, tmp_path / "deep" / "below" / "out", behaviour)
    assert not (tmp_path / "deep").exists()
    log = tmp_path / "logs" / "convert.log"
    assert "Reading layer 1" in log.read_text()
    assert ".converting" not in caught.value.message
    if not isinstance(caught.value, ModelInvalidError):
        assert str(log) in str(caught.value.hint)


def test_a_builder_that_cannot_be_started_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    missing = ModelBuilder(tmp_path / "convert.log", [str(tmp_path / "missing")])
    with pytest.raises(FoundryError, match="cannot be started"):
        convert(Conversion(tmp_path / "out", IDENTITY, "int4", "cpu"), checkpoint, missing, Phases())


_INTERRUPTED = """
import sys
from pathlib import Path
from foundry_cli.own_models.conversion import convert
from tests.own_models.test_conversion import IDENTITY, Conversion, builder

def say(phase, progress):
    print(phase, flush=True)

checkpoint, output = map(Path, sys.argv[1:])
try:
    convert(Conversion(output, IDENTITY, "int4", "cpu"), checkpoint, builder(checkpoint.parent / "logs", "wait"), say)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def _child_of(process: subprocess.Popen[str], log: Path) -> psutil.Process:
    """The builder, once it waits."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Writing configuration"):
            break
    while "Waiting as" not in log.read_text():
        assert process.poll() is None
    return psutil.Process(int(log.read_text().rpartition("Waiting as ")[2].split()[0]))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_ctrl_c_ends_the_builder_and_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "models" / "out"
    command = [sys.executable, "-c", _INTERRUPTED, str(checkpoint), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        child = _child_of(process, tmp_path / "logs" / "convert.log")
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read().endswith("interrupted\n")
    assert not child.is_running()
    assert not output.parent.exists()


def waiting_conversion(checkpoint: Path, output: Path) -> subprocess.Popen[str]:
    """A process whose builder waits."""
    command = [sys.executable, "-c", _INTERRUPTED, str(checkpoint), str(output)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_what_a_killed_conversion_left_goes_with_the_next_one(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "models" / "out"
    with waiting_conversion(checkpoint, output) as process:
        child = _child_of(process, tmp_path / "logs" / "convert.log")
        try:
            with pytest.raises(InvalidRequestError, match="Another process"):
                run(checkpoint, output)
            assert child.is_running()
        finally:
            process.kill()
            child.kill()  # unlike the real builder, the stand-in does not end with who started it
    assert [path.name for path in output.parent.iterdir()] == [".out.converting"]
    run(checkpoint, output)
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_a_model_that_was_being_replaced_when_the_process_was_killed_comes_back(checkpoint: Path, tmp_path: Path) -> None:
    before = digests(copy_model(tmp_path / ".out.converting" / "replaced"))
    (tmp_path / ".out.converting" / "download.tmp").touch()
    with pytest.raises(InvalidRequestError, match="a model in"):
        run(checkpoint, tmp_path / "out")
    assert digests(tmp_path / "out") == before
    assert not (tmp_path / ".out.converting").exists()


@pytest.mark.parametrize(
    ("output", "name"),
    [("my-model", "my-model"), ("deep/Phi 5/", "Phi 5"), ("model", "repo"), ("deep/ONNX", "repo"), ("output", "repo")],
)
def test_a_model_is_called_as_its_directory_unless_that_says_nothing(output: str, name: str) -> None:
    assert suggest_name("owner/repo", Path(output)) == name


def test_the_directory_where_one_is_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert suggest_name("owner/repo", Path(".")) == "mine"


def test_an_output_that_is_no_model_is_never_replaced(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    for is_replacing in (False, True):
        with pytest.raises(InvalidRequestError, match="not empty"):
            run(checkpoint, output, is_replacing=is_replacing)
    assert digests(output).keys() == {"thesis.txt"}
    (tmp_path / "link").symlink_to(output)
    (tmp_path / "file").write_text("x")
    for place in ("link", "file"):
        with pytest.raises(InvalidRequestError, match="no directory"):
            check_output(tmp_path / place, is_replacing=True)


@pytest.mark.slow
def test_a_model_is_replaced_when_that_is_asked_for_and_only_by_a_good_one(checkpoint: Path, tmp_path: Path) -> None:
    output = copy_model(tmp_path / "out")
    before = digests(output)
    with pytest.raises(InvalidRequestError, match="a model in") as caught:
        run(checkpoint, output)
    assert "--force" in str(caught.value.hint)
    with pytest.raises(FoundryError):
        run(checkpoint, output, "broken", is_replacing=True)
    assert digests(output) == before
    run(checkpoint, output, is_replacing=True)
    assert "model.onnx.data" not in digests(output)
    assert not list(tmp_path.glob(".*"))


def test_an_empty_directory_is_filled(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(checkpoint, tmp_path / "out")
    assert (tmp_path / "out" / "genai_config.json").exists()


def test_missing_packages_are_named_with_the_extra_that_has_them() -> None:
    with pytest.raises(FoundryError, match=r"not installed: torch, onnx_ir\.") as caught:
        check_extra(lambda name: None if name in ("torch", "onnx_ir") else object())
    assert "'.[build]'" in str(caught.value.hint)
    check_extra(lambda name: object())


@pytest.mark.parametrize(("precision", "device"), [("fp16", "cpu"), ("bf16", "cpu"), ("fp32", "dml"), ("int4", "trtrtx")])
def test_pairs_that_the_builder_cannot_make_are_refused_with_those_it_can(precision: str, device: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_precision(precision, device)
    assert precision not in str(caught.value.hint)
    check_precision("int4", "cpu")

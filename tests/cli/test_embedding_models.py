"""Models that make embeddings, at the command line: added, listed, tested, and refused where text is wanted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from foundry_cli.paths import Paths
from foundry_cli.store.verdicts import read_verdicts
from tests.cli.in_process import Command
from tests.conftest import RunningService
from tests.models.embedding import SHAPE, write_embedding_model
from tests.own_models.folders import digests

MODULES = ["Transformer", "Pooling", "Normalize"]


@pytest.fixture
def foundry(settled: Command) -> Command:
    """The command line, without a process for each command."""
    return settled


@pytest.fixture(scope="module")
def embedder(service: RunningService) -> RunningService:
    """The service, with the model `vectors`, which lies in the cache without a manifest."""
    write_embedding_model(service.paths.default_cache / "Tests" / "vectors-1", name="vectors:1")
    return service


def test_a_folder_is_added_listed_and_tested(foundry: Command, tmp_path: Path) -> None:
    folder = write_embedding_model(tmp_path / "my model", pooling="mean", modules=MODULES)
    added = foundry("model", "add", str(folder), "--name", "meaning:3", "--alias", "m")
    assert added.code == 0, added.stderr
    assert added.stdout.splitlines()[-1] == "It makes embeddings: programs send texts to /v1/embeddings with the model 'm'."
    assert added.stderr.splitlines() == ["Checking the model...", "Copying the files..."]
    copied = tmp_path / "home" / "cache" / "models" / "Local" / "meaning-3"
    kept = {path: digest for path, digest in digests(folder).items() if path != "inference_model.json"}
    assert kept.items() <= digests(copied).items()
    assert "1_Pooling/config.json" in kept
    (listed,) = json.loads(foundry("model", "list", "--type", "embedding", "--output", "json").stdout)["models"]
    assert (listed["id"], listed["type"], listed["task"], listed["supportsToolCalling"]) == (
        "meaning:3", "Embedding", "embeddings", False,
    )  # fmt: skip
    tested = foundry("model", "test", "m")
    assert tested.code == 0, tested.stdout
    assert "6 passed" in tested.stdout.splitlines()[-1]
    assert read_verdicts(Paths(tmp_path / "home"))["meaning:3"].verdict == "passed"


@pytest.mark.slow
def test_a_model_that_could_write_is_told_by_the_files_beside_it(foundry: Command, tmp_path: Path) -> None:
    shape = replace(SHAPE, gives=("hidden_states", "logits"))
    folder = write_embedding_model(tmp_path / "both", shape, pooling="lasttoken", modules=MODULES)
    assert foundry("model", "add", str(folder)).code == 0
    listed = json.loads(foundry("model", "info", "embedder", "--output", "json").stdout)["model"]
    assert listed["type"] == "Embedding"
    assert foundry("model", "test", "embedder").code == 0


@pytest.mark.slow
def test_vectors_that_are_not_scaled_are_no_fault(foundry: Command, tmp_path: Path) -> None:
    folder = write_embedding_model(tmp_path / "plain", pooling="lasttoken", modules=["Transformer", "Pooling"])
    assert foundry("model", "add", str(folder)).code == 0
    tested = foundry("model", "test", "embedder")
    assert tested.code == 0, tested.stdout
    assert "not scaled" in tested.stdout


def test_a_part_that_is_not_computed_is_refused_before_anything_is_copied(foundry: Command, tmp_path: Path) -> None:
    folder = write_embedding_model(tmp_path / "dense", pooling="mean", modules=[*MODULES, "Dense"])
    output = foundry("model", "add", str(folder))
    assert (output.code, output.stdout) == (1, "")
    assert "names a part 'Dense', which is not computed here" in output.stderr
    assert not list((tmp_path / "home").rglob("*.onnx"))


@pytest.mark.parametrize(
    "arguments",
    [("model", "run", "vectors", "--prompt", "Hi"), ("run", "vectors", "--prompt", "Hi"), ("complete", "vectors", "Hi"),
     ("model", "bench", "vectors")],
    ids=" ".join,
)  # fmt: skip
def test_where_text_is_wanted_the_way_out_is_one_line(
    foundry: Command, embedder: RunningService, arguments: tuple[str, ...]
) -> None:
    output = foundry(*arguments, home=embedder.paths.home)
    assert (output.code, output.stdout) == (2, "")
    assert output.stderr == (
        "Exception: The model vectors:1 makes embeddings only, so nobody can talk to it. Programs send texts for it to "
        "/v1/embeddings; 'foundry model list --type chat' shows models to talk to.\n"
    )


def test_a_folder_in_the_cache_is_loaded_shown_and_unloaded(foundry: Command, embedder: RunningService) -> None:
    home = embedder.paths.home
    info = foundry("model", "info", "vectors", home=home).stdout
    assert "embeddings, for programs that send texts to /v1/embeddings" in info
    assert foundry("model", "load", "vectors", home=home).code == 0
    assert any(
        line.split()[-2:] == ["vectors:1", "embedding"] for line in foundry("service", "ps", home=home).stdout.splitlines()
    )
    assert foundry("model", "unload", "vectors", home=home).code == 0
    listed = httpx.get(f"{embedder.url}/foundry/list").json()
    entries = listed["models"] if isinstance(listed, dict) else listed
    assert {entry["task"] for entry in entries if entry["name"] == "vectors:1"} == {"embeddings"}

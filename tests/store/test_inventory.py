"""Looking models up by name, and filters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundry_cli.catalog.catalog import Catalog
from foundry_cli.errors import InvalidRequestError, ModelNotFoundError
from foundry_cli.inventory import Inventory, filter_models
from foundry_cli.types import ModelInfo


class FixedSource:
    """A catalog source with a list."""

    def __init__(self, *models: ModelInfo) -> None:
        self._models = models

    def models(self) -> list[ModelInfo]:
        """The list."""
        return list(self._models)


CATALOG = Catalog(
    [
        FixedSource(
            ModelInfo("Phi-4-cpu", 1, "phi-4", license="MIT", context_length=4096, uri="catalog://phi"),
            ModelInfo("Phi-4-cpu", 2, "phi-4"),
            ModelInfo("Phi-4-cuda-gpu", 2, "phi-4", device="GPU", execution_provider="CUDAExecutionProvider"),
            ModelInfo("qwen-cpu", 1, "qwen", task="embeddings"),
        )
    ]
)


def cached(cache: Path, name: str) -> Path:
    """Put a model into the cache."""
    directory = cache / name.replace(":", "-")
    directory.mkdir(parents=True)
    (directory / "genai_config.json").write_text("{}")
    (directory / "inference_model.json").write_text(json.dumps({"Name": name}))
    return directory


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Phi-4-cpu:1", "Phi-4-cpu:1"),
        ("PHI-4-CPU:1", "Phi-4-cpu:1"),
        ("phi-4-cpu", "Phi-4-cpu:2"),
        ("phi-4", "Phi-4-cuda-gpu:2"),
        ("  Phi-4 ", "Phi-4-cuda-gpu:2"),
        ("qwen", "qwen-cpu:1"),
    ],
)
def test_lookup(tmp_path: Path, name: str, expected: str) -> None:
    assert Inventory(tmp_path, CATALOG).resolve(name).id == expected


def test_a_device_narrows_an_alias(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path, CATALOG)
    assert inventory.resolve("phi-4", "CPU").id == "Phi-4-cpu:2"
    with pytest.raises(ModelNotFoundError):
        inventory.resolve("phi-4", "NPU")


def test_what_is_on_this_machine_comes_first(tmp_path: Path) -> None:
    cached(tmp_path, "phi-4-CPU:1")
    inventory = Inventory(tmp_path, CATALOG)
    assert inventory.resolve("phi-4").id == inventory.resolve("phi-4-cpu").id == "Phi-4-cpu:1"
    assert inventory.resolve("phi-4-cpu:2").id == "Phi-4-cpu:2"


def test_the_catalog_describes_what_the_cache_has(tmp_path: Path) -> None:
    directory = cached(tmp_path, "phi-4-CPU:1")
    model = Inventory(tmp_path, CATALOG).resolve("phi-4-cpu:1")
    assert (model.path, model.is_cached, model.license, model.alias) == (directory, True, "MIT", "phi-4")
    assert (model.context_length, model.uri) == (4096, "catalog://phi")
    assert model.size_bytes > 0


def test_models_are_in_order(tmp_path: Path) -> None:
    cached(tmp_path, "own:3")
    found = [model.id for model in Inventory(tmp_path, CATALOG).models()]
    assert found == ["own:3", "Phi-4-cuda-gpu:2", "Phi-4-cpu:2", "Phi-4-cpu:1", "qwen-cpu:1"]


def test_the_bundled_model_is_always_there(tmp_path: Path) -> None:
    model = Inventory(tmp_path / "none").resolve("foundry-guide")
    assert model.is_bundled
    assert model.is_cached


@pytest.mark.parametrize(
    ("name", "near"), [("phi4", "'phi-4'"), ("phi-4-cpu:9", "'Phi-4-cpu'"), ("quen", "'qwen'"), ("phi", "'phi-4'")]
)
def test_suggestions(tmp_path: Path, name: str, near: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Inventory(tmp_path, CATALOG).resolve(name)
    assert near in (caught.value.hint or "")
    assert caught.value.param == "model"


@pytest.mark.parametrize("name", ["", "zzz", "x" * 100_000, "\n\x1b[31m", "../../etc/passwd"])
def test_names_of_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        Inventory(tmp_path, CATALOG).resolve(name)
    assert "Did you mean" not in (caught.value.hint or "")
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("device=gpu", 1), ("device=!GPU", 3), (" Device = cpu ", 3), ("provider=CUDAExecutionProvider", 1),
        ("provider=none", 0), ("task=embeddings", 1), ("task=!embeddings", 3), ("alias=phi-4", 3), ("alias=PHI*", 3),
        ("alias=*", 4), ("alias=!q*", 3),
    ],
)  # fmt: skip
def test_filters(tmp_path: Path, text: str, count: int) -> None:
    assert len(filter_models(Inventory(tmp_path, CATALOG).models(), text)) == count


@pytest.mark.parametrize("text", ["", "device", "device=", "device=!", "device=tpu", "size=3", "=x"])
def test_wrong_filters(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        filter_models(Inventory(tmp_path, CATALOG).models(), text)
    assert caught.value.param == "filter"

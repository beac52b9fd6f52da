"""Looking models up by name, and filters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundry_cli.catalog.catalog import Catalog
from foundry_cli.catalog.sources.base import SourceState
from foundry_cli.errors import CacheError, InvalidRequestError, ModelInvalidError, ModelNotFoundError
from foundry_cli.inventory import COMPLETE, DAMAGED, PARTIAL, Inventory, check_sound, filter_models, way_out
from foundry_cli.store.cache_marker import MARKER, mark_cache
from foundry_cli.types import ModelInfo
from tests.store.managed import add_managed
from tests.store.model_directories import add_downloaded


class FixedSource:
    """A catalog source with a list."""

    name = "fixed"
    location = "here"

    def __init__(self, *models: ModelInfo) -> None:
        self._models = models

    def models(self) -> list[ModelInfo]:
        """The list."""
        return list(self._models)

    def state(self) -> SourceState:
        """Nothing of interest."""
        return SourceState(self.name, self.location, len(self._models), None)


CATALOG = Catalog(
    [
        FixedSource(
            ModelInfo("Phi-4-cpu", 1, "phi-4", license="MIT", context_length=4096, uri="catalog://phi"),
            ModelInfo("Phi-4-cpu", 2, "phi-4"),
            ModelInfo("Phi-4-cuda-gpu", 2, "phi-4", device="GPU", execution_provider="CUDAExecutionProvider"),
            ModelInfo("qwen-cpu", 1, "qwen", task="embeddings", source="azure"),
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
    for name in ("phi-4", "Phi-4-cpu", "Phi-4-cpu:2"):
        with pytest.raises(ModelNotFoundError, match="has no variant for the device NPU"):
            inventory.resolve(name, "NPU")
    assert inventory.resolve("Phi-4-cpu:2", "CPU").id == "Phi-4-cpu:2"


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


def partial(cache: Path, folder: str) -> Path:
    """A download that is not complete."""
    root = cache / folder
    root.mkdir(parents=True)
    (root / "download.tmp").touch()
    return root


def test_a_variant_that_runs_here_comes_first(tmp_path: Path) -> None:
    def no_gpu(model: ModelInfo) -> str:
        return "no GPU" if model.device == "GPU" else ""

    inventory = Inventory(tmp_path, CATALOG)
    assert inventory.resolve("phi-4", None, no_gpu).id == "Phi-4-cpu:2"
    cached(tmp_path, "Phi-4-cuda-gpu:2")
    assert inventory.resolve("phi-4").id == "Phi-4-cuda-gpu:2"
    assert inventory.resolve("phi-4", None, no_gpu).id == "Phi-4-cpu:2"  # better fetched than what cannot run
    assert inventory.resolve("phi-4-cuda-gpu:2", None, no_gpu).id == "Phi-4-cuda-gpu:2"
    cached(tmp_path, "Phi-4-cpu:1")
    assert inventory.resolve("phi-4", None, no_gpu).id == "Phi-4-cpu:1"


def test_everything_on_this_machine_with_its_state(tmp_path: Path) -> None:
    cached(tmp_path, "own:1")
    (add_managed(tmp_path, "Phi-4-cpu:1") / "v1" / "model.onnx").unlink()
    partial(tmp_path, "P/qwen-cpu-1")
    partial(tmp_path, "stranger-7")
    entries = {entry.model.id: entry for entry in Inventory(tmp_path, CATALOG).contents().entries}
    states = {model_id: entry.state for model_id, entry in entries.items()}
    assert states == {"own:1": COMPLETE, "Phi-4-cpu:1": DAMAGED, "qwen-cpu:1": PARTIAL, "stranger:7": PARTIAL}
    assert (entries["Phi-4-cpu:1"].model.alias, entries["Phi-4-cpu:1"].model.is_cached) == ("phi-4", False)
    assert entries["qwen-cpu:1"].model.alias == "qwen"


@pytest.mark.parametrize("name", ["qwen-cpu:1", "QWEN-CPU", "qwen", "qwen-cpu-1", "P/qwen-cpu-1", "p/qwen-cpu-1/"])
def test_what_is_here_is_found_by_all_its_names(tmp_path: Path, name: str) -> None:
    root = partial(tmp_path, "P/qwen-cpu-1")
    (entry,) = Inventory(tmp_path, CATALOG).find_entries(name)
    assert (entry.state, entry.model.root) == (PARTIAL, root)


def test_of_an_alias_the_complete_variant_is_meant_and_all_its_copies(tmp_path: Path) -> None:
    partial(tmp_path, "Phi-4-cuda-gpu-2")
    for place in ("a", "b"):
        cached(tmp_path / place, "Phi-4-cpu:1")
    found = Inventory(tmp_path, CATALOG).find_entries("phi-4")
    assert [(entry.model.id, entry.state) for entry in found] == [("Phi-4-cpu:1", COMPLETE)] * 2
    (found_by_device,) = Inventory(tmp_path, CATALOG).find_entries("phi-4", "GPU")
    assert found_by_device.state == PARTIAL


@pytest.mark.parametrize("name", ["qwen", "nothing"])
def test_what_is_not_here_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        Inventory(tmp_path, CATALOG).find_entries(name)


def test_a_complete_copy_counts_before_a_damaged_one(tmp_path: Path) -> None:
    (add_managed(tmp_path / "a", "Phi-4-cpu:1") / "v1" / "model.onnx").unlink()
    root = add_managed(tmp_path / "b", "Phi-4-cpu:1")
    model = Inventory(tmp_path, CATALOG).resolve("phi-4-cpu:1")
    assert (model.root, model.problem) == (root, "")


def test_a_damaged_model_is_not_cached_and_says_why(tmp_path: Path) -> None:
    (add_managed(tmp_path, "mine:1") / "v1" / "model.onnx").unlink()
    model = Inventory(tmp_path, CATALOG).resolve("mine")
    assert (model.is_cached, model.problem) == (False, "v1/model.onnx is missing")


@pytest.mark.parametrize("name", ["stranger:7", "Stranger"])
def test_a_download_that_no_catalog_knows_is_explained(tmp_path: Path, name: str) -> None:
    partial(tmp_path, "P/stranger-7")
    with pytest.raises(ModelInvalidError, match="stranger:7 is not complete"):
        Inventory(tmp_path, CATALOG).resolve(name)


def test_a_cache_that_is_not_mounted_takes_only_its_own_models_away(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    identity = mark_cache(cache)
    cached(cache, "own:1")
    assert Inventory(cache, cache_id=identity).resolve("own").is_cached
    cache.rename(tmp_path / "away")
    inventory = Inventory(cache, cache_id=identity)
    for _ in range(2):  # first it is missing, then it is an empty mount point
        assert [model.alias for model in inventory.models()] == ["foundry-guide"]
        assert inventory.resolve("foundry-guide").is_cached
        contents = inventory.contents()
        assert [entry.model.alias for entry in contents.entries] == ["foundry-guide"]
        assert "is not available" in contents.problems[0]
        for look in (inventory.resolve, inventory.find_entries):
            with pytest.raises(CacheError, match="is not available"):
                look("own")
        with pytest.raises(CacheError):
            inventory.require_cache()
        assert not list(cache.glob("*"))
        cache.mkdir(exist_ok=True)
    (cache / MARKER).write_text("0" * 32)  # another cache
    assert inventory.cache_problem() is not None


def test_a_marker_is_kept_by_those_who_share_a_cache(tmp_path: Path) -> None:
    identity = mark_cache(tmp_path)
    assert mark_cache(tmp_path) == identity
    assert (tmp_path / MARKER).read_text() == identity
    (tmp_path / MARKER).write_text("something else")
    assert mark_cache(tmp_path) != identity


def test_a_marker_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="cannot be written"):
        mark_cache(tmp_path / "file")


def test_what_comes_with_the_program_counts_before_a_copy_of_it(tmp_path: Path) -> None:
    root = cached(tmp_path, "foundry-guide-generic-cpu:1")
    inventory = Inventory(tmp_path)
    assert [(model.is_bundled, model.root == root) for model in inventory.models()] == [(True, False)]
    assert [entry.model.is_bundled for entry in inventory.find_entries("foundry-guide")] == [True, False]


def test_a_directory_that_was_set_must_be_there(tmp_path: Path) -> None:
    assert Inventory(tmp_path / "none").cache_problem() is None
    problem = Inventory(tmp_path / "none", is_set=True).cache_problem()
    assert problem is not None
    assert "the directory is missing" in problem.message
    assert Inventory(tmp_path, is_set=True).cache_problem() is None


def test_a_damaged_model_is_refused_with_its_file_and_a_way_that_leads_on(tmp_path: Path) -> None:
    for source, way in (("azure", "cache repair m:1"), ("local", "cannot be repaired")):
        root = add_managed(tmp_path / source, "m:1", source=source)
        check_sound(Inventory(tmp_path / source).resolve("m:1"))
        (root / "v1" / "model.onnx").unlink()
        with pytest.raises(ModelInvalidError, match=r"v1/model\.onnx is missing") as caught:
            check_sound(Inventory(tmp_path / source).resolve("m:1"))
        assert way in (caught.value.hint or "")


def test_a_way_out_of_an_unfinished_work_does_not_lead_in_a_circle(tmp_path: Path) -> None:
    partial(tmp_path, "P/qwen-cpu-1")
    partial(tmp_path, "stranger-7")
    hints = {e.model.id: way_out(e.model, e.state) for e in Inventory(tmp_path, Catalog([])).contents().entries}
    assert not any("model download stranger" in hint for hint in hints.values())
    (entry,) = Inventory(tmp_path, CATALOG).find_entries("stranger")
    assert "Run the command that began it again" in way_out(entry.model, entry.state)
    with pytest.raises(ModelInvalidError) as caught:
        Inventory(tmp_path, CATALOG).resolve("stranger")
    assert caught.value.hint == way_out(entry.model, entry.state)


def test_a_version_that_no_catalog_lists_any_more_keeps_its_alias(tmp_path: Path) -> None:
    folder = cached(tmp_path, "Phi-4-cuda-gpu:1")
    inventory = Inventory(tmp_path, CATALOG)
    model = inventory.resolve("phi-4")
    assert (model.id, model.path, model.device, model.alias) == ("Phi-4-cuda-gpu:1", folder, "GPU", "phi-4")
    assert (model.source, model.uri) == ("local", "local://Phi-4-cuda-gpu")  # nobody can be asked for it
    assert inventory.resolve("Phi-4-cuda-gpu:2").path is None
    assert [entry.model.alias for entry in inventory.contents().entries] == ["phi-4"]


def test_a_catalog_does_not_take_an_own_model_over(tmp_path: Path) -> None:
    own = ModelInfo("phi-4-cpu", 1, "mine", license="none", uri="local://phi-4-cpu")
    root = add_downloaded(tmp_path, own)
    inventory = Inventory(tmp_path, CATALOG)
    assert inventory.resolve("mine").license == inventory.resolve("Phi-4-cpu:1").license == "none"
    (root / "v1" / "model.onnx").unlink()
    (entry,) = inventory.contents().entries
    assert (entry.state, entry.model.source) == (DAMAGED, "local")
    assert "cannot be repaired" in way_out(entry.model, entry.state)


def test_a_download_of_another_source_describes_itself(tmp_path: Path) -> None:
    other = ModelInfo("Phi-4-cpu", 1, "office-phi", uri="office://phi", source="office")
    add_downloaded(tmp_path, other)
    same = ModelInfo("qwen-cpu", 1, "old-alias", uri="", source="azure")
    add_downloaded(tmp_path, same)
    inventory = Inventory(tmp_path, CATALOG)
    assert inventory.resolve("Phi-4-cpu:1").alias == "office-phi"
    assert inventory.resolve("qwen-cpu:1").alias == "qwen"  # of the same, what the catalog says now


WITHOUT_LOGITS = {"model": {"decoder": {"filename": "model.onnx", "outputs": {"present_key_names": "present.%d.key"}}}}


@pytest.mark.parametrize("name", ["Phi-4-cpu:1", "Phi-4-cpu:7", "other:1"])
def test_a_model_whose_graph_gives_no_logits_makes_embeddings_whatever_the_catalog_says(tmp_path: Path, name: str) -> None:
    (cached(tmp_path, name) / "genai_config.json").write_text(json.dumps(WITHOUT_LOGITS))
    found = Inventory(tmp_path, CATALOG).resolve(name)
    assert found.makes_embeddings
    assert found.is_cached


def test_what_a_catalog_says_of_a_model_with_logits_counts(tmp_path: Path) -> None:
    cached(tmp_path, "qwen-cpu:1")
    assert Inventory(tmp_path, CATALOG).resolve("qwen").makes_embeddings
    cached(tmp_path, "Phi-4-cpu:2")
    assert not Inventory(tmp_path, CATALOG).resolve("Phi-4-cpu:2").makes_embeddings

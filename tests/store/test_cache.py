"""Finding models in the cache directory, whatever else is there, and removing them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.errors import CacheError
from foundry_cli.store import cache as model_cache
from foundry_cli.store.cache import check_writable, plan_removal, remove, scan_cache, sweep_trash


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache directory."""
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


def add(cache: Path, place: str, description: Any = None, config: Any = None) -> Path:
    """A directory that looks like a model."""
    directory = cache / place
    directory.mkdir(parents=True)
    for name, content in (("inference_model.json", description), ("genai_config.json", config)):
        text = content if isinstance(content, str) else json.dumps({} if content is None else content)
        (directory / name).write_text(text)
    return directory


def ids(cache: Path) -> list[str]:
    """What the scan finds."""
    return [model.id for model in scan_cache(cache)]


@pytest.mark.parametrize(
    ("place", "publisher"),
    [("model", ""), ("Microsoft/model", "Microsoft"), ("Microsoft/model-1/v4", "Microsoft"), ("A/b/c/d/e/f/g", "A")],
)
def test_models_are_found_at_any_level(cache: Path, place: str, publisher: str) -> None:
    template = {"prompt": "{Content}", "odd": 5}
    directory = add(cache, place, {"Name": "Phi-4:2", "PromptTemplate": template}, {"model": {"context_length": 4096}})
    (directory / "weights.onnx").write_bytes(b"x" * 1000)
    (model,) = scan_cache(cache)
    assert (model.id, model.alias, model.publisher, model.path) == ("Phi-4:2", "Phi-4", publisher, directory)
    assert (model.context_length, model.prompt_template, model.device) == (4096, {"prompt": "{Content}"}, "CPU")
    assert model.size_bytes == sum(file.stat().st_size for file in directory.iterdir())
    assert model.execution_provider == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("name", "device"),
    [("m-generic-cpu:1", "CPU"), ("m-cuda-gpu:1", "GPU"), ("M-GENERIC-GPU:1", "GPU"), ("m-qnn-npu:1", "NPU"), ("m", "CPU")],
)
def test_the_device_is_in_the_name(cache: Path, name: str, device: str) -> None:
    add(cache, "model", {"Name": name})
    assert scan_cache(cache)[0].device == device


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"Name": "m"}, "m:0"),
        ({"Name": "m:007"}, "m:7"),
        ({"Name": "m:x"}, "m:x:0"),
        ({"Name": ":3"}, ":3:0"),
        ({}, "folder:0"),
        ({"Name": ""}, "folder:0"),
        ({"Name": 5}, "folder:0"),
        ({"Name": {"a": 1}}, "folder:0"),
        ({"Name": "\ud800"}, "folder:0"),
        ({"Name": "a\x1b[31m\nb\ud800\u202e:1"}, "a[31mb:1"),
        ({"Name": "x" * 1000}, "x" * 256 + ":0"),
        ("{ broken", "folder:0"),
        ("[]", "folder:0"),
        ("[" * 100_000, "folder:0"),
        ('{"Name": "m"' + " " * (2 << 20) + "}", "folder:0"),
    ],
)
def test_names(cache: Path, description: Any, expected: str) -> None:
    add(cache, "folder", description, "{ broken too")
    assert ids(cache) == [expected]
    json.dumps(expected).encode()


@pytest.mark.parametrize("length", [None, "4096", True, 0, -1, 1.5, [], {}])
def test_a_context_length_that_is_none(cache: Path, length: Any) -> None:
    add(cache, "folder", {"Name": "m"}, {"model": {"context_length": length}})
    assert scan_cache(cache)[0].context_length is None


def test_what_is_not_a_model(cache: Path, tmp_path: Path) -> None:
    outside = add(tmp_path, "outside", {"Name": "outside:1"})
    (cache / "link").symlink_to(outside)
    (cache / "notes.txt").write_text("mine")
    (cache / "half").mkdir()
    (cache / "half" / "genai_config.json").write_text("{}")
    (add(cache, "loading", {"Name": "loading:1"}) / "download.tmp").touch()
    add(cache, ".foundry-trash-1", {"Name": "trash:1"})
    add(cache, "1/2/3/4/5/6/7/8/9", {"Name": "deep:1"})
    for name in ("genai_config.json", "inference_model.json"):
        (cache / name).write_text("{}")  # the cache itself is not a model
    assert ids(cache) == []


@pytest.mark.parametrize("name", ["inference_model.json", "genai_config.json"])
def test_descriptions_that_are_not_files(cache: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"Name": "secret:1", "model": {"context_length": 7}}))
    places = [add(cache, f"folder-{number}", {"Name": f"m{number}:1"}) / name for number in range(3)]
    for place in places:
        place.unlink()
    os.mkfifo(places[0])
    places[1].mkdir()
    places[2].symlink_to(secret)
    found = scan_cache(cache)  # returns: nobody waits for a writer
    assert len(found) == 3
    assert not [model for model in found if model.name == "secret" or model.context_length]


def test_names_of_folders_that_are_not_unicode(cache: Path) -> None:
    directory = os.fsencode(cache) + b"/pub\xff/mod\xfe"
    os.makedirs(directory)
    for name in (b"genai_config.json", b"inference_model.json"):
        with open(directory + b"/" + name, "w") as stream:
            stream.write("{}")
    (model,) = scan_cache(cache)
    assert (model.id, model.publisher) == ("mod:0", "pub")
    assert model.path is not None
    assert os.fsencode(model.path) == directory


def test_a_prompt_template_that_is_not_unicode(cache: Path) -> None:
    add(cache, "m", '{"PromptTemplate": {"prompt": "\\ud800{Content}"}}')
    assert scan_cache(cache)[0].prompt_template == {"prompt": "?{Content}"}


def test_a_cache_that_is_missing_or_not_a_directory(tmp_path: Path) -> None:
    assert scan_cache(tmp_path / "none") == []
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / ("x" * 300)):
        with pytest.raises(CacheError, match="cannot be read"):
            scan_cache(place)
        sweep_trash(place)


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is unreadable for root")
def test_an_unreadable_folder_hides_only_itself(cache: Path) -> None:
    add(cache, "a", {"Name": "a:1"}).chmod(0)
    add(cache, "b", {"Name": "b:1"})
    assert ids(cache) == ["b:1"]
    (cache / "a").chmod(0o700)


def test_removal_leaves_what_is_not_the_model(cache: Path) -> None:
    add(cache, "P/model-1/v1", {"Name": "model:1"})
    add(cache, "P/other/v1", {"Name": "other:1"})
    (model,) = [model for model in scan_cache(cache) if model.name == "model"]
    plan = plan_removal(model, cache)
    assert plan.size_bytes == model.size_bytes
    remove(plan, cache)
    assert ids(cache) == ["other:1"]
    assert sorted(entry.name for entry in cache.iterdir()) == ["P"]
    assert [entry.name for entry in (cache / "P").iterdir()] == ["other"]
    with pytest.raises(CacheError, match="cannot be removed"):
        remove(plan, cache)


def test_removal_keeps_folders_with_other_files(cache: Path) -> None:
    add(cache, "P/model/v1", {"Name": "model:1"})
    (cache / "P" / "notes.txt").write_text("mine")
    (model,) = scan_cache(cache)
    remove(plan_removal(model, cache), cache)
    assert (cache / "P" / "notes.txt").read_text() == "mine"
    assert not (cache / "P" / "model").exists()


def test_removal_does_not_follow_links(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (add(cache, "model", {"Name": "model:1"}) / "link").symlink_to(tmp_path / "mine")
    (model,) = scan_cache(cache)
    remove(plan_removal(model, cache), cache)
    assert list(cache.iterdir()) == []
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_only_what_is_in_the_cache_is_removed(cache: Path, tmp_path: Path) -> None:
    add(tmp_path / "elsewhere", "model", {"Name": "model:1"})
    (model,) = scan_cache(tmp_path / "elsewhere")
    for place in (cache, tmp_path / "elsewhere" / "model"):
        with pytest.raises(CacheError, match="not in the cache"):
            plan_removal(model, place)


def test_trash_is_swept(cache: Path, tmp_path: Path) -> None:
    add(cache, ".foundry-trash-1/deep", {})
    add(cache, "model", {"Name": "model:1"})
    add(tmp_path, "mine", {})
    (cache / ".foundry-trash-2").symlink_to(tmp_path / "mine")
    sweep_trash(cache)
    assert not (cache / ".foundry-trash-1").exists()
    assert ids(cache) == ["model:1"]
    assert (tmp_path / "mine" / "genai_config.json").exists()
    sweep_trash(tmp_path / "none")


def test_a_directory_for_the_cache(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "cache")
    assert list((tmp_path / "new" / "cache").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="cannot be used"):
        check_writable(tmp_path / "file" / "cache")


def test_sizes_of_links_count_nothing_of_their_target(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    (cache / "link").symlink_to(tmp_path / "large")
    assert model_cache.directory_size(cache) < 1000

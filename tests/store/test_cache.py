"""Finding models in the cache directory, whatever else is there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import CacheError, ModelInvalidError
from foundry_cli.inventory import check_sound
from foundry_cli.store.cache import PartialModel, check_writable, directory_size, scan, scan_cache
from foundry_cli.store.journal import Journal
from foundry_cli.store.manifest import CHUNKS, MANIFEST
from foundry_cli.types import ModelInfo
from tests.store.managed import WEIGHTS, add_managed, manage


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


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is unreadable for root")
def test_an_unreadable_folder_hides_only_itself(cache: Path) -> None:
    add(cache, "a", {"Name": "a:1"}).chmod(0)
    add(cache, "b", {"Name": "b:1"})
    assert ids(cache) == ["b:1"]
    assert "cannot be read" in scan(cache).problems[0]
    (cache / "a").chmod(0o700)


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is unreadable for root")
def test_what_cannot_be_read_is_no_damage(cache: Path) -> None:
    root = add_managed(cache, "tiny:1")
    (root / MANIFEST).chmod(0)
    with pytest.raises(ModelInvalidError, match=r"manifest\.json cannot be read: Permission denied") as raised:
        check_sound(scan_cache(cache)[0])
    assert "Check the disk, and who may read" in str(raised.value.hint)
    (root / MANIFEST).chmod(0o600)


def test_a_directory_for_the_cache(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "cache")
    assert list((tmp_path / "new" / "cache").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="cannot be used"):
        check_writable(tmp_path / "file" / "cache")


def test_sizes_of_links_count_nothing_of_their_target(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    (cache / "link").symlink_to(tmp_path / "large")
    assert directory_size(cache) < 1000


def test_a_manifest_says_what_a_model_is(cache: Path) -> None:
    root = add_managed(cache, "Phi-4:2", alias="phi", context_length=99)
    (model,) = scan_cache(cache)
    assert (model.id, model.alias, model.license, model.source, model.context_length) == ("Phi-4:2", "phi", "MIT", "azure", 99)
    assert (model.root, model.path, model.problem) == (root, root / "v1", "")
    assert model.size_bytes == sum(file.stat().st_size for file in (root / "v1").iterdir())


def test_files_directly_in_the_root_and_foreign_files_beside_them(cache: Path) -> None:
    root = add(cache, "P/model-1", {"Name": "model:1"})
    manage(root, ModelInfo("model", 1, "model"))
    (root / "notes.txt").write_text("mine")
    (model,) = scan_cache(cache)
    assert (model.path, model.root, model.size_bytes) == (root, root, 2 + len(json.dumps({"Name": "model:1"})))


def test_a_list_reads_no_digests_of_chunks(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    (root / CHUNKS).unlink()
    os.mkfifo(root / CHUNKS)  # who reads it waits for ever
    assert ids(cache) == ["m:1"]


def test_below_a_download_there_is_no_model(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    (root / "download.tmp").touch()
    add(cache, "Tests/m-1/v2/deeper", {"Name": "deeper:1"})
    (add(cache, "original-3/v3", {"Name": "original:3"}).parent / "download.tmp").touch()
    found = scan(cache)
    assert found.models == ()
    assert [(partial.id, partial.root) for partial in found.partials] == [("m:1", root), ("original:3", cache / "original-3")]


@pytest.mark.parametrize("marker", ["download.tmp", "model.onnx.data.dlstate"])
def test_markers_of_the_original(cache: Path, marker: str) -> None:
    directory = add(cache, "Microsoft/phi-4-cpu-7", {"Name": "phi-4-cpu:7"})
    for name in (marker, ".download.lock", ".download.progress"):
        (directory / name).touch()
    (partial,) = scan(cache).partials
    assert (partial.id, partial.total_bytes) == ("phi-4-cpu:7", None)
    assert ids(cache) == []


def test_a_journal_tells_how_much_is_there(cache: Path) -> None:
    root = cache / "Tests" / "m-1"
    root.mkdir(parents=True)
    (root / "download.tmp").touch()
    journal = Journal(root)
    journal.begin("v1/model.onnx", 3 * CHUNK_BYTES, "", "")
    journal.begin("v1/genai_config.json", 10, "", "")
    journal.add_chunk("v1/model.onnx", 1, "0" * 16)
    journal.publish("v1/genai_config.json", "0" * 64)
    journal.close()
    assert scan(cache).partials == (PartialModel("m:1", root, CHUNK_BYTES + 10, 3 * CHUNK_BYTES + 10),)


def test_without_a_journal_blocks_count_and_not_lengths(cache: Path) -> None:
    root = cache / "m-1"
    root.mkdir()
    (root / "download.tmp").touch()
    with (root / "model.onnx").open("wb") as stream:
        stream.truncate(1 << 30)  # as the original does before it begins
        stream.write(b"x" * 100_000)
    (partial,) = scan(cache).partials
    assert 100_000 <= partial.done_bytes < 1 << 20


def _truncate(file: Path) -> None:
    os.truncate(file, 5)


def _append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"x")


def _link(file: Path) -> None:
    file.rename(file.parents[4] / "elsewhere")
    file.symlink_to(file.parents[4] / "elsewhere")


def _directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _socket(file: Path) -> None:
    file.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(file))


def _linked_folder(file: Path) -> None:
    file.parent.rename(file.parents[4] / "elsewhere")
    file.parent.symlink_to(file.parents[4] / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Path.unlink, "v1/model.onnx is missing"),
        (_truncate, f"v1/model.onnx has 5 bytes instead of {len(WEIGHTS)}"),
        (_append, f"v1/model.onnx has {len(WEIGHTS) + 1} bytes instead of {len(WEIGHTS)}"),
        (_link, "v1/model.onnx is not a plain file"),
        (_directory, "v1/model.onnx is not a plain file"),
        (_pipe, "v1/model.onnx is not a plain file"),
        (_socket, "v1/model.onnx is not a plain file"),
        (_linked_folder, "v1 is not a folder"),
    ],
)
def test_a_damaged_model_is_known_and_cannot_be_used(
    cache: Path, damage: Callable[[Path], None], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = add_managed(cache, "m:1")
    monkeypatch.chdir(root)  # the address of a socket must be short
    damage(root / "v1" / "model.onnx")
    (model,) = scan_cache(cache)
    assert (model.id, model.problem, model.path, model.root) == ("m:1", problem, None, root)


@pytest.mark.parametrize(
    "content", ["", "{ broken", "[]", '{"version": 9}', '{"version": 1, "model": {"id": "m:1"}, "files": 3}']
)
def test_a_manifest_that_cannot_be_used(cache: Path, content: str) -> None:
    root = add_managed(cache, "m:1")
    (root / MANIFEST).write_text(content)
    (model,) = scan_cache(cache)
    assert (model.id, model.problem, model.path) == ("m:1", f"{MANIFEST} cannot be used", None)


def test_a_manifest_that_names_files_elsewhere(cache: Path, tmp_path: Path) -> None:
    root = add_managed(cache, "m:1")
    text = (root / MANIFEST).read_text().replace("v1/model.onnx", "../../outside")
    (root / MANIFEST).write_text(text)
    assert scan_cache(cache)[0].problem == f"{MANIFEST} cannot be used"


def test_without_its_manifest_a_model_is_one_that_was_put_there(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    (root / MANIFEST).unlink()
    (model,) = scan_cache(cache)
    assert (model.id, model.path, model.root, model.source) == ("m:1", root / "v1", root / "v1", "local")


def test_the_cache_directory_may_be_a_link(cache: Path, tmp_path: Path) -> None:
    add_managed(cache, "m:1")
    (tmp_path / "link").symlink_to(cache)
    assert ids(tmp_path / "link") == ["m:1"]


def test_odd_names(cache: Path) -> None:
    longest = "n" * 255
    for place in ("..a", "A", "a", longest, "new\nline"):
        add(cache, place, {})
    assert sorted(ids(cache)) == ["..a:0", "A:0", "a:0", "newline:0", f"{longest}:0"]


def test_a_hard_link_is_a_file_like_others(cache: Path) -> None:
    root = add_managed(cache, "m:1")
    (root / "v1" / "second").hardlink_to(root / "v1" / "model.onnx")
    assert ids(cache) == ["m:1"]


def test_the_record_of_a_transfer_names_the_model_by_the_folder_above(cache: Path) -> None:
    (cache / "Microsoft" / "phi-4-cpu-7" / "v4").mkdir(parents=True)
    (cache / "Microsoft" / "phi-4-cpu-7" / "v4" / "x.dlstate").touch()
    (partial,) = scan(cache).partials
    assert partial.id == "phi-4-cpu:7"


@pytest.mark.parametrize(
    ("name", "options", "device", "provider"),
    [
        ("hand", [{"cuda": {}}], "GPU", "CUDAExecutionProvider"),
        ("hand", [{"OpenVINO": {"device_type": "NPU"}}], "NPU", "OpenVINOExecutionProvider"),
        ("my-gpu-thing", [], "CPU", "CPUExecutionProvider"),
        ("thing-generic-gpu", [], "GPU", ""),
        ("thing-npu", "odd", "NPU", ""),
        ("thing", [{"cuda": "odd"}, 5], "GPU", "CUDAExecutionProvider"),
    ],
)
def test_what_a_model_without_manifest_is_made_for(
    tmp_path: Path, name: str, options: object, device: str, provider: str
) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    config = {"model": {"decoder": {"session_options": {"provider_options": options}}}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "inference_model.json").write_text(json.dumps({"Name": name}))
    (model,) = scan_cache(tmp_path)
    assert (model.device, model.execution_provider) == (device, provider)


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_a_link_to_a_model_is_named_and_not_followed(tmp_path: Path) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    cache.mkdir()
    other.mkdir()
    (other / "genai_config.json").write_text("{}")
    (other / "inference_model.json").write_text('{"Name": "other:1"}')
    (cache / "linked").symlink_to(other)
    (cache / "elsewhere").symlink_to(tmp_path)
    found = scan(cache)
    assert found.models == ()
    (problem,) = found.problems
    assert "linked is a link" in problem


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"chat_template.jinja": "{% if tools %}x{% endif %}", "tokenizer_config.json": "{}"}, True),
        ({"chat_template.jinja": "{{ messages }}", "tokenizer_config.json": '{"chat_template": "tools"}'}, False),
        ({"tokenizer_config.json": '{"chat_template": "{% if tools %}"}'}, True),
        ({}, False),
    ],
)
def test_whether_a_model_of_nobody_calls_tools(cache: Path, files: dict[str, str], expected: bool) -> None:
    directory = add(cache, "a", {"Name": "a:1"})
    for name, text in files.items():
        (directory / name).write_text(text)
    assert scan_cache(cache)[0].supports_tool_calling is expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_a_manifest_is_not_waited_for(cache: Path) -> None:
    root = add_managed(cache, "tiny:1")
    (root / MANIFEST).unlink()
    os.mkfifo(root / MANIFEST)
    (model,) = scan_cache(cache)
    assert model.problem == f"{MANIFEST} cannot be used"

"""Exporting cached models as a static mirror."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from foundry_cli.catalog.sources.mirror import LocalModel, MirrorSource, ServedModel
from foundry_cli.chunks import chunk_digest
from foundry_cli.errors import CacheError, DownloadCancelledError, IntegrityError, ModelInvalidError
from foundry_cli.http import HttpClient
from foundry_cli.store.cache import scan_cache
from foundry_cli.store.copying import copy_files
from foundry_cli.store.export import export
from foundry_cli.store.manifest import CHUNKS, MANIFEST, Manifest, first_problem, read_chunks, read_manifest
from foundry_cli.store.model_folder import ModelFolder
from foundry_cli.types import ModelInfo
from tests.fakes.nginx import NGINX, nginx, public_directory
from tests.store.model_directories import WEIGHTS, add_downloaded, write_model

MODEL = ModelInfo(
    "tiny",
    2,
    "tiny-alias",
    publisher="Tests",
    license="MIT",
    prompt_template={"user": "<{Content}>"},
    source="azure",
    uri="azureml://x",
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


def read_index(mirror: Path) -> dict[str, Any]:
    entries = json.loads((mirror / "index.json").read_bytes())["models"]
    return {entry["id"]: entry for entry in entries}


def only(mirror: Path) -> Manifest:
    manifest = read_manifest(mirror / "Tests" / "tiny-2")
    assert manifest is not None
    return manifest


def test_a_downloaded_model_becomes_a_mirror_that_lists_it(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    seen: list[tuple[int, int]] = []
    result = export(scan_cache(cache), tmp_path / "mirror", cache, lambda done, total: seen.append((done, total)))
    assert ([model.id for model in result.models], result.models_in_mirror) == (["tiny:2"], 1)
    assert result.size_bytes == seen[-1][0] == seen[-1][1]
    entry = read_index(tmp_path / "mirror")["tiny:2"]
    assert (entry["alias"], entry["license"], entry["path"]) == ("tiny-alias", "MIT", "Tests/tiny-2")
    files = {file["path"]: file["sha256"] for file in entry["files"]}
    assert sorted(files) == ["v1/genai_config.json", "v1/model.onnx"]  # whoever fetches it writes the description
    assert files["v1/model.onnx"] == hashlib.sha256(WEIGHTS).hexdigest()
    chunks = (tmp_path / "mirror" / "Tests" / "tiny-2" / CHUNKS).read_bytes()
    assert entry["chunks"] == {"size": len(chunks), "sha256": hashlib.sha256(chunks).hexdigest()}


def test_the_mirror_is_a_cache_too_with_the_same_manifest(tmp_path: Path, cache: Path) -> None:
    root = add_downloaded(cache, MODEL)
    export(scan_cache(cache), tmp_path / "mirror", cache)
    found = scan_cache(tmp_path / "mirror")
    assert [(model.id, model.alias, model.is_cached) for model in found] == [("tiny:2", "tiny-alias", True)]
    copy = tmp_path / "mirror" / "Tests" / "tiny-2"
    assert (copy / MANIFEST).read_bytes() == (root / MANIFEST).read_bytes()
    assert read_chunks(copy) == read_chunks(root)
    assert (copy / "v1" / "inference_model.json").is_file()


def test_a_model_without_manifest_is_hashed_now(tmp_path: Path, cache: Path) -> None:
    files = write_model(cache / "Microsoft" / "tiny-2", below="v3/")
    export(scan_cache(cache), tmp_path / "mirror", cache)
    entry = read_index(tmp_path / "mirror")["tiny:2"]
    assert entry["path"] == "Microsoft/tiny-2"
    assert {file["size"] for file in entry["files"]} == {len(files["v3/model.onnx"]), len(files["v3/genai_config.json"])}
    assert entry["promptTemplate"] == {"user": "<{Content}>"}
    manifest = read_manifest(tmp_path / "mirror" / "Microsoft" / "tiny-2")
    assert manifest is not None
    assert first_problem(tmp_path / "mirror" / "Microsoft" / "tiny-2", manifest) == ""


def test_everything_can_be_read_by_a_web_server_whatever_the_umask(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    before = os.umask(0o077)
    try:
        export(scan_cache(cache), tmp_path / "new" / "mirror", cache)
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path / "new"): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert len(modes) > 6
    assert modes.pop(Path("mirror/.index.json.lock")) == 0o664
    assert {mode for path, mode in modes.items() if not (tmp_path / "new" / path).is_dir()} == {0o644}
    assert {mode for path, mode in modes.items() if (tmp_path / "new" / path).is_dir()} == {0o755}


def test_a_second_export_adds_to_the_list_and_copies_nothing_twice(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    first = scan_cache(cache)
    export(first, tmp_path / "mirror", cache)
    copied = (tmp_path / "mirror" / "Tests" / "tiny-2" / "v1" / "model.onnx").stat()
    add_downloaded(cache, ModelInfo("other", 1, "other"))
    result = export([model for model in scan_cache(cache) if model.name == "other"], tmp_path / "mirror", cache)
    assert sorted(read_index(tmp_path / "mirror")) == ["other:1", "tiny:2"]
    assert result.models_in_mirror == 2
    assert export(first, tmp_path / "mirror", cache).models_in_mirror == 2
    again = (tmp_path / "mirror" / "Tests" / "tiny-2" / "v1" / "model.onnx").stat()
    assert (again.st_ino, again.st_mtime_ns) == (copied.st_ino, copied.st_mtime_ns)


def test_two_exports_at_once_are_both_listed(tmp_path: Path, cache: Path) -> None:
    mirror = tmp_path / "mirror"
    add_downloaded(cache, MODEL)
    add_downloaded(cache, replace(MODEL, version=3))
    first, second = scan_cache(cache)
    export([first], mirror, cache)
    index = (mirror / "index.json").read_bytes()
    with FileLock(mirror / ".index.json.lock"):
        (mirror / "index.json").unlink()
        other = threading.Thread(target=export, args=([second], mirror, cache))
        other.start()
        while read_manifest(mirror / second.root.relative_to(cache)) is None:  # its files are there
            time.sleep(0.005)
        (mirror / "index.json").write_bytes(index)
    other.join(30)
    assert set(read_index(mirror)) == {first.id, second.id}


def test_what_another_version_wrote_into_the_index_stays(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    mirror = tmp_path / "mirror"
    export(scan_cache(cache), mirror, cache)
    document = json.loads((mirror / "index.json").read_bytes())
    strange = [{"id": "later:1", "files": "in another form"}, {"unknown": 1}, "text"]
    known = {**document["models"][0], "id": "known:1", "name": "known", "later": [1]}
    document = {
        **document,
        "owner": "lab",
        "models": [*strange, known, {**document["models"][0], "id": "TINY:2", "name": "TINY"}],
    }
    (mirror / "index.json").write_text(json.dumps(document))
    assert export(scan_cache(cache), mirror, cache).models_in_mirror == 2
    written = json.loads((mirror / "index.json").read_bytes())
    assert written["owner"] == "lab"
    assert all(entry in written["models"] for entry in (*strange, known))
    assert [entry["id"] for entry in written["models"] if isinstance(entry, dict) and "id" in entry] == [
        "known:1",
        "later:1",
        "tiny:2",
    ]


def test_a_damaged_copy_in_the_mirror_is_mended(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    export(scan_cache(cache), tmp_path / "mirror", cache)
    copy = tmp_path / "mirror" / "Tests" / "tiny-2" / "v1" / "model.onnx"
    copy.write_bytes(bytes(len(WEIGHTS)))
    export(scan_cache(cache), tmp_path / "mirror", cache)
    assert copy.read_bytes() == WEIGHTS


def test_a_damaged_model_in_the_cache_is_not_exported(tmp_path: Path, cache: Path) -> None:
    root = add_downloaded(cache, MODEL)
    (root / "v1" / "model.onnx").write_bytes(bytes(len(WEIGHTS)))
    with pytest.raises(IntegrityError) as caught:
        export(scan_cache(cache), tmp_path / "mirror", cache)
    assert "foundry cache repair" in str(caught.value.hint)
    assert not (tmp_path / "mirror" / "index.json").exists()
    assert scan_cache(tmp_path / "mirror") == []
    (root / "v1" / "model.onnx").write_bytes(b"short")
    with pytest.raises(ModelInvalidError, match="5 bytes instead of"):
        export(scan_cache(cache), tmp_path / "mirror", cache)


def test_what_was_complete_when_an_export_ended_early_is_listed_and_the_rest_continues(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    add_downloaded(cache, ModelInfo("late", 1, "late", publisher="Tests"))
    models = sorted(scan_cache(cache), key=lambda model: model.name, reverse=True)
    cancelled, half = threading.Event(), models[0].size_bytes + 1

    def report(done: int, total: int) -> None:
        if done > half:
            cancelled.set()

    with pytest.raises(DownloadCancelledError):
        export(models, tmp_path / "mirror", cache, report, cancelled)
    assert list(read_index(tmp_path / "mirror")) == ["tiny:2"]
    assert [model.id for model in scan_cache(tmp_path / "mirror")] == ["tiny:2"]
    export(models, tmp_path / "mirror", cache)
    assert sorted(read_index(tmp_path / "mirror")) == ["late:1", "tiny:2"]


def test_models_with_the_same_plain_name_have_different_places(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, ModelInfo("a-b", 1, "a-b"))
    write_model(cache / "mine", "a/b:1")
    export(scan_cache(cache), tmp_path / "mirror", cache)
    entries = read_index(tmp_path / "mirror")
    assert sorted(entries) == ["a-b:1", "a/b:1"]
    assert entries["a-b:1"]["path"] != entries["a/b:1"]["path"]
    assert sorted(model.id for model in scan_cache(tmp_path / "mirror")) == ["a-b:1", "a/b:1"]


def test_another_model_at_the_place_of_one_is_not_replaced(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    other = add_downloaded(tmp_path / "mirror", ModelInfo("other", 1, "other", publisher="Tests"))
    other.rename(tmp_path / "mirror" / "Tests" / "tiny-2")
    with pytest.raises(CacheError, match="holds the model other:1"):
        export(scan_cache(cache), tmp_path / "mirror", cache)
    assert only(tmp_path / "mirror").model.id == "other:1"
    assert not (tmp_path / "mirror" / "index.json").exists()


@pytest.mark.parametrize("place", ["cache", "cache/inside", ".", "link"])
def test_mirror_and_cache_must_be_apart(tmp_path: Path, cache: Path, place: str) -> None:
    add_downloaded(cache, MODEL)
    (tmp_path / "link").symlink_to(cache)
    with pytest.raises(CacheError, match="not apart"):
        export(scan_cache(cache), tmp_path / place, cache)


def test_files_of_others_are_never_touched(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    mirror = tmp_path / "mirror"
    (mirror / "Tests" / "tiny-2").mkdir(parents=True)
    (mirror / "Tests" / "tiny-2" / "notes.txt").write_text("mine")
    with pytest.raises(CacheError, match="somebody else"):
        export(scan_cache(cache), mirror, cache)
    assert os.listdir(mirror / "Tests" / "tiny-2") == ["notes.txt"]
    (mirror / "index.json").write_text('{"pages": []}')
    with pytest.raises(CacheError, match="something else"):
        export(scan_cache(cache), mirror, cache)
    assert (mirror / "index.json").read_text() == '{"pages": []}'


def test_a_link_in_the_mirror_is_not_followed(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "Tests").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError):
        export(scan_cache(cache), tmp_path / "mirror", cache)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_model_without_manifest_that_holds_a_link_is_refused(tmp_path: Path, cache: Path) -> None:
    write_model(cache / "tiny")
    (cache / "tiny" / "weights.data").symlink_to("/etc/hostname")
    with pytest.raises(ModelInvalidError, match="link"):
        export(scan_cache(cache), tmp_path / "mirror", cache)


def test_a_mirror_on_a_disk_gives_what_was_exported(tmp_path: Path, cache: Path) -> None:
    add_downloaded(cache, MODEL)
    export(scan_cache(cache), tmp_path / "mirror", cache)
    source = MirrorSource("disk", str(tmp_path / "mirror"), tmp_path)
    remote = source.open(source.models()[0], HttpClient(is_offline=True))
    assert isinstance(remote, LocalModel)
    stored = copy_files(remote.files, remote.directory, tmp_path / "other")
    assert [file.sha256 for file in stored] == [file.sha256 for file in remote.files]
    assert (tmp_path / "other" / "v1" / "model.onnx").read_bytes() == WEIGHTS
    assert isinstance(ModelFolder(MODEL, remote.directory, tuple(remote.files)).size_bytes, int)


@pytest.fixture
def public() -> Iterator[Path]:
    with public_directory() as directory:
        yield directory


@pytest.mark.servers
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("password", [None, "sesame"])
def test_an_export_is_served_by_nginx(cache: Path, public: Path, tmp_path: Path, password: str | None) -> None:
    add_downloaded(cache, MODEL)
    add_downloaded(cache, ModelInfo("a b+c", 1, "spaced", publisher="T & T"))
    export(scan_cache(cache), public / "files" / "models", cache)
    client = HttpClient(is_offline=True)
    with nginx(public / "files", public / "nginx", password=password) as url:
        address = url.replace("//", f"//reader:{password}@") if password else url
        source = MirrorSource("web", f"{address}/models/", tmp_path / "catalogs")
        source.refresh(client)
        assert sorted(model.alias for model in source.models()) == ["spaced", "tiny-alias"]
        for model in source.models():
            remote = source.open(model, client)
            assert isinstance(remote, ServedModel)
            for file in remote.files:
                place = remote.address(file)
                response, content = client.read("GET", place.url, headers=place.headers)
                assert (response.status_code, hashlib.sha256(content).hexdigest()) == (200, file.sha256)
                assert [chunk_digest(content[i : i + (1 << 20)]) for i in range(0, len(content), 1 << 20)] == list(
                    file.chunk_digests
                )
                response = client.open("GET", place.url, headers={**place.headers, "Range": "bytes=0-0"})
                with response:
                    assert response.status_code == 206

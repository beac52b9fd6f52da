"""Importing models from mirrors, other caches and single folders."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.errors import CacheError, DownloadCancelledError, IntegrityError, ModelInvalidError, ModelNotFoundError
from foundry_cli.paths import Paths
from foundry_cli.store.cache import INCOMPLETE_MARKER, directory_size, scan, scan_cache
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.export import export
from foundry_cli.store.importing import import_models
from foundry_cli.store.manifest import CHUNKS, MANIFEST, first_problem, read_chunks, read_manifest
from foundry_cli.store.removal import plan_removal, remove
from foundry_cli.store.verdicts import FAILED, Verdict, read_verdicts, store_verdict
from foundry_cli.types import ModelInfo
from tests.store.model_directories import WEIGHTS, add_downloaded, write_model

MODEL = ModelInfo("tiny", 2, "tiny-alias", publisher="Tests", license="MIT", source="azure", uri="azureml://x")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    return directory


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def check_complete(root: Path) -> None:
    manifest = read_manifest(root)
    assert manifest is not None
    assert first_problem(root, manifest) == ""
    assert not (root / INCOMPLETE_MARKER).exists()
    assert set(read_chunks(root)) == {file.path for file in manifest.files}


def test_an_exported_mirror_is_imported_and_keeps_what_it_was(tmp_path: Path, source: Path, cache: Path) -> None:
    add_downloaded(source, MODEL)
    export(scan_cache(source), tmp_path / "mirror", source)
    seen: list[tuple[int, int]] = []
    result = import_models(tmp_path / "mirror", cache, lambda done, total: seen.append((done, total)))
    assert [model.id for model in result.imported] == ["tiny:2"]
    assert seen[-1][0] == seen[-1][1] > len(WEIGHTS)
    check_complete(cache / "Tests" / "tiny-2")
    found = scan_cache(cache)[0]
    assert (found.alias, found.license, found.source, found.uri) == ("tiny-alias", "MIT", "azure", "azureml://x")
    description = json.loads((cache / "Tests" / "tiny-2" / "v1" / "inference_model.json").read_bytes())
    assert description["Name"] == "tiny:2"


def test_a_mirror_that_was_written_by_hand_needs_no_manifest(tmp_path: Path, source: Path, cache: Path) -> None:
    add_downloaded(source, MODEL)
    export(scan_cache(source), tmp_path / "mirror", source)
    for name in (MANIFEST, CHUNKS, "v1/inference_model.json"):
        (tmp_path / "mirror" / "Tests" / "tiny-2" / name).unlink()
    assert len(import_models(tmp_path / "mirror", cache).imported) == 1
    check_complete(cache / "Tests" / "tiny-2")
    assert scan_cache(cache)[0].is_cached


def test_a_cache_of_the_original_is_imported_with_digests(source: Path, cache: Path) -> None:
    write_model(source / "Microsoft" / "tiny-2", below="v4/")
    write_model(source / "Microsoft" / "half-1", "half:1")
    (source / "Microsoft" / "half-1" / INCOMPLETE_MARKER).touch()
    (source / "foundry.modelinfo.json").write_text("{}")
    result = import_models(source, cache)
    assert [model.id for model in result.imported] == ["tiny:2"]
    check_complete(cache / "Microsoft" / "tiny-2")
    assert [(model.id, model.prompt_template) for model in scan_cache(cache)] == [("tiny:2", {"user": "<{Content}>"})]


def test_a_cache_with_manifests_is_imported(source: Path, cache: Path) -> None:
    add_downloaded(source, MODEL)
    add_downloaded(source, ModelInfo("other", 1, "other"))
    assert sorted(model.id for model in import_models(source, cache).imported) == ["other:1", "tiny:2"]
    assert scan_cache(cache)[1].alias == scan_cache(source)[1].alias


@pytest.mark.parametrize("kind", ["plain", "downloaded", "parent"])
def test_the_folder_of_one_model_is_imported(source: Path, cache: Path, kind: str) -> None:
    folder = add_downloaded(source, MODEL) if kind == "downloaded" else source / "mine"
    if kind != "downloaded":
        write_model(folder, below="v1/" if kind == "parent" else "")
    result = import_models(folder, cache)
    assert [model.id for model in result.imported] == ["tiny:2"]
    assert [(model.id, model.is_cached) for model in scan_cache(cache)] == [("tiny:2", True)]
    assert next(cache.rglob("model.onnx")).read_bytes() == WEIGHTS


def test_what_is_in_the_cache_already_is_skipped(source: Path, cache: Path) -> None:
    write_model(source / "a")
    write_model(cache / "elsewhere" / "mine")
    result = import_models(source, cache)
    assert ([model.id for model in result.skipped], result.imported) == (["tiny:2"], ())
    assert os.listdir(cache) == ["elsewhere"]


def test_a_damaged_model_of_the_cache_is_mended_by_an_import(source: Path, cache: Path) -> None:
    add_downloaded(source, MODEL)
    root = add_downloaded(cache, MODEL)
    (root / "v1" / "model.onnx").unlink()
    assert [model.id for model in import_models(source, cache).imported] == ["tiny:2"]
    check_complete(root)


def test_bytes_that_are_not_the_promised_ones_fail_that_model_only(source: Path, cache: Path) -> None:
    root = add_downloaded(source, MODEL)
    add_downloaded(source, ModelInfo("good", 1, "good"))
    (root / "v1" / "model.onnx").write_bytes(bytes(len(WEIGHTS)))
    result = import_models(source, cache)
    assert [model.id for model in result.imported] == ["good:1"]
    assert [(name, type(error)) for name, error in result.failed] == [("tiny:2", IntegrityError)]
    assert [model.id for model in scan_cache(cache)] == ["good:1"]


def test_models_that_are_not_complete_are_named(source: Path, cache: Path) -> None:
    root = add_downloaded(source, MODEL)
    (root / "v1" / "model.onnx").write_bytes(b"short")
    result = import_models(source, cache)
    assert [(name, type(error)) for name, error in result.failed] == [("tiny:2", ModelInvalidError)]
    assert result.imported == ()
    alone = import_models(root, cache)
    assert [(name, "5 bytes instead of" in error.message) for name, error in alone.failed] == [("tiny:2", True)]


def test_links_and_pipes_are_refused(source: Path, cache: Path) -> None:
    write_model(source / "a", "a:1")
    (source / "a" / "secret.data").symlink_to("/etc/passwd")
    write_model(source / "b", "b:1")
    os.mkfifo(source / "b" / "pipe")
    write_model(source / "c", "c:1")
    add_downloaded(source, MODEL)
    (source / "Tests" / "tiny-2" / "v1").rename(source / "v1")
    (source / "Tests" / "tiny-2" / "v1").symlink_to(source / "v1")
    result = import_models(source, cache)
    assert sorted(name for name, _ in result.failed) == ["a:1", "b:1", "tiny:2"]
    assert "c:1" in [model.id for model in result.imported]


@pytest.mark.parametrize("path", ["../outside", "/etc", "Tests/tiny-2/../../../outside"])
def test_an_index_cannot_lead_out_of_its_directory(tmp_path: Path, source: Path, cache: Path, path: str) -> None:
    add_downloaded(source, MODEL)
    export(scan_cache(source), tmp_path / "mirror", source)
    index = json.loads((tmp_path / "mirror" / "index.json").read_bytes())
    index["models"][0]["path"] = path
    (tmp_path / "mirror" / "index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFoundError):
        import_models(tmp_path / "mirror", cache)


@pytest.mark.parametrize("name", ["../../up", "/etc/x", "..", "a/b"])
def test_the_name_of_a_model_cannot_lead_out_of_the_cache(tmp_path: Path, source: Path, cache: Path, name: str) -> None:
    write_model(source / "a", f"{name}:1")
    import_models(source, cache)
    assert sorted(os.listdir(tmp_path)) == ["cache", "source"]
    assert len(scan_cache(cache)) == 1


def test_a_cancelled_import_is_no_model_and_continues(source: Path, cache: Path) -> None:
    add_downloaded(source, MODEL)
    cancelled = threading.Event()
    with pytest.raises(DownloadCancelledError):
        import_models(source, cache, lambda done, total: cancelled.set(), cancelled)
    assert scan_cache(cache) == []
    assert (cache / "Tests" / "tiny-2" / INCOMPLETE_MARKER).exists()
    assert [model.id for model in import_models(source, cache).imported] == ["tiny:2"]
    check_complete(cache / "Tests" / "tiny-2")


def test_all_files_of_an_import_that_was_interrupted_can_be_removed(source: Path, cache: Path) -> None:
    """Whatever their names are: they would be taken for somebody else's files by the next import."""
    write_model(source / "tiny", **{"blob.weights": bytes(3 << 20)})
    cancelled = threading.Event()
    with pytest.raises(DownloadCancelledError):
        import_models(source, cache, lambda done, total: done > 3 << 20 and cancelled.set(), cancelled)
    (partial,) = scan(cache).partials
    assert (partial.root / "blob.weights").exists()
    assert (partial.done_bytes, partial.total_bytes) == ((3 << 20) + 34, directory_size(source))
    remove(plan_removal(ModelInfo("tiny", 2, "tiny", root=partial.root), cache), cache)
    assert not partial.root.exists()
    assert [model.id for model in import_models(source, cache).imported] == ["tiny:2"]
    check_complete(partial.root)


def test_an_import_waits_for_a_download_of_the_same_model_and_says_so(source: Path, cache: Path) -> None:
    add_downloaded(source, MODEL)
    (cache / "Tests").mkdir(parents=True)
    lock = DownloadLock(cache / "Tests" / "tiny-2")
    assert lock.acquire(threading.Event(), lambda done: None)
    told: list[str] = []

    def waiting(model_id: str) -> None:
        told.append(model_id)
        lock.release()

    assert len(import_models(source, cache, waiting=waiting).imported) == 1
    assert set(told) == {"tiny:2"}
    check_complete(cache / "Tests" / "tiny-2")


def test_files_of_others_in_the_cache_stay(source: Path, cache: Path) -> None:
    add_downloaded(source, MODEL)
    (cache / "Tests" / "tiny-2").mkdir(parents=True)
    (cache / "Tests" / "tiny-2" / "notes.txt").write_text("mine")
    result = import_models(source, cache)
    assert [(name, type(error)) for name, error in result.failed] == [("tiny:2", CacheError)]
    assert os.listdir(cache / "Tests" / "tiny-2") == ["notes.txt"]


def test_a_directory_without_models_says_what_a_model_has(source: Path, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        import_models(source, cache)
    assert "foundry model add" in str(caught.value.hint)
    with pytest.raises(CacheError, match="not a directory"):
        import_models(source / "missing", cache)


def test_source_and_cache_must_be_apart(source: Path) -> None:
    for cache in (source, source / "inside", source.parent):
        with pytest.raises(CacheError, match="not apart"):
            import_models(source, cache)


def test_a_model_whose_plain_name_is_taken_gets_a_folder_of_its_own(source: Path, cache: Path) -> None:
    add_downloaded(cache, ModelInfo("a-b", 1, "a-b"))
    write_model(source / "x", "a/b:1")
    assert [model.id for model in import_models(source, cache).imported] == ["a/b:1"]
    assert sorted(model.id for model in scan_cache(cache)) == ["a-b:1", "a/b:1"]


def test_a_folder_that_holds_another_model_is_not_replaced(source: Path, cache: Path) -> None:
    root = add_downloaded(cache, ModelInfo("other", 1, "other", publisher="Tests"))
    root.rename(cache / "Tests" / "tiny-2")
    add_downloaded(source, MODEL)
    ((name, error),) = import_models(source, cache).failed
    assert (name, type(error)) == ("tiny:2", CacheError)
    assert "for tiny:2, holds the model other:1" in error.message
    assert "Move that folder away" in str(error.hint)
    assert [model.id for model in scan_cache(cache)] == ["other:1"]


def test_an_imported_model_takes_no_verdict_over_from_one_that_had_its_name(tmp_path: Path, source: Path, cache: Path) -> None:
    paths = Paths(tmp_path / "home")
    for name in ("tiny:2", "other:1"):
        store_verdict(paths, name, Verdict(FAILED, "2026-01-02T03:04:05+00:00"))
    add_downloaded(source, MODEL)
    import_models(source, cache, paths=paths)
    assert set(read_verdicts(paths)) == {"other:1"}


def test_a_download_that_is_not_complete_is_not_imported_by_its_folder(source: Path, cache: Path) -> None:
    write_model(source / "tiny-2", below="v4/")
    (source / "tiny-2" / INCOMPLETE_MARKER).touch()
    with pytest.raises(ModelInvalidError, match="not complete"):
        import_models(source / "tiny-2", cache)
    assert not cache.exists()


def test_a_model_is_the_same_whether_its_own_folder_is_named_or_the_one_above(source: Path, tmp_path: Path) -> None:
    write_model(source / "tiny-cuda-gpu-2", "tiny-cuda-gpu:2")
    options = [{"cuda": {}}]
    config = {"model": {"context_length": 4096, "decoder": {"session_options": {"provider_options": options}}}}
    (source / "tiny-cuda-gpu-2" / "genai_config.json").write_text(json.dumps(config))
    above, itself = tmp_path / "above", tmp_path / "itself"
    import_models(source, above)
    import_models(source / "tiny-cuda-gpu-2", itself)
    (one,), (other,) = scan_cache(above), scan_cache(itself)
    assert (one.device, one.context_length, one.uri) == ("GPU", 4096, "local://tiny-cuda-gpu")
    assert replace(other, path=one.path, root=one.root) == one

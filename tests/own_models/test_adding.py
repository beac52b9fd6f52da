"""Adding a folder to the cache: what is there afterwards, and what is left when it does not come to an end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.errors import CacheError, FoundryError, InvalidRequestError, ModelInvalidError
from foundry_cli.own_models.adding import add, find_model_folder, plan_addition
from foundry_cli.store.cache import scan_cache
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.manifest import Manifest, first_problem, read_chunks, read_manifest, write_manifest
from foundry_cli.store.verify import verify
from foundry_cli.types import ModelInfo
from tests.own_models.folders import copy_model, digests, facts_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_model(tmp_path / "my model")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


def add_folder(folder: Path, cache: Path, name: str | None = None, **facts: object) -> ModelInfo:
    return add(plan_addition(folder, cache, [], name=name), facts_of(folder, **facts))


def write_name(folder: Path, **description: object) -> None:
    (folder / "inference_model.json").write_text(json.dumps(description))


def test_an_added_model_is_whole_described_and_found_and_the_folder_is_as_before(folder: Path, cache: Path) -> None:
    (folder / "inference_model.json").unlink()
    before = digests(folder)
    model = add_folder(folder, cache)
    root = cache / "Local" / "my-model-1"
    manifest = read_manifest(root)
    assert manifest is not None
    assert (model.id, model.alias, manifest.model.id) == ("my-model:1", "my-model", "my-model:1")
    assert {file.path for file in manifest.files} == {*before, "inference_model.json"}
    assert first_problem(root, manifest) == ""
    assert [check for check in verify(root, manifest) if check.problem] == []
    assert set(read_chunks(root)) == {file.path for file in manifest.files}
    assert json.loads((root / "inference_model.json").read_text()) == {"Name": "my-model:1", "PromptTemplate": None}
    assert not (root / "download.tmp").exists()
    assert [(found.id, found.alias) for found in scan_cache(cache)] == [("my-model:1", "my-model")]
    assert digests(folder) == before


def test_name_and_prompt_template_of_the_folder_are_kept(folder: Path, cache: Path) -> None:
    template = {"prompt": "<user>{Content}<end>"}
    write_name(folder, Name="old-name:3", PromptTemplate=template)
    assert add_folder(folder, cache).id == "old-name:3"
    stored = json.loads((cache / "Local" / "old-name-3" / "inference_model.json").read_text())
    assert stored == {"Name": "old-name:3", "PromptTemplate": template}
    assert add_folder(folder, cache, "new:2").prompt_template == template


def test_what_folder_and_template_say_is_in_the_record(folder: Path, cache: Path) -> None:
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Card\nlicense: other\n")
    (folder / "LICENSE").write_text("MIT License\n\nPermission is hereby granted")
    template = "{% if tools %}<tool_call>{{ tools }}</tool_call>{% endif %}<think>"
    gpu = {"device": "GPU", "execution_provider": "CUDAExecutionProvider"}
    add_folder(folder, cache, "rich", chat_template=template, context_length=77, **gpu)
    manifest = read_manifest(cache / "Local" / "rich-1")
    assert manifest is not None
    model = manifest.model
    assert (model.license, model.license_description[:11]) == ("apache-2.0", "MIT License")
    assert (model.supports_tool_calling, model.tool_call_start, model.tool_call_end) == (True, "<tool_call>", "</tool_call>")
    assert (model.supports_reasoning, model.context_length) == (True, 77)
    assert (model.device, model.execution_provider, model.provider_type, model.source) == (*gpu.values(), "Local", "local")


def test_a_licence_is_known_by_its_heading(folder: Path, cache: Path) -> None:
    (folder / "LICENSE").write_text("                    Apache License\n              Version 2.0")
    assert add_folder(folder, cache).license == "apache-2.0"


def test_only_files_that_a_model_can_use_are_copied(folder: Path, cache: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / ".DS_Store").write_text("x")
    (folder / "other").mkdir()
    (folder / "other" / "weights.bin").write_text("x")
    (folder / "foundry.manifest.json").write_text("{}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("x")
    (folder / "additional_chat_templates" / "other.bin").write_text("x")
    add_folder(folder, cache, "lean")
    names = set(digests(cache / "Local" / "lean-1"))
    unwanted = {".DS_Store", "other/weights.bin", ".git/config", "additional_chat_templates/other.bin"}
    assert names & unwanted == set()
    assert {"model.onnx", "model.onnx.data", "foundry.manifest.json", "additional_chat_templates/tool_use.jinja"} <= names


def test_a_file_with_a_name_that_other_systems_do_not_take_is_refused(folder: Path, cache: Path) -> None:
    (folder / "aux.json").write_text("x")
    with pytest.raises(ModelInvalidError, match=r"aux\.json"):
        plan_addition(folder, cache, [])


def test_the_folder_is_found_below_the_one_that_is_named(tmp_path: Path, cache: Path) -> None:
    nested = copy_model(tmp_path / "llama" / "model")
    (nested / "inference_model.json").unlink()
    (tmp_path / "llama" / ".cache").mkdir()
    copy_model(tmp_path / "llama" / ".cache" / "hidden")
    assert find_model_folder(tmp_path / "llama") == nested
    assert plan_addition(nested, cache, []).identity.id == "llama:1"


def test_several_folders_are_listed(tmp_path: Path) -> None:
    copy_model(tmp_path / "both" / "first")
    copy_model(tmp_path / "both" / "deeper" / "second")
    with pytest.raises(InvalidRequestError, match="2 models") as caught:
        find_model_folder(tmp_path / "both")
    assert caught.value.hint == f"Name one of: {Path('deeper', 'second')}, first."


def test_a_folder_without_a_model_says_what_it_looks_like(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError) as caught:
        find_model_folder(tmp_path)
    assert caught.value.hint is None
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelInvalidError) as caught:
        find_model_folder(tmp_path)
    assert "foundry model convert" in str(caught.value.hint)
    with pytest.raises(InvalidRequestError, match="There is no directory"):
        find_model_folder(tmp_path / "missing")


def test_a_folder_of_the_cache_is_refused_also_through_a_link(folder: Path, cache: Path, tmp_path: Path) -> None:
    add_folder(folder, cache, "inside")
    (tmp_path / "link").symlink_to(cache, target_is_directory=True)
    for place in (cache, tmp_path / "link"):
        with pytest.raises(InvalidRequestError, match="in the cache already"):
            plan_addition(place / "Local" / "inside-1", cache, [])


def test_a_folder_of_somebody_else_at_its_place_is_left_alone(folder: Path, cache: Path) -> None:
    place = cache / "Local" / "mine-1"
    place.mkdir(parents=True)
    (place / "diary.txt").write_text("dear diary")
    with pytest.raises(CacheError, match="exists already"):
        add_folder(folder, cache, "mine")
    assert digests(place).keys() == {"diary.txt"}


def test_an_interrupted_addition_leaves_nothing(folder: Path, cache: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert (cache / "Local" / "mine-1" / "download.tmp").exists()
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(plan_addition(folder, cache, [], name="mine"), facts_of(folder), interrupt)
    assert list(cache.iterdir()) == []


def test_a_file_that_vanishes_meanwhile_leaves_nothing(folder: Path, cache: Path) -> None:
    plan = plan_addition(folder, cache, [], name="mine")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FoundryError, match=r"tokenizer\.json"):
        add(plan, facts_of(folder))
    assert list(cache.iterdir()) == []


_ADD_AND_STOP = """
import sys
from pathlib import Path
from foundry_cli.own_models.adding import add, plan_addition
from tests.own_models.folders import facts_of

def stop(done, total):
    if done > total // 2:
        print("half", flush=True)
        sys.stdin.read()

folder, cache = map(Path, sys.argv[1:])
add(plan_addition(folder, cache, [], name="mine"), facts_of(folder), stop)
"""


def half_way(folder: Path, cache: Path) -> subprocess.Popen[str]:
    """A process that is adding `folder`, stopped in the middle."""
    command = [sys.executable, "-c", _ADD_AND_STOP, str(folder), str(cache)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


def test_a_killed_addition_is_never_a_model_and_the_next_one_succeeds(folder: Path, cache: Path) -> None:
    with half_way(folder, cache) as process:
        assert scan_cache(cache) == []
        process.send_signal(signal.SIGKILL)
    (cache / "Local" / "mine-1" / "left-over.partial").write_text("x")
    assert scan_cache(cache) == []
    add_folder(folder, cache, "mine")
    assert [model.id for model in scan_cache(cache)] == ["mine:1"]
    assert not [name for name in digests(cache) if name.endswith((".partial", ".tmp"))]


def test_of_two_that_add_the_same_name_the_second_waits_and_is_refused(folder: Path, cache: Path) -> None:
    refused: list[BaseException] = []
    facts = facts_of(folder)

    def second() -> None:
        try:
            add(plan, facts)
        except InvalidRequestError as error:
            refused.append(error)

    with half_way(folder, cache) as process:
        plan = plan_addition(folder, cache, [], name="mine")
        thread = threading.Thread(target=second)
        thread.start()
        assert process.stdin is not None
        process.stdin.close()
        thread.join()
    assert process.returncode == 0
    assert ["just added" in str(error) for error in refused] == [True]
    assert [model.id for model in scan_cache(cache)] == ["mine:1"]


def test_a_model_that_was_completed_just_before_the_lock_was_taken_is_kept(folder: Path, cache: Path) -> None:
    plan = plan_addition(folder, cache, [], name="mine")
    model = add(plan, facts_of(folder))
    root = cache / "Local" / "mine-1"
    lock = DownloadLock(root)
    assert lock.acquire(threading.Event(), lambda _: None)
    lock.release()  # as a process leaves it that was killed between the manifest and the end
    manifest = read_manifest(root)
    assert manifest is not None
    write_manifest(root, Manifest(model, manifest.files))
    with pytest.raises(InvalidRequestError, match="just added"):
        add(plan, facts_of(folder))
    assert [found.id for found in scan_cache(cache)] == ["mine:1"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_cache_that_cannot_be_made_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError):
        add_folder(folder, tmp_path / "file" / "cache", "mine")


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"Name": 3}', '{"PromptTemplate": [1]}', '{"PromptTemplate": {"user": 3, "prompt": "{Content}"}}']
)
def test_a_strange_description_is_as_none(folder: Path, cache: Path, content: str) -> None:
    (folder / "inference_model.json").write_text(content)
    model = add_folder(folder, cache)
    assert model.id == "my-model:1"
    assert model.prompt_template in (None, {"prompt": "{Content}"})


def test_what_is_about_a_model_or_unfinished_is_not_copied(folder: Path, cache: Path) -> None:
    for name in ("model.onnx.partial", "model.onnx.dlstate", "foundry.note.json", "download.journal"):
        (folder / name).write_text("x")
    add_folder(folder, cache, "lean")
    assert {name for name in digests(cache / "Local" / "lean-1") if name.endswith((".partial", ".dlstate"))} == set()
    assert not (cache / "Local" / "lean-1" / "foundry.note.json").exists()


@pytest.mark.parametrize("place", ["", "v4"])
def test_a_download_that_is_not_complete_is_refused(tmp_path: Path, cache: Path, place: str) -> None:
    folder = copy_model(tmp_path / "other cache" / "tiny-1" / place)
    (tmp_path / "other cache" / "tiny-1" / "download.tmp").touch()
    with pytest.raises(ModelInvalidError, match="not complete"):
        plan_addition(folder, cache, [])


def test_sub_folders_are_named_and_links_are_refused(folder: Path, cache: Path) -> None:
    for name in ("other", "more", ".git"):
        (folder / name).mkdir()
    assert plan_addition(folder, cache, []).left_out == ("more", "other")
    (folder / "extra.bin").symlink_to(folder / "model.onnx")
    with pytest.raises(ModelInvalidError, match=r"extra\.bin is a link"):
        plan_addition(folder, cache, [])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs a way to be another user")
def test_folders_that_may_not_be_looked_into_do_not_break_the_search(tmp_path: Path) -> None:
    wanted = copy_model(tmp_path / "a" / "wanted")
    (tmp_path / "a" / "locked" / "inner").mkdir(parents=True)
    (tmp_path / "a" / "locked").chmod(0o600)
    (tmp_path / "a" / "seen").mkdir()
    (tmp_path / "a" / "seen").chmod(0o644)  # its names can be read, and nothing about them
    (tmp_path / "a" / "seen" / "inner").mkdir()
    for place in (tmp_path, *tmp_path.parents[:-2]):
        place.chmod(0o755)
    code = (
        "import os, sys, pathlib\nfrom foundry_cli.own_models.adding import find_model_folder\nos.setuid(65534)\n"
        "print(find_model_folder(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{wanted}\n", "")


def test_a_damaged_own_model_is_replaced_and_one_of_a_catalog_is_not(folder: Path, cache: Path) -> None:
    add_folder(folder, cache, "mine")
    assert read_manifest(cache / "Local" / "mine-1") is not None
    with pytest.raises(InvalidRequestError, match="a model mine:1 already"):
        plan_addition(folder, cache, scan_cache(cache), name="mine")
    (cache / "Local" / "mine-1" / "tokenizer.json").write_text("short")
    (damaged,) = scan_cache(cache)
    assert damaged.problem
    with pytest.raises(InvalidRequestError, match="a model mine:1 already"):
        plan_addition(folder, cache, [replace(damaged, source="azure")], name="mine")
    add(plan_addition(folder, cache, [damaged], name="mine"), facts_of(folder))
    assert [(model.id, model.problem) for model in scan_cache(cache)] == [("mine:1", "")]
    assert [path.name for path in cache.iterdir()] == ["Local"]


def test_files_of_the_user_in_a_damaged_model_stay(folder: Path, cache: Path) -> None:
    add_folder(folder, cache, "mine")
    root = cache / "Local" / "mine-1"
    (root / "tokenizer.json").unlink()
    (root / "diary.txt").write_text("dear diary")
    with pytest.raises(CacheError, match="exists already"):
        add(plan_addition(folder, cache, scan_cache(cache), name="mine"), facts_of(folder))
    assert digests(root).keys() == {"diary.txt"}

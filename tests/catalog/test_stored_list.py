"""The list of a source on disk: the original's files are read, and what is written the original can read."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.catalog.stored_list import FRESH_SECONDS, StoredList
from foundry_cli.types import ModelInfo
from tests.fakes.azure_catalog import SAMPLES, sample

MODEL = ModelInfo(
    name="qwen2.5-0.5b-instruct-generic-cpu",
    version=4,
    alias="qwen2.5-0.5b",
    display_name="qwen2.5-0.5b-instruct-generic-cpu",
    publisher="Microsoft",
    size_bytes=822 << 20,
    license="apache-2.0",
    license_description="This model is provided under the License text found at ...",
    prompt_template={
        "system": "<|im_start|>system\n{Content}<|im_end|>",
        "user": "<|im_start|>user\n{Content}<|im_end|>",
        "assistant": "<|im_start|>assistant\n{Content}<|im_end|>",
        "prompt": "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant",
    },
    parent_uri="azureml://registries/azureml/models/qwen2.5-0.5b-instruct/versions/1",
    uri="azureml://registries/azureml/models/qwen2.5-0.5b-instruct-generic-cpu/versions/4",
    provider_type="FoundryLocal",
    supports_tool_calling=True,
    tool_call_start="<tool_call>",
    tool_call_end="</tool_call>",
    max_output_tokens=2048,
    created=1749629730,
    source="azure",
)


class Clock:
    """A time that the test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "models" / "foundry.modelinfo.json"


@pytest.fixture
def stored(tmp_path: Path, file: Path) -> StoredList:
    return StoredList(file, tmp_path / "azure.json", "azure")


def put(file: Path, content: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


def test_the_list_of_version_1_of_the_original_is_read(stored: StoredList, file: Path) -> None:
    put(file, (SAMPLES / "modelinfo_1.2.4.json").read_bytes())
    assert stored.models() == [MODEL]
    assert stored.document()["detectedRegion"] == "eastus"


def test_the_list_of_version_2_of_the_original_is_read(stored: StoredList, file: Path) -> None:
    put(file, (SAMPLES / "modelinfo_2.x.json").read_bytes())
    (model,) = stored.models()
    assert model == ModelInfo(
        name="qwen3-0.6b-generic-gpu",
        version=3,
        alias="qwen3-0.6b",
        device="GPU",
        execution_provider="WebGpuExecutionProvider",
        display_name="qwen3-0.6b-generic-gpu",
        publisher="Alibaba",
        size_bytes=700 << 20,
        license="apache-2.0",
        parent_uri="azureml://registries/azureml/models/qwen3-0.6b/versions/1",
        uri="azureml://registries/azureml/models/qwen3-0.6b-generic-gpu/versions/3",
        provider_type="FoundryLocal",
        supports_tool_calling=True,
        supports_reasoning=True,
        context_length=40960,
        max_output_tokens=4096,
        created=1772600767,
        min_version="2.0.0",
        source="azure",
    )


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("modelinfo_1.2.4.json", {"testModel"}),
        ("modelinfo_2.x.json", {"detectedRegion", "intProperties", "stringProperties"}),
    ],
)
def test_what_is_written_has_the_keys_of_the_original_with_values_of_the_same_kind(
    stored: StoredList, file: Path, name: str, missing: set[str]
) -> None:
    stored.save([replace(MODEL, context_length=32768, min_version="1.0.0")], detectedRegion="eastus")
    ours, theirs = json.loads(file.read_bytes()), sample(name)
    assert set(theirs) <= set(ours)
    (our_model,), (their_model,) = ours["models"], theirs["models"]
    assert set(their_model) - set(our_model) <= missing
    for key in set(their_model) - missing:
        if their_model[key] is not None and our_model[key] is not None:
            assert type(our_model[key]) is type(their_model[key]), key


def test_a_list_survives_writing_and_reading(stored: StoredList) -> None:
    models = [
        MODEL,
        replace(MODEL, name="b-qnn-npu", device="NPU", execution_provider="QNNExecutionProvider", context_length=4096),
        replace(
            MODEL, name="c", version=0, prompt_template=None, max_output_tokens=None, requires_acceptance=True, size_bytes=7
        ),
    ]
    stored.save(models)
    assert stored.models() == models
    another = replace(MODEL, name="new")
    stored.save([another])
    assert stored.models() == [another]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"models":5}', b"[" * 100_000, b"\xff\xfe", b'{"models":[1,{},null]}']
)
def test_a_damaged_list_is_an_empty_one(stored: StoredList, file: Path, content: bytes) -> None:
    put(file, content)
    assert stored.models() == []


def test_what_is_no_model_is_left_out(stored: StoredList, file: Path) -> None:
    document = sample("modelinfo_1.2.4.json")
    document["models"] = [None, {}, {"id": ""}, {"id": "bad\x1bname:1"}, *document["models"]]
    put(file, json.dumps(document).encode())
    assert stored.models() == [MODEL]


def test_a_changed_file_is_read_again(stored: StoredList, file: Path) -> None:
    stored.save([MODEL])
    assert stored.models() == [MODEL]
    put(file, (SAMPLES / "modelinfo_2.x.json").read_bytes())
    assert [model.alias for model in stored.models()] == ["qwen3-0.6b"]
    file.unlink()
    assert stored.models() == []


def test_a_list_is_stale_after_six_hours(tmp_path: Path, file: Path) -> None:
    clock = Clock(2e9)
    stored = StoredList(file, tmp_path / "azure.json", "azure", clock)
    assert stored.is_stale()
    stored.save([MODEL])
    os.utime(file, (clock.now, clock.now))
    assert stored.refreshed == clock.now
    clock.now += FRESH_SECONDS - 1
    assert not stored.is_stale()
    clock.now += 2
    assert stored.is_stale()
    clock.now = 1e9  # the clock was set back: nothing is known about the age
    assert stored.is_stale()


def test_after_failures_the_pause_grows_to_an_hour_and_success_ends_it(tmp_path: Path, file: Path) -> None:
    clock = Clock(2e9)
    stored = StoredList(file, tmp_path / "azure.json", "azure", clock)
    pauses = []
    for _ in range(9):
        stored.failed("The server does not answer.")
        begun = clock.now
        while not stored.is_stale():
            clock.now += 30
        pauses.append(clock.now - begun)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert stored.problem == "The server does not answer."
    stored.save([MODEL])
    assert stored.problem == ""


def test_without_a_place_for_the_record_failures_do_no_harm(tmp_path: Path, file: Path) -> None:
    (tmp_path / "blocked").write_text("")
    stored = StoredList(file, tmp_path / "blocked" / "azure.json", "azure")
    stored.failed("no")
    stored.save([MODEL])
    assert stored.models() == [MODEL]
    assert stored.problem == ""


def test_a_record_of_another_shape_does_not_stop_refreshes(tmp_path: Path, file: Path) -> None:
    for record in (b"{", b"[]", b'{"failures":"many"}', b'{"failures":1,"attempted":"now"}', b'{"failures":-1}'):
        (tmp_path / "azure.json").write_bytes(record)
        assert StoredList(file, tmp_path / "azure.json", "azure").is_stale()


def test_a_list_that_cannot_be_written_leaves_the_old_one(stored: StoredList, file: Path) -> None:
    stored.save([MODEL])
    (file.parent / f".{file.name}.{os.getpid()}.tmp").mkdir()  # in the way of what is written first
    with pytest.raises(OSError):
        stored.save([])
    assert stored.models() == [MODEL]


def test_forgetting_removes_both_files(stored: StoredList, file: Path, tmp_path: Path) -> None:
    stored.save([MODEL])
    stored.forget()
    stored.forget()
    assert not file.exists()
    assert not (tmp_path / "azure.json").exists()
    assert stored.models() == []
    shutil.rmtree(file.parent)
    assert stored.refreshed is None


def test_a_list_of_another_address_is_stale_and_failures_are_counted_for_each(tmp_path: Path, file: Path) -> None:
    clock = Clock(1e9)

    def at(location: str) -> StoredList:
        return StoredList(file, tmp_path / "attempts.json", "azure", clock, location)

    at("one").save([MODEL])
    os.utime(file, (1e9, 1e9))
    assert (at("one").is_stale(), at("one").is_of_another) == (False, False)
    assert (at("two").is_stale(), at("two").is_of_another, at("two").models()) == (True, True, [MODEL])
    at("two").failed("silent")
    assert (at("two").is_stale(), at("two").problem, at("two").is_of_another) == (False, "silent", True)
    assert (at("one").is_stale(), at("one").problem) == (False, "")
    at("two").save([MODEL])
    assert (at("one").is_of_another, at("two").is_of_another) == (True, False)

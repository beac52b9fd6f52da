"""Plug-in libraries in packages, options of providers in models, and the real worker with a provider that is not here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.providers import ProviderLibrary, check_provider_options, provider_libraries, register_library
from foundry_cli.errors import EngineError, ModelInvalidError
from tests.engine.fakes import request
from tests.engine.workers import answer, engine
from tests.models.scripted import write_scripted_model

CUDA = "CUDAExecutionProvider"


def package(directory: Path, name: str, text: str) -> None:
    (directory / name).mkdir()
    (directory / name / "__init__.py").write_text(text)


def test_packages_that_follow_the_convention_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "def get_library_path():\n    return '/opt/lib.so'\n\n"
    package(tmp_path, "onnxruntime_ep_first", path + "def get_ep_names():\n    return ['FirstProvider', 'SecondProvider']\n")
    package(tmp_path, "onnxruntime_ep_third", path + "def get_ep_name():\n    return 'ThirdProvider'\n")
    package(tmp_path, "onnxruntime_ep_broken", "import no_such_module_at_all\n")
    package(tmp_path, "onnxruntime_ep_other", "")
    package(tmp_path, "other_ep", path + "def get_ep_name():\n    return 'OtherProvider'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [library for library in provider_libraries() if library.package.startswith("onnxruntime_ep_")]
    assert found == [
        ProviderLibrary("onnxruntime_ep_broken", "", "", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ProviderLibrary("onnxruntime_ep_first", "FirstProvider", "/opt/lib.so"),
        ProviderLibrary("onnxruntime_ep_first", "SecondProvider", "/opt/lib.so"),
        ProviderLibrary("onnxruntime_ep_third", "ThirdProvider", "/opt/lib.so"),
    ]
    registered: list[tuple[str, str]] = []
    for provider in ("SecondProvider", "OtherProvider", "NoProvider"):
        register_library(provider, lambda name, path: registered.append((name, path)))
    assert registered == [("SecondProvider", "/opt/lib.so")]


@pytest.mark.parametrize(
    ("options", "is_refused"),
    [([], False), ([{"cuda": {"enable_cuda_graph": "0"}}], False), ([{"qnn": {"backend_path": "QnnHtp.dll"}}], False),
     ([{"qnn": {"backend_path": "/tmp/evil.so"}}], True), ([{"qnn": {"backend_path": "..\\evil.dll"}}], True),
     ([{"OpenVINO": {"cache_dir": "/home/someone"}}], True), ([{"VitisAI": {"config_file": "a/b.json"}}], True)],
)  # fmt: skip
def test_options_that_lead_elsewhere_are_refused(tmp_path: Path, options: list[object], is_refused: bool) -> None:
    stages = [{"decoder": {"session_options": {"provider_options": options}}}]
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": {"decoder": {"pipeline": stages}}}))
    if is_refused:
        with pytest.raises(ModelInvalidError, match="provider option"):
            check_provider_options(tmp_path)
    else:
        check_provider_options(tmp_path)


def with_cuda_options(directory: Path) -> Path:
    """A scripted model whose configuration is that of a CUDA variant."""
    write_scripted_model(directory, ["hello"])
    file = directory / "genai_config.json"
    config = json.loads(file.read_text())
    config["model"]["decoder"]["session_options"]["provider_options"] = [{"cuda": {"enable_cuda_graph": "0"}}]
    file.write_text(json.dumps(config))
    return directory


def test_a_provider_that_fails_is_named_and_nothing_else_takes_its_place(tmp_path: Path) -> None:
    with_cuda_options(tmp_path)
    with pytest.raises(EngineError, match=f"cannot be loaded with {CUDA}") as caught:
        asyncio.run(EngineProcess.start("test", tmp_path, CUDA))
    assert caught.value.hint is not None
    assert "--ep cpu" in caught.value.hint


def test_a_provider_that_nobody_knows_is_an_error_of_the_worker(tmp_path: Path) -> None:
    write_scripted_model(tmp_path, ["hello"])
    with pytest.raises(EngineError, match="ContosoExecutionProvider"):
        asyncio.run(EngineProcess.start("test", tmp_path, "ContosoExecutionProvider"))


def test_a_model_made_for_cuda_runs_on_the_cpu_when_told_to(tmp_path: Path) -> None:
    with_cuda_options(tmp_path)

    async def run() -> str:
        async with engine(tmp_path, provider="CPUExecutionProvider") as process:
            return (await answer(process, request())).text

    assert asyncio.run(run()) == "hello"

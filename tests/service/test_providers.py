"""Choosing an execution provider over HTTP, and what the service says about those it has."""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.execution_providers import CPU, CUDA, ProviderReport
from foundry_cli.service.state import InstalledProviders
from tests.conftest import RunningService, add_model
from tests.service.local import MODEL, local_service, question
from tests.service.test_chat import Endless, _send

BOTH = (CPU, CUDA)


def call(service: RunningService, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and answer of the real service over TCP."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(service.url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as response:
            text, status = response.read(), response.status
    except urllib.error.HTTPError as error:
        with error:
            text, status = error.read(), error.code
    return status, json.loads(text) if text else None


def test_the_real_service_takes_a_provider_it_has_and_refuses_others(service: RunningService) -> None:
    for query in ("ep=", "ep=cpu", "ep=CPUExecutionProvider", "ttl=600&ep="):
        assert call(service, f"/openai/load/echo:1?{query}") == (200, None)
    for provider in ("cuda", "CUDAExecutionProvider", "warp-drive"):
        for status, answer in (
            call(service, f"/openai/load/echo:1?ep={provider}"),
            call(service, "/v1/chat/completions", question(model="echo:1", ep=provider)),
        ):
            assert (status, answer["error"]["param"]) == (400, "ep")
            assert provider in answer["error"]["message"]
            assert "Valid EPs: CPUExecutionProvider" in answer["error"]["message"]
    answer = call(service, "/v1/chat/completions", question(model="echo:1", ep=""))[1]
    assert answer["choices"][0]["message"]["content"] == "The first answer."
    status = call(service, "/openai/status")[1]
    assert status["isAutoRegistrationResolved"] is True
    assert status["validEps"] == [CPU]
    assert next(model["ep"] for model in status["loadedModels"] if model["id"] == "echo:1") == CPU


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere other sizes of a stack are refused")
def test_without_a_thread_to_ask_in_they_are_not_known_yet() -> None:
    installed = InstalledProviders(lambda: ProviderReport((CPU,)))
    usual = threading.stack_size(1 << 46)  # more than there is: no thread can be started
    try:
        assert installed.known() is None
    finally:
        threading.stack_size(usual)
    assert installed.wait().names == (CPU,)


def test_a_refusal_says_what_is_missing_or_what_there_is(tmp_path: Path) -> None:
    broken = "CUDAExecutionProvider is installed and cannot be used: libcublas is missing."
    installed = InstalledProviders(lambda: ProviderReport(notes=(broken,)))
    with local_service(tmp_path, installed=installed) as local:
        for ep, reason in (("cuda", broken), ("qnn", "QNNExecutionProvider"), ("warp", "there is cpu, cuda, trtrtx, webgpu")):
            status, _, answer = local.get(f"/openai/load/{MODEL}?ep={ep}")
            assert (status, answer["error"]["param"]) == (400, "ep")
            assert f"{ep!r} is no" in answer["error"]["message"]
            assert reason in answer["error"]["message"]


def test_a_variant_that_cannot_run_here_is_refused_with_the_reason_and_runs_on_the_cpu_when_told_to(
    fresh_service: RunningService,
) -> None:
    add_model(fresh_service.paths, "tiny-cuda-gpu:1", ["from the processor"])
    for status, answer in (
        call(fresh_service, "/openai/load/tiny-cuda-gpu:1?ttl=600&ep="),
        call(fresh_service, "/v1/chat/completions", question(model="tiny-cuda-gpu:1")),
    ):
        assert (status, answer["error"]["code"]) == (422, "model_unsuitable")
        assert "needs a" in answer["error"]["message"]
        assert "ep=cpu" in answer["error"]["message"]
    answer = call(fresh_service, "/v1/chat/completions", question(model="tiny-cuda-gpu:1", ep="cpu"))[1]
    assert answer["choices"][0]["message"]["content"] == "from the processor"
    assert call(fresh_service, "/openai/load/tiny-cuda-gpu:1?ep=")[0] == 200  # it is loaded, and stays where it is


def test_a_provider_is_chosen_and_kept(tmp_path: Path) -> None:
    with local_service(tmp_path, providers=BOTH) as local:
        for query in ("?ep=cuda", "", "?ep=", "?ep=CUDAExecutionProvider"):
            assert local.get(f"/openai/load/{MODEL}{query}")[0] == 200
        assert local.chat(question())[0] == 200
        assert local.started == [CUDA]
        assert local.get("/openai/status")[2]["loadedModels"][0]["ep"] == CUDA
        assert local.chat(question(ep="cpu"))[0] == 200
        assert local.started == [CUDA, CPU]
        assert local.get("/openai/loadedmodels")[2] == [MODEL]


def test_a_model_that_answers_is_not_moved(tmp_path: Path) -> None:
    answer = Endless("Hel")
    with local_service(tmp_path, answer, providers=BOTH) as local:
        connection = _send(local, stream=True)
        assert answer.has_begun.wait(20)
        for status, _, body in (local.get(f"/openai/load/{MODEL}?ep=cuda"), local.chat(question(ep="cuda"))):
            assert (status, body["error"]["code"]) == (409, "model_in_use")
        connection.close()
        assert answer.is_cancelled.wait(20)


def test_status_lists_what_works(tmp_path: Path) -> None:
    with local_service(tmp_path, providers=BOTH) as local:
        local.get(f"/openai/load/{MODEL}?ep=cuda")  # waits for the list
        status = local.get("/openai/status")[2]
        assert status["validEps"] == list(BOTH)
        assert status["autoRegistrationStatus"].splitlines() == [
            "Successfully downloaded and registered the following EPs: CPUExecutionProvider, CUDAExecutionProvider.",
            "Valid EPs: CPUExecutionProvider, CUDAExecutionProvider",
        ]


def test_status_does_not_wait_for_a_slow_provider(tmp_path: Path) -> None:
    go_on = threading.Event()

    def ask() -> ProviderReport:
        go_on.wait(20)
        return ProviderReport(BOTH)

    with local_service(tmp_path, installed=InstalledProviders(ask)) as local:
        status = local.get("/openai/status")[2]
        assert status["isAutoRegistrationResolved"] is False
        assert status["autoRegistrationStatus"].endswith("\r\nValid EPs: CPUExecutionProvider")
        assert "in progress" in status["autoRegistrationStatus"]
        assert local.get(f"/openai/load/{MODEL}?ep=cpu")[0] == 200  # needs no list
        go_on.set()
        assert local.get(f"/openai/load/{MODEL}?ep=cuda")[0] == 200
        assert local.get("/openai/status")[2]["isAutoRegistrationResolved"] is True


def test_the_gpu_is_the_first_one(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        assert local.get("/openai/getgpudevice")[2] == 0
        status, headers, body = local.get("/openai/setgpudevice/0")
        assert (status, headers["content-length"], body) == (200, "0", b"")
        for device in ("1", "-1", "x", "99999999999"):
            status, _, answer = local.get(f"/openai/setgpudevice/{device}")
            assert (status, answer["error"]["param"]) == (400, "deviceId")


@pytest.mark.parametrize("ep", ["c" * 1000, "\x1b[31m", "cuda\r\nx: y"])
def test_a_strange_provider_is_repeated_harmlessly(tmp_path: Path, ep: str) -> None:
    with local_service(tmp_path) as local:
        status, _, answer = local.get(f"/openai/load/{MODEL}?ep={urllib.parse.quote(ep)}")
        assert (status, answer["error"]["param"]) == (400, "ep")
        assert len(answer["error"]["message"]) < 400
        assert answer["error"]["message"].isprintable()

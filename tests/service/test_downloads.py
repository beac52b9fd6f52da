"""`POST /openai/download`, as the published clients read it."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from foundry_cli.config import MirrorSetting, load_config
from foundry_cli.paths import Paths
from tests.conftest import RunningService, run_service
from tests.fakes.azure_catalog import azure_stand_in, entry
from tests.fakes.gate import Gate
from tests.fakes.mirror import served, write_mirror
from tests.fakes.web import Answer, Seen, WebServer, static_files


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """A mirror with two models."""
    directory = tmp_path_factory.mktemp("mirror")
    replies = {"hello-generic-cpu:1": "Hello.", "wrong-generic-cpu:1": "Wrong."}
    write_mirror(directory, replies, 3_000_000)
    (directory / "mirror" / "Tests" / "wrong-generic-cpu-1" / "ballast.bin").write_bytes(b"x" * 3_000_000)
    with served(directory / "mirror") as server:
        yield server


@pytest.fixture(scope="module")
def shop(mirror: WebServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service whose catalog is the mirror."""
    yield from _service(tmp_path_factory.mktemp("shop"), mirror)


def _service(home: Path, mirror: WebServer) -> Iterator[RunningService]:
    from dataclasses import replace

    from foundry_cli.catalog.sources.mirror import MirrorSource
    from foundry_cli.http import HttpClient

    paths = Paths(home)
    MirrorSource("office", mirror.url, paths.catalogs).refresh(HttpClient())
    config = replace(load_config(paths), mirrors=(MirrorSetting("office", mirror.url),), is_azure_enabled=False)
    config.save(paths)
    yield from run_service(home)


def _post(service: RunningService, body: dict[str, Any]) -> tuple[int, list[bytes]]:
    """Status and the chunks of the answer, as they came over the wire."""
    with closing(http.client.HTTPConnection("127.0.0.1", service.client.record.port, timeout=60)) as connection:
        connection.request("POST", "/openai/download", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, list(iter(response.read1, b""))


def _request(name: str) -> dict[str, Any]:
    """What the Python client 0.5 sends."""
    model = {
        "Name": name,
        "Uri": "azureml://registries/azureml/models/x/versions/1",
        "Publisher": "Tests",
        "ProviderType": "AzureFoundryLocal",
        "PromptTemplate": None,
    }
    return {"model": model, "token": None, "IgnorePipeReport": True}


def _python_client(text: str) -> tuple[list[float], dict[str, Any]]:
    """Percentages and result, read line by line as the Python client 0.5 does."""
    percents: list[float] = []
    document = ""
    for line in text.split("\n"):
        if document or line.startswith("{"):
            document += line
        elif found := re.search(r"(\d+(?:\.\d+)?)%", line):
            percents.append(float(found[1]))
    assert document.endswith("}")
    return percents, json.loads(document)


def test_the_stream_of_a_download(shop: RunningService) -> None:
    status, chunks = _post(shop, _request("hello-generic-cpu:1"))
    assert status == 200
    percents, result = _python_client(b"".join(chunks).decode())
    assert result == {"success": True, "errorMessage": None}
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert re.search(r"^Total \d+\.\d\d% Downloading ", chunks[0].decode())
    assert chunks[-1].startswith(b"{")  # the result is a chunk of its own, for the JavaScript client
    assert "hello-generic-cpu:1" in [model["name"] for model in shop.client.models() if model["cached"]]
    assert b"".join(_post(shop, {"Model": {"name": "HELLO-generic-cpu"}})[1]).endswith(b'"errorMessage": null}\n')


def test_a_download_that_fails_says_why_in_its_result(shop: RunningService) -> None:
    status, chunks = _post(shop, _request("wrong-generic-cpu:1"))
    _, result = _python_client(b"".join(chunks).decode())
    assert status == 200
    assert result["success"] is False
    assert "ballast.bin" in result["errorMessage"]
    assert result["error"] == result["errorMessage"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (_request("nobody:7"), 404, "was not found"),
        ({}, 400, "the name of a model is missing"),
        ({"model": {"Uri": "x"}}, 400, "the name of a model is missing"),
        ({"model": 7}, 400, "the name of a model is missing"),
        ({"model": {"Name": "x" * 600}}, 400, "the name of a model is missing"),
        ({**_request("hello-generic-cpu:1"), "customDirPath": "/etc"}, 400, "customDirPath"),
    ],
)
def test_what_cannot_be_downloaded(shop: RunningService, body: dict[str, Any], status: int, text: str) -> None:
    answered, chunks = _post(shop, body)
    assert answered == status
    document = json.loads(b"".join(chunks))
    assert text in json.dumps(document)
    if answered == 404:
        assert document["success"] is False


def test_a_licence_is_accepted_by_the_request(tmp_path: Path) -> None:
    directory = write_mirror(tmp_path, {"own-generic-cpu:1": "Own."}, requiresAcceptance=True)
    with served(directory) as server:
        for shop in _service(tmp_path / "home", server):
            refused = json.loads(_post(shop, _request("own-generic-cpu:1"))[1][-1])
            assert refused["success"] is False
            assert "acceptLicense" in refused["errorMessage"]
            accepted = json.loads(_post(shop, {**_request("own-generic-cpu:1"), "acceptLicense": True})[1][-1])
            assert accepted["success"] is True
            assert "Fatal" not in (shop.paths.logs / "console.log").read_text()


def test_references_of_hugging_face_are_for_the_command(shop: RunningService) -> None:
    status, chunks = _post(shop, _request("hf:owner/repository"))
    assert status == 400
    assert "foundry model download hf:owner/repository" in json.loads(b"".join(chunks))["errorMessage"]


def test_the_service_fetches_the_list_of_azure_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with azure_stand_in() as azure:
        azure.entries = [entry("phi-tiny-generic-cpu")]
        monkeypatch.setenv("FOUNDRY_CATALOG_URL", azure.gallery_url)
        for service in run_service(tmp_path / "home"):
            assert "phi-tiny-generic-cpu:1" in [model["name"] for model in service.client.models()]


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_others_may_read_what_the_umask_of_who_started_the_service_lets_them(tmp_path: Path, mirror: WebServer) -> None:
    before = os.umask(0o002)
    try:
        for shop in _service(tmp_path, mirror):
            assert json.loads(_post(shop, _request("hello-generic-cpu:1"))[1][-1])["success"] is True
            files = [path for path in (shop.paths.default_cache / "Tests").rglob("*") if path.is_file()]
            assert files
            assert {path.name: oct(path.stat().st_mode) for path in files if path.stat().st_mode & 0o777 != 0o664} == {}
    finally:
        os.umask(before)


def test_a_client_that_goes_away_ends_the_download_and_keeps_what_arrived(tmp_path: Path) -> None:
    directory = write_mirror(tmp_path, {"large-generic-cpu:1": "Large."}, 40_000_000)
    plain, gate = static_files(directory), Gate()

    def respond(request: Seen) -> Answer:
        if request.path.endswith("ballast.bin"):
            gate.pass_one()
        return plain(request)

    with served(directory, respond) as server:
        for shop in _service(tmp_path / "home", server):
            connection = http.client.HTTPConnection("127.0.0.1", shop.client.record.port, timeout=60)
            body = json.dumps(_request("large-generic-cpu:1"))
            connection.request("POST", "/openai/download", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.readline().startswith(b"Total 0.0")
            service = psutil.Process(shop.client.record.pid)
            (child,) = [each for each in service.children() if "foundry_cli.download" in each.cmdline()]
            gate.wait_for_waiting(1)
            response.close()
            connection.close()
            gate.open_for(1000)
            psutil.wait_procs([child], timeout=20)
            assert not child.is_running()
            root = shop.paths.default_cache / "Tests" / "large-generic-cpu-1"
            assert (root / "download.tmp").exists()
            _, chunks = _post(shop, _request("large-generic-cpu:1"))
            assert json.loads(chunks[-1])["success"] is True
            assert not (root / "download.tmp").exists()

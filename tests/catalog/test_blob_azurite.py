"""Blob storage as Microsoft's emulator does it: real signatures that really expire, real listings."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from foundry_cli.catalog.sources.azure import AzureSource
from foundry_cli.catalog.sources.blob_container import BlobContainer, list_blobs
from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.errors import SourceError
from foundry_cli.http import HttpClient
from foundry_cli.remote import FileAddress
from tests.fakes.azure_catalog import azure_stand_in, entry
from tests.fakes.azurite import MISSING, Azurite, azurite, find_azurite

pytestmark = [pytest.mark.servers, pytest.mark.skipif(find_azurite() is None, reason=MISSING)]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Azurite]:
    with azurite() as running:
        yield running


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True)


def content_of(client: HttpClient, address: FileAddress) -> bytes:
    response, content = client.read("GET", address.url, headers=address.headers)
    assert response.status_code == 200
    return content


def test_what_was_uploaded_is_listed_and_can_be_read_at_its_address(emulator: Azurite, client: HttpClient) -> None:
    contents = {
        "v1/genai_config.json": b"{}",
        "v1/inference_model.json": b"not wanted",
        "v1/ä +#&%20;=.txt": b"odd name",
        "v1/model.onnx": bytes(range(256)) * 1000,
        "v1/empty": b"",
        "v1/folder": b"",
        "v1/folder/inside.json": b"[]",
    }
    emulator.make_container("odd-names")
    for name, content in contents.items():
        emulator.upload("odd-names", name, content)
    container = BlobContainer(client, lambda: emulator.container_url("odd-names"))
    expected = {name: data for name, data in contents.items() if name not in ("v1/folder", "v1/inference_model.json")}
    assert {file.path: file.size for file in container.files} == {name: len(data) for name, data in expected.items()}
    assert {file.path: content_of(client, container.address(file)) for file in container.files} == expected


def refused(client: HttpClient, address: FileAddress) -> bool:
    with client.open("GET", address.url) as response:
        return response.status_code == 403


def wait_until_refused(client: HttpClient, address: FileAddress) -> None:
    """Ask until the signature has expired."""
    pause = threading.Event()
    while not refused(client, address):
        pause.wait(0.05)


def test_a_signature_that_expires_in_the_middle_of_a_file_is_renewed(emulator: Azurite, client: HttpClient) -> None:
    content = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(1000))
    emulator.make_container("expiring")
    emulator.upload("expiring", "v1/model.onnx", content)
    lifetimes = iter([2, 3600])
    container = BlobContainer(client, lambda: emulator.container_url("expiring", seconds=next(lifetimes)))
    (file,) = container.files
    address = container.address(file)
    half = len(content) // 2
    _, first = client.read("GET", address.url, headers={"Range": f"bytes=0-{half - 1}"})
    wait_until_refused(client, address)
    renewed = container.address(file, address)
    assert renewed != address
    _, second = client.read("GET", renewed.url, headers={"Range": f"bytes={half}-"})
    assert first + second == content


def test_eight_threads_with_an_expired_signature_ask_for_one_new_one(emulator: Azurite, client: HttpClient) -> None:
    emulator.make_container("threads")
    for number in range(8):
        emulator.upload("threads", f"part{number}", b"%d" % number)
    lifetimes = iter([2, 3600])  # a third one would fail
    container = BlobContainer(client, lambda: emulator.container_url("threads", seconds=next(lifetimes)))
    stale = [container.address(file) for file in container.files]
    wait_until_refused(client, stale[0])

    def fetch(index: int) -> bytes:
        assert refused(client, stale[index])
        return content_of(client, container.address(container.files[index], stale[index]))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(fetch, range(8))) == [b"%d" % number for number in range(8)]


def test_an_expired_or_forged_signature_is_refused_by_the_listing(emulator: Azurite, client: HttpClient) -> None:
    emulator.make_container("refusing")
    forged = emulator.container_url("refusing").replace("sp=rl", "sp=rwl")
    for url in (emulator.container_url("refusing", seconds=-10), forged):
        with pytest.raises(SourceError, match=r"status 403 \(\w+\) to the list of files") as caught:
            list_blobs(client, url)
        assert "sig" not in caught.value.message


def test_a_model_of_the_catalog_is_opened_through_the_registry(
    emulator: Azurite, client: HttpClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    emulator.make_container("whole-way")
    emulator.upload("whole-way", "v1/genai_config.json", b"{}")
    directory = tmp_path_factory.mktemp("lists")
    with azure_stand_in() as azure:
        azure.entries = [entry("tiny-generic-cpu")]
        stored = StoredList(directory / "foundry.modelinfo.json", directory / "azure.json", "azure")
        source = AzureSource(stored, catalog_url=azure.gallery_url, registry_url=azure.registry_url)
        source.refresh(client)
        (model,) = source.models()
        azure.containers[model.uri] = emulator.container_url("whole-way")
        remote = source.open(model, client)
        assert [content_of(client, remote.address(file)) for file in remote.files] == [b"{}"]


@pytest.mark.slow
def test_more_files_than_the_service_sends_at_once_are_all_listed(emulator: Azurite, client: HttpClient) -> None:
    emulator.make_container("many-files")
    names = [f"v1/{number:05}" for number in range(5001)]
    for name in names:
        emulator.upload("many-files", name, b"x")
    assert [blob.name for blob in list_blobs(client, emulator.container_url("many-files"))] == names

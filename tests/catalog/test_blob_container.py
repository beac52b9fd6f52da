"""Listing a container and renewing its signature, against a stand-in; `test_blob_azurite.py` has the real thing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from foundry_cli.catalog.sources.blob_container import MOST_FILES, BlobContainer, list_blobs
from foundry_cli.errors import SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.remote import RemoteFile
from tests.fakes.azure_catalog import AT_ONCE, SAMPLES, AzureStandIn, azure_stand_in
from tests.fakes.web import Answer, web_server


@pytest.fixture
def azure() -> Iterator[AzureStandIn]:
    with azure_stand_in() as stand_in:
        stand_in.signatures = {"1"}
        yield stand_in


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True, retry=RetryPolicy(tries=2, first_wait=0.001), read_seconds=5)


def listed(content: bytes | str, client: HttpClient) -> list[RemoteFile]:
    """The files of a container whose listing is `content`."""
    body = content.encode() if isinstance(content, str) else content
    with web_server(lambda _: Answer(200, body, AT_ONCE)) as server:
        return list(BlobContainer(client, lambda: f"{server.url}/c?sig=x").files)


def listing(blobs: str) -> str:
    return f"<?xml version='1.0'?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"


def blob(name: str, size: object = 1) -> str:
    return f"<Blob><Name>{name}</Name><Properties><Content-Length>{size}</Content-Length></Properties></Blob>"


def test_the_files_of_the_original_listing_are_those_that_make_the_model(client: HttpClient) -> None:
    assert listed((SAMPLES / "blob_listing.xml").read_bytes(), client) == [
        RemoteFile("v4/genai_config.json", 1523),
        RemoteFile("v4/model.onnx.data", 5153960755),
        RemoteFile("v4/odd\ufffename.txt", 7),
        RemoteFile("v4/empty.txt", 0),
        RemoteFile("v4/tokenizer/vocab & merges.txt", 12),
    ]


def test_five_thousand_files_come_in_pages_with_markers(azure: AzureStandIn, client: HttpClient) -> None:
    azure.blobs = [(f"v1/part {number:04}", number) for number in range(5000)]
    azure.blob_page = 500
    files = BlobContainer(client, lambda: f"{azure.container_url}?sp=rl&sig=1").files
    assert [(file.path, file.size) for file in files] == azure.blobs
    assert len(azure.asked) == 10
    assert "marker=2%2192%21500" in azure.server.seen[1].path
    assert azure.server.seen[0].headers["x-ms-version"] == "2020-12-06"


@pytest.mark.slow
def test_a_listing_without_end_is_refused(client: HttpClient) -> None:
    same = "<EnumerationResults><Blobs/><NextMarker>again</NextMarker></EnumerationResults>"
    with pytest.raises(SourceError, match="has no end"):
        listed(same, client)
    many = "".join(blob(str(number)) for number in range(MOST_FILES // 2 + 1))
    pages = iter(range(100))

    def respond(_: object) -> Answer:
        text = f"<EnumerationResults><Blobs>{many}</Blobs><NextMarker>{next(pages)}</NextMarker></EnumerationResults>"
        return Answer(200, text.encode(), AT_ONCE)

    with web_server(respond) as server, pytest.raises(SourceError, match="has no end"):
        list_blobs(client, f"{server.url}/c")
    assert next(pages) == 2


def test_the_size_that_counts_is_that_of_the_listing_and_nothing_is_said_about_sha256(client: HttpClient) -> None:
    (file,) = listed(listing(blob("model.onnx", 2**40)), client)
    assert (file.size, file.sha256, file.chunk_digests) == (2**40, None, ())


def test_names_that_are_not_plain_are_passed_on_for_the_transfer_to_refuse(client: HttpClient) -> None:
    names = ["../up", "/root", "a\\b", "con", "download.tmp"]
    assert [file.path for file in listed(listing("".join(map(blob, names))), client)] == names


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\xff\xfe\x00",
        "<Error><Code>X</Code></Error>",
        "<EnumerationResults/>",
        listing(blob("model.onnx", "many")),
        listing(blob("model.onnx", -1)),
        listing(blob("model.onnx", "9" * 30)),
        listing(blob("", 1)),
        listing("<Blob><Name>model.onnx</Name></Blob>"),
        "<!DOCTYPE x [<!ENTITY a 'b'>]>" + listing(blob("&a;")).partition("?>")[2],
        ("<?xml version='1.0' encoding='utf-16'?>" + "<!DOCTYPE x [<!ENTITY a 'b'>]><a>&a;</a>").encode("utf-16"),
        "<EnumerationResults>" * 50_000,
    ],
)
def test_a_listing_that_cannot_be_read_is_an_error(client: HttpClient, content: bytes | str) -> None:
    with pytest.raises(SourceError, match=r"The list of files from http://127\.0\.0\.1:\d+ cannot be read\."):
        listed(content, client)


def test_entities_are_not_expanded(client: HttpClient) -> None:
    levels = "".join(f"<!ENTITY e{level} '{f'&e{level - 1};' * 10}'>" for level in range(1, 12))
    bomb = f"<?xml version='1.0'?><!DOCTYPE b [<!ENTITY e0 'boom'>{levels}]>" + listing(blob("&e11;")).partition("?>")[2]
    with pytest.raises(SourceError, match="cannot be read"):
        listed(bomb, client)


def test_a_server_that_stays_away_is_unreachable_and_a_refusal_is_named(azure: AzureStandIn, client: HttpClient) -> None:
    with pytest.raises(SourceError, match=r"status 403 \(AuthenticationFailed\) to the list of files"):
        list_blobs(client, f"{azure.container_url}?sig=2")
    for status in (501, 503):
        azure.faults["blobs"] = status
        with pytest.raises(SourceUnreachableError, match=str(status)):
            list_blobs(client, f"{azure.container_url}?sig=1")


def test_names_are_encoded_in_addresses_and_the_signature_follows(azure: AzureStandIn, client: HttpClient) -> None:
    azure.blobs = [("v1/ä +#?&%20;=.txt", 3)]
    container = BlobContainer(client, lambda: f"{azure.container_url}?sp=r%2Bl&sig=1")
    expected = f"{azure.container_url}/v1/%C3%A4%20%2B%23%3F%26%2520%3B%3D.txt?sp=r%2Bl&sig=1"
    address = container.address(container.files[0])
    assert (address.url, dict(address.headers)) == (expected, {})


def test_an_expired_signature_is_renewed_once_for_eight_threads(azure: AzureStandIn, client: HttpClient) -> None:
    azure.blobs = [(f"part{number}", 1) for number in range(8)]
    signatures, second = iter(range(1, 100)), threading.Barrier(2)

    def next_address() -> str:
        signature = next(signatures)
        if signature > 1:
            with suppress(threading.BrokenBarrierError):  # gives a second thread the time to come here: none does
                second.wait(0.2)
        return f"{azure.container_url}?sig={signature}"

    container = BlobContainer(client, next_address)
    stale = [container.address(file) for file in container.files]
    together = threading.Barrier(8)

    def renew(index: int) -> str:
        together.wait()
        return container.address(container.files[index], stale[index]).url

    with ThreadPoolExecutor(8) as threads:
        urls = list(threads.map(renew, range(8)))
    assert urls == [f"{azure.container_url}/part{number}?sig=2" for number in range(8)]
    assert next(signatures) == 3
    assert container.address(container.files[0]).url.endswith("sig=2")


def test_when_the_renewed_address_is_the_refused_one_there_is_no_other(azure: AzureStandIn, client: HttpClient) -> None:
    azure.blobs = [("part", 1)]
    container = BlobContainer(client, lambda: f"{azure.container_url}?sig=1")
    with pytest.raises(SourceError, match="refuses the address of part") as caught:
        container.address(container.files[0], container.address(container.files[0]))
    assert "sig" not in caught.value.message


def test_a_failed_renewal_is_told_and_can_be_tried_again(azure: AzureStandIn, client: HttpClient) -> None:
    azure.blobs = [("part", 1)]
    answers: list[str | Exception] = [
        f"{azure.container_url}?sig=1",
        SourceUnreachableError("The registry request failed."),
        f"{azure.container_url}?sig=2",
    ]

    def renew() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    container = BlobContainer(client, renew)
    first = container.address(container.files[0])
    with pytest.raises(SourceUnreachableError):
        container.address(container.files[0], first)
    assert container.address(container.files[0], first).url.endswith("sig=2")

"""The requests and pages of both protocols, against a server that applies their filters."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from foundry_cli.catalog.sources import azure_protocol
from foundry_cli.catalog.sources.azure_protocol import detect_region, is_gallery, list_models, request_body
from foundry_cli.errors import DownloadCancelledError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, RetryPolicy
from tests.fakes.azure_catalog import AT_ONCE, AzureStandIn, azure_stand_in, entry, sample
from tests.fakes.web import Answer, web_server


@pytest.fixture
def azure() -> Iterator[AzureStandIn]:
    with azure_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True, retry=RetryPolicy(tries=2, first_wait=0.001), read_seconds=5)


def urls(azure: AzureStandIn) -> list[str]:
    return [azure.gallery_url, azure.cross_region_url.replace("{region}", "eastus")]


def test_the_path_says_which_protocol_it_is() -> None:
    assert is_gallery("https://api.catalog.azureml.ms/asset-gallery/v1.0/models")
    assert is_gallery("https://catalog.example/deep/asset-gallery/v1.0/models/?x=1")
    assert not is_gallery("https://ai.azure.com/api/eastus/ux/v1.0/entities/crossRegion")
    assert not is_gallery("https://catalog.example/?/asset-gallery/v1.0/models")


def test_the_first_request_of_protocol_2_is_that_of_the_original_without_device_and_provider() -> None:
    assert request_body(True, (None, None)) == {
        "filters": [
            {"field": "type", "operator": "eq", "values": ["models"]},
            {"field": "kind", "operator": "eq", "values": ["Versioned"]},
            {
                "field": "annotations/systemCatalogData/deploymentOptions",
                "operator": "eq",
                "values": ["Foundry Local on Devices"],
            },
            {"field": "annotations/archived", "operator": "NotEquals", "values": ["true"]},
            {"field": "labels", "operator": "eq", "values": ["latest"]},
        ],
        "pageSize": 50,
    }


def test_the_first_request_of_protocol_1_is_that_of_the_original_without_device_and_provider() -> None:
    assert request_body(False, (None, None)) == {
        "resourceIds": [{"resourceId": "azureml", "entityContainerType": "Registry"}],
        "indexEntitiesRequest": {
            "filters": [
                {"field": "type", "operator": "eq", "values": ["models"]},
                {"field": "kind", "operator": "eq", "values": ["Versioned"]},
                {"field": "labels", "operator": "eq", "values": ["latest"]},
                {"field": "annotations/tags/foundryLocal", "operator": "eq", "values": [""]},
            ],
            "pageSize": 50,
            "skip": None,
            "continuationToken": None,
        },
    }


def test_variants_for_every_device_and_every_provider_are_listed(azure: AzureStandIn, client: HttpClient) -> None:
    variants = [
        ("phi-generic-cpu", "cpu", "CPUExecutionProvider"),
        ("phi-cuda-gpu", "GPU", "CUDAExecutionProvider"),
        ("phi-openvino-npu", "npu", "OpenVINOExecutionProvider"),
        ("phi-unheard-gpu", "gpu", "UnheardOfExecutionProvider"),
    ]
    azure.entries = [entry(*variant) for variant in variants]
    for url in urls(azure):
        listed = {(model.name, model.device.lower(), model.execution_provider) for model in list_models(client, url).models}
        assert listed == {(name, device.lower(), provider) for name, device, provider in variants}


def test_what_is_not_for_devices_or_archived_or_not_the_latest_stays_out(azure: AzureStandIn, client: HttpClient) -> None:
    old, archived, foreign = entry("old-generic-cpu"), entry("archived-generic-cpu"), entry("foreign-generic-cpu")
    old["annotations"]["labels"] = ["preview"]
    archived["annotations"]["archived"] = True
    foreign["annotations"]["systemCatalogData"]["deploymentOptions"] = ["Serverless"]
    foreign["annotations"]["tags"]["foundryLocal"] = "test"
    azure.entries = [old, archived, foreign, entry("good-generic-cpu")]
    listed = [{model.name for model in list_models(client, url).models} for url in urls(azure)]
    assert listed == [{"good-generic-cpu"}, {"good-generic-cpu", "archived-generic-cpu"}]  # protocol 1 does not know archives


@pytest.mark.parametrize("paging", ["both", "skip", "token"])
def test_all_pages_are_asked_for(azure: AzureStandIn, client: HttpClient, paging: str) -> None:
    azure.paging = paging
    azure.entries = [entry(f"m{number}-generic-cpu") for number in range(120)]
    for url in urls(azure):
        assert [model.name for model in list_models(client, url).models] == [f"m{n}-generic-cpu" for n in range(120)]
    assert azure.asked == ["gallery", "gallery#2", "gallery#3", "eastus", "eastus#2", "eastus#3"]


@pytest.mark.slow
def test_ten_thousand_entries_are_listed_page_by_page(azure: AzureStandIn, client: HttpClient) -> None:
    azure.entries = [entry(f"m{number}-generic-cpu") for number in range(10_000)]
    listing = list_models(client, azure.gallery_url)
    assert len(listing.models) == 10_000
    assert len(azure.asked) == 200


@pytest.mark.parametrize(("paging", "requests"), [("repeating", 2), ("endless", 4)])
def test_a_server_whose_pages_have_no_end_is_left(azure: AzureStandIn, client: HttpClient, paging: str, requests: int) -> None:
    azure.paging = paging  # the same token again; or always another page, of which the last ones are empty
    azure.entries = [entry(f"m{number}-generic-cpu") for number in range(130)]
    listing = list_models(client, azure.gallery_url)
    assert len(azure.asked) == requests
    assert len({model.id for model in listing.models}) == len(listing.models)


@pytest.mark.slow
def test_the_number_of_pages_is_bounded(client: HttpClient) -> None:
    page = 0

    def respond(_: object) -> Answer:
        nonlocal page
        page += 1
        document = {"value": [entry("same-generic-cpu")], "continuationToken": str(page)}
        return Answer(200, json.dumps(document).encode(), AT_ONCE)

    with web_server(respond) as server:
        listing = list_models(client, f"{server.url}/asset-gallery/v1.0/models")
    assert page == azure_protocol.MOST_PAGES
    assert len(listing.models) == 1


def test_malformed_entries_are_counted_and_the_others_listed_once(azure: AzureStandIn, client: HttpClient) -> None:
    again = entry("Good-Generic-CPU")
    azure.entries = [None, entry("good-generic-cpu"), 5, again, {"assetId": "x", **_found_by_filters()}]
    for url in urls(azure):
        listing = list_models(client, url)
        assert [model.id for model in listing.models] == ["good-generic-cpu:1"]
        assert listing.skipped == 3


def _found_by_filters() -> dict[str, Any]:
    found = entry("x-generic-cpu")
    return {key: found[key] for key in ("type", "kind", "annotations")}


@pytest.mark.parametrize("layout", ["value", "summaries", "indexEntitiesResponse"])
def test_every_layout_of_an_answer_is_taken_from_protocol_2(azure: AzureStandIn, client: HttpClient, layout: str) -> None:
    azure.layout = layout
    azure.entries = [entry("good-generic-cpu")]
    assert [model.id for model in list_models(client, azure.gallery_url).models] == ["good-generic-cpu:1"]


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("v1_response.json", ["Phi-4-mini-instruct-generic-cpu:5", "deepseek-r1-distill-qwen-7b-qnn-npu:1"]),
        ("v2_value.json", ["qwen2.5-0.5b-instruct-cuda-gpu:4", "whisper-tiny-future-npu:2"]),
        ("v2_summaries.json", ["qwen3-0.6b-generic-gpu:3"]),
    ],
)
def test_the_answers_of_the_original_servers_are_read(client: HttpClient, name: str, ids: list[str]) -> None:
    with web_server(lambda _: Answer(200, json.dumps(sample(name)).encode())) as server:
        assert [model.id for model in list_models(client, server.url).models] == ids


def test_requests_carry_the_user_agent_that_the_servers_ask_for_and_nothing_of_the_user(
    azure: AzureStandIn, client: HttpClient
) -> None:
    azure.entries = [entry("good-generic-cpu")]
    for url in urls(azure):
        list_models(client, url)
    expected = {"host", "user-agent", "accept-encoding", "content-length", "content-type"}
    gallery, regional = [seen.headers for seen in azure.server.seen]
    assert set(gallery) == {*expected, "x-ms-use-full-service-contracts"}
    assert set(regional) == expected
    assert gallery["user-agent"] == regional["user-agent"] == "AzureAiStudio"


def test_the_region_is_read_from_the_header_of_the_answer(azure: AzureStandIn, client: HttpClient) -> None:
    azure.entries = [entry("good-generic-cpu")]
    assert list_models(client, azure.gallery_url).region == "westeurope"
    assert detect_region(client, azure.gallery_url) == "westeurope"
    for header in (None, "vienna", "vienna-../evil.example/-01"):
        azure.served_by = header
        assert list_models(client, azure.gallery_url).region is None
        assert detect_region(client, azure.gallery_url) is None


def test_a_region_that_cannot_be_found_out_is_no_failure(azure: AzureStandIn, client: HttpClient) -> None:
    for status in (400, 503):
        azure.faults["detection"] = status
        assert detect_region(client, azure.gallery_url) is None


def test_a_catalog_without_models_is_an_error(azure: AzureStandIn, client: HttpClient) -> None:
    unusable: list[list[Any]] = [[], [None, {}]]
    for entries in unusable:
        azure.entries = entries
        with pytest.raises(SourceError, match=r"^No models were returned from the Azure Foundry catalog\.$"):
            list_models(client, azure.gallery_url)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Answer(400), SourceError, "status 400"),
        (Answer(404), SourceError, "status 404"),
        (Answer(501), SourceUnreachableError, "status 501"),
        (Answer(503), SourceUnreachableError, "status 503"),
        (Answer(200, b"<html>"), SourceError, "not JSON"),
        (Answer(200, b"[" * 100_000), SourceError, "not JSON"),
        (Answer(200, b"[]"), SourceError, "not a JSON object"),
        (Answer(200, b"{}"), SourceError, "not a page"),
        (Answer(200, b'{"value":{"a":1}}'), SourceError, "not a page"),
        (Answer(200, b'{"indexEntitiesResponse":3}'), SourceError, "not a page"),
        (Answer(200, b'{"value"', {"Content-Length": "4000"}), SourceUnreachableError, "cannot be reached|broke off"),
    ],
)
def test_answers_that_cannot_be_used_are_errors_that_name_the_server(
    client: HttpClient, answer: Answer, error: type[Exception], text: str
) -> None:
    with web_server(lambda _: answer) as server, pytest.raises(error, match=text) as caught:
        list_models(HttpClient(retry=RetryPolicy(tries=1), read_seconds=0.3), f"{server.url}/secret?sig=1")
    assert server.url in str(caught.value)
    assert "sig" not in str(caught.value)


def test_a_page_that_fails_once_is_asked_for_again(azure: AzureStandIn) -> None:
    azure.entries = [entry(f"m{number}-generic-cpu") for number in range(60)]
    azure.faults["eastus#2"] = 503
    once = HttpClient(retry=RetryPolicy(tries=1))

    class Recovering(HttpClient):
        def pause(self, seconds: float) -> None:
            azure.faults.clear()

    listing = list_models(once, urls(azure)[1], later=Recovering())
    assert len(listing.models) == 60
    assert azure.asked == ["eastus", "eastus#2", "eastus#2"]


def test_cancelling_ends_the_listing(azure: AzureStandIn) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(DownloadCancelledError):
        list_models(HttpClient(cancelled=cancelled), azure.gallery_url)
    assert azure.asked == []

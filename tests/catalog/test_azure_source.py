"""The Azure source as a whole: refresh, what is stored, what happens when servers fail, and the way to the files."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry_cli.catalog.sources.azure import AzureSource
from foundry_cli.catalog.sources.azure_endpoints import MICROSOFT, Endpoints
from foundry_cli.catalog.sources.azure_entry import model_of
from foundry_cli.catalog.sources.azure_registry import is_usable
from foundry_cli.catalog.sources.base import RemoteSource
from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.errors import CacheError, DownloadCancelledError, OfflineError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, RetryPolicy
from tests.fakes.azure_catalog import SILENT, AzureStandIn, azure_stand_in, entry, sample


@pytest.fixture
def azure() -> Iterator[AzureStandIn]:
    with azure_stand_in() as stand_in:
        stand_in.entries = [entry("phi-generic-cpu"), entry("phi-cuda-gpu", "gpu", "CUDAExecutionProvider")]
        yield stand_in


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True, retry=RetryPolicy(tries=2, first_wait=0.001), read_seconds=0.5)


@pytest.fixture
def stored(tmp_path: Path) -> StoredList:
    return StoredList(tmp_path / "models" / "foundry.modelinfo.json", tmp_path / "azure.json", "azure")


def microsoft(azure: AzureStandIn, stored: StoredList) -> AzureSource:
    """The source as it is without any setting, with its servers on this machine."""
    return AzureSource(stored, endpoints=Endpoints(azure.gallery_url, azure.cross_region_url, azure.registry_url))


def ids(source: AzureSource) -> list[str]:
    return [model.id for model in source.models()]


BOTH = ["phi-generic-cpu:1", "phi-cuda-gpu:1"]


def test_the_addresses_of_microsoft_are_those_of_the_original() -> None:
    assert MICROSOFT.gallery == "https://api.catalog.azureml.ms/asset-gallery/v1.0/models"
    assert MICROSOFT.cross_region == "https://ai.azure.com/api/{region}/ux/v1.0/entities/crossRegion"
    assert MICROSOFT.registry == "https://{region}.api.azureml.ms"


def test_before_the_first_refresh_there_is_nothing_and_it_is_stale(azure: AzureStandIn, stored: StoredList) -> None:
    source = microsoft(azure, stored)
    assert isinstance(source, RemoteSource)
    assert (source.name, source.models(), source.is_stale()) == ("azure", [], True)
    assert source.state().refreshed is None
    assert azure.asked == []


def test_a_refresh_stores_the_list_and_the_region_for_the_next_process(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    microsoft(azure, stored).refresh(client)
    assert azure.asked == ["gallery"]
    document = json.loads(stored.file.read_bytes())
    assert (document["version"], document["detectedRegion"]) == (1, "westeurope")
    assert document["models"][0]["providerType"] == "AzureFoundry"
    again = microsoft(azure, stored)
    assert ids(again) == BOTH
    assert not again.is_stale()
    state = again.state()
    assert (state.name, state.location, state.models, state.problem) == ("azure", azure.gallery_url, 2, "")
    assert state.refreshed is not None
    assert azure.asked == ["gallery"]  # nothing of this asked again


def test_when_the_new_protocol_fails_the_older_one_is_asked_in_the_detected_region(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    azure.faults["gallery"] = 400
    source = microsoft(azure, stored)
    source.refresh(client)
    assert azure.asked == ["gallery", "detection", "westeurope"]
    assert ids(source) == BOTH


def test_the_region_that_answered_is_asked_first_the_next_time(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    azure.faults.update({"gallery": 404, "westeurope": 429, "northeurope": 503})
    azure.served_by = "vienna-westeurope-02"
    source = AzureSource(stored, catalog_url=azure.cross_region_url)
    azure.served_by = None
    azure.faults.update({"eastus": 503, "eastus2": 429, "centralus": SILENT})
    source.refresh(client)
    assert azure.asked == ["eastus", "eastus2", "centralus", "southcentralus"]
    assert stored.document()["detectedRegion"] == "southcentralus"
    azure.asked.clear()
    source.refresh(client)
    assert azure.asked == ["southcentralus"]


def test_later_pages_stay_in_the_region_of_the_first(azure: AzureStandIn, stored: StoredList, client: HttpClient) -> None:
    azure.entries = [entry(f"m{number}-generic-cpu") for number in range(120)]
    azure.faults["eastus"] = 500
    source = AzureSource(stored, catalog_url=azure.cross_region_url)
    source.refresh(client)
    assert azure.asked == ["eastus", "eastus2", "eastus2#2", "eastus2#3"]
    assert len(source.models()) == 120


def test_a_region_that_fails_in_the_middle_gives_nothing_and_the_next_one_begins_again(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    azure.entries = [entry(f"m{number}-generic-cpu") for number in range(60)]
    azure.faults["eastus#2"] = 503
    source = AzureSource(stored, catalog_url=azure.cross_region_url)
    source.refresh(client)
    assert azure.asked == ["eastus", "eastus#2", "eastus#2", "eastus2", "eastus2#2"]
    assert len(source.models()) == 60


def test_a_given_address_is_the_only_one_that_is_asked(azure: AzureStandIn, stored: StoredList, client: HttpClient) -> None:
    url = f"{azure.server.url}/api/somewhere/ux/v1.0/entities/crossRegion?key=secret"
    source = AzureSource(stored, catalog_url=url)
    source.refresh(client)
    assert azure.asked == ["somewhere"]
    assert source.location == source.state().location == url.partition("?")[0]
    azure.faults["somewhere"] = 503
    with pytest.raises(SourceUnreachableError, match="503"):
        source.refresh(client)
    assert azure.asked == ["somewhere"] * 3  # twice more, as the client retries


def test_a_failed_refresh_keeps_the_list_and_says_why_and_waits(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    source = AzureSource(stored, catalog_url=azure.gallery_url)
    source.refresh(client)
    azure.faults["gallery"] = 503
    with pytest.raises(SourceUnreachableError):
        source.refresh(client)
    assert ids(source) == BOTH
    assert "status 503" in source.state().problem
    hours_later = StoredList(stored.file, stored.file.parent.parent / "azure.json", "azure", lambda: time.time() + 7 * 3600)
    assert hours_later.is_stale()
    stored.file.unlink()
    assert not source.is_stale()  # just failed
    azure.faults.clear()
    source.refresh(client)
    assert source.state().problem == ""


def test_an_empty_answer_never_replaces_a_list(azure: AzureStandIn, stored: StoredList, client: HttpClient) -> None:
    source = microsoft(azure, stored)
    source.refresh(client)
    azure.entries = []
    with pytest.raises(SourceError, match="No models were returned"):
        source.refresh(client)
    assert ids(source) == BOTH


def test_when_everything_fails_the_error_names_every_place_with_its_reason(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    azure.faults.update({"gallery": 503, "westeurope": SILENT, "everywhere": 429})
    with pytest.raises(SourceUnreachableError) as caught:
        microsoft(azure, stored).refresh(client)
    message = caught.value.message
    assert message.startswith(f"{azure.server.url} answers with status 503. The catalog request failed across 7 regions: ")
    regions = set(azure.asked) - {"gallery", "detection", "westeurope"}
    assert len(regions) == 6
    assert all(f"{region} (status 429)" in message for region in regions)
    assert "westeurope (it does not answer in time)" in message
    assert stored.problem == message


def test_an_answer_that_cannot_be_used_ends_the_search_of_regions(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    azure.faults.update({"gallery": 400, "westeurope": 403})
    with pytest.raises(SourceError, match=r"status 400\. .* status 403\.$"):
        microsoft(azure, stored).refresh(client)
    assert azure.asked == ["gallery", "detection", "westeurope"]


def test_being_offline_or_cancelled_is_not_remembered_as_a_failure(stored: StoredList, azure: AzureStandIn) -> None:
    source = AzureSource(stored)
    with pytest.raises(OfflineError):
        source.refresh(HttpClient(is_offline=True))
    cancelled = HttpClient()
    cancelled.cancelled.set()
    with pytest.raises(DownloadCancelledError):
        source.refresh(cancelled)
    assert source.is_stale()
    assert source.state().problem == ""


def test_a_cache_that_cannot_be_written_leaves_the_new_list_usable(
    tmp_path: Path, azure: AzureStandIn, client: HttpClient
) -> None:
    (tmp_path / "file").write_text("in the way of the directory")
    stored = StoredList(tmp_path / "file" / "foundry.modelinfo.json", tmp_path / "azure.json", "azure")
    source = microsoft(azure, stored)
    with pytest.raises(CacheError, match="cannot be stored in"):
        source.refresh(client)
    assert ids(source) == BOTH
    assert "cannot be stored" in source.state().problem
    assert not source.is_stale()  # the servers are not asked again at once


def test_models_for_a_newer_version_of_the_original_are_stored_but_hidden(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    azure.entries = sample("v2_value.json")["value"]  # one of them asks for 9.0.0
    source = microsoft(azure, stored)
    source.refresh(client)
    assert ids(source) == ["qwen2.5-0.5b-instruct-cuda-gpu:4"]
    assert [model.min_version for model in stored.models()] == ["1.0.0", "9.0.0"]


@pytest.mark.parametrize(
    ("version", "is_shown"),
    [("0.8.117", True), ("2.2.1", True), ("2.2", True), ("2.2.1-beta", True), ("later", True), ("", True),
     ("2.2.2", False), ("2.10", False), ("3", False), ("2.2.1.1", False), ("3.0.0-rc.1", False)],
)  # fmt: skip
def test_versions_are_compared_number_by_number(
    azure: AzureStandIn, stored: StoredList, client: HttpClient, version: str, is_shown: bool
) -> None:
    asking = entry("asking-generic-cpu")
    asking["properties"]["minFLVersion"] = version
    azure.entries = [asking]
    source = microsoft(azure, stored)
    source.refresh(client)
    assert bool(source.models()) == is_shown


def opened(azure: AzureStandIn, source: AzureSource, client: HttpClient) -> list[str]:
    source.refresh(client)
    azure.asked.clear()
    azure.blobs = [("v1/genai_config.json", 5), ("v1/model.onnx", 7)]
    azure.signatures = {"good"}
    azure.containers = {model.uri: f"{azure.container_url}?sp=rl&sig=good" for model in source.models()}
    remote = source.open(source.models()[0], client)
    return [remote.address(file).url for file in remote.files]


def test_the_files_of_a_model_come_from_the_container_that_the_registry_names(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    urls = opened(azure, microsoft(azure, stored), client)
    assert urls == [f"{azure.container_url}/v1/{name}?sp=rl&sig=good" for name in ("genai_config.json", "model.onnx")]
    assert azure.asked == ["registry westeurope", "blobs"]  # the region of the catalog


def test_the_registry_is_asked_in_other_regions_and_the_one_that_answered_first_again(
    azure: AzureStandIn, stored: StoredList, client: HttpClient
) -> None:
    azure.served_by = None  # then it is centralus
    azure.faults.update({"registry centralus": SILENT, "registry eastus2": 429})
    source = microsoft(azure, stored)
    opened(azure, source, client)
    assert azure.asked == ["registry centralus", "registry eastus2", "registry southcentralus", "blobs"]
    azure.asked.clear()
    remote = source.open(source.models()[0], client)
    first = remote.address(remote.files[0])
    azure.containers = {uri: address.replace("good", "renewed") for uri, address in azure.containers.items()}
    assert remote.address(remote.files[0], first).url.endswith("sig=renewed")
    assert azure.asked == ["registry southcentralus", "blobs", "registry southcentralus"]


def test_a_given_registry_is_the_only_one_that_is_asked(azure: AzureStandIn, stored: StoredList, client: HttpClient) -> None:
    registry = f"{azure.server.url}/registry/mine/"
    source = AzureSource(stored, catalog_url=azure.gallery_url, registry_url=registry)
    assert len(opened(azure, source, client)) == 2
    assert azure.asked == ["registry mine", "blobs"]
    azure.faults["registry mine"] = 503
    with pytest.raises(SourceUnreachableError, match="503"):
        source.open(source.models()[0], client)


@pytest.mark.parametrize(
    "address",
    [None, 5, "", "container", "ftp://127.0.0.1/c?sig=x", "http://files.example/c?sig=x", "https://user@files.example/c?sig=x",
     "https://[broken/c?sig=x"],
)  # fmt: skip
def test_an_address_that_must_not_be_used_is_refused_without_showing_it(
    azure: AzureStandIn, stored: StoredList, client: HttpClient, address: object
) -> None:
    source = microsoft(azure, stored)
    source.refresh(client)
    azure.containers = {source.models()[0].uri: address}  # type: ignore[dict-item]
    with pytest.raises(SourceError, match=r"phi-generic-cpu:1|status 404") as caught:
        source.open(source.models()[0], client)
    assert "sig" not in caught.value.message


def test_a_server_elsewhere_cannot_lead_to_servers_of_this_machine() -> None:
    assert is_usable("https://files.example/c?sig=x", "https://eastus.api.azureml.ms")
    assert is_usable("http://127.0.0.1:9/c?sig=x", "http://127.0.0.1:8")
    for host in ("127.0.0.1:9", "localhost", "[::1]:5", "127.1.2.3"):
        for scheme in ("http", "https"):
            assert not is_usable(f"{scheme}://{host}/c?sig=x", "https://eastus.api.azureml.ms")


def test_signatures_are_in_no_message_and_no_log(
    azure: AzureStandIn, stored: StoredList, client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="foundry"):
        opened(azure, microsoft(azure, stored), client)
        azure.signatures = {"another"}
        source = microsoft(azure, stored)
        with pytest.raises(SourceError, match=r"status 403 \(AuthenticationFailed\)") as caught:
            source.open(source.models()[0], client)
        azure.faults["blobs"] = 503
        with pytest.raises(SourceUnreachableError) as unreachable:
            source.open(source.models()[0], client)
    for text in (str(caught.value), str(unreachable.value), caplog.text):
        assert "sig" not in text


@pytest.mark.slow
def test_ten_thousand_stored_models_are_read_in_the_time_of_a_few_readings_of_the_file(stored: StoredList) -> None:
    models = [model_of(entry(f"m{number}-generic-cpu")) for number in range(10_000)]
    stored.save(model for model in models if model)

    def measured(source: AzureSource) -> float:
        begun = time.process_time()
        assert len(source.models()) == 10_000
        return time.process_time() - begun

    def reading() -> float:
        begun = time.process_time()
        json.loads(stored.file.read_bytes())
        return time.process_time() - begun

    fresh = [AzureSource(StoredList(stored.file, stored.file, "azure")) for _ in range(3)]
    assert min(measured(each) for each in fresh) < 4 * min(reading() for _ in range(3))

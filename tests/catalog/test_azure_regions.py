"""Which regions are asked, in which order, and what is said when none of them answers."""

from __future__ import annotations

import pytest

from foundry_cli.catalog.sources.azure_regions import ask_regions, check_region, region_of, regions_from
from foundry_cli.errors import DownloadCancelledError, OfflineError, SourceError, SourceUnreachableError

ADDRESS = "https://{region}.example"


def test_neighbours_follow_in_the_order_of_the_original_and_then_one_by_chance() -> None:
    regions = regions_from("centralindia")
    assert regions[:7] == ["centralindia", "southindia", "jioindiawest", "southeastasia", "uaenorth", "westeurope", "eastus"]
    assert len(regions) == len(set(regions)) == 8
    assert regions_from("eastus")[:6] == ["eastus", "eastus2", "centralus", "southcentralus", "westus2", "westeurope"]


def test_an_unknown_region_has_regions_of_all_continents_as_neighbours() -> None:
    regions = regions_from("marsnorth")
    assert regions[:4] == ["marsnorth", "eastus", "westeurope", "southeastasia"]
    assert len(regions) == len(set(regions))


def test_the_first_region_that_answers_counts() -> None:
    asked = []

    def ask(url: str) -> str:
        asked.append(url)
        if "eastus2" not in url:
            raise SourceUnreachableError("https://eastus.example cannot be reached: it does not answer in time.")
        return "answer"

    assert ask_regions("The request", ADDRESS, "eastus", ask) == ("eastus2", "answer")
    assert asked == ["https://eastus.example", "https://eastus2.example"]


def test_the_error_lists_every_region_with_its_reason() -> None:
    def ask(url: str) -> str:
        reason = "cannot be reached: it does not answer in time" if "eastus" in url else "answers with status 503"
        raise SourceUnreachableError(f"{url} {reason}.")

    with pytest.raises(SourceUnreachableError) as caught:
        ask_regions("The registry request", ADDRESS, "westeurope", ask)
    message = caught.value.message
    assert message.startswith("The registry request failed across 8 regions: westeurope (status 503), northeurope (status 503)")
    assert "eastus (it does not answer in time)" in message
    assert "\n" not in message


@pytest.mark.parametrize("error", [SourceError("unusable"), OfflineError("offline"), DownloadCancelledError("cancelled")])
def test_other_errors_end_the_search_at_once(error: Exception) -> None:
    asked = []

    def ask(url: str) -> str:
        asked.append(url)
        raise error

    with pytest.raises(type(error)):
        ask_regions("The request", ADDRESS, "eastus", ask)
    assert len(asked) == 1


def test_an_address_without_regions_is_asked_once() -> None:
    assert ask_regions("The request", "https://one.example", "eastus", lambda url: url) == (None, "https://one.example")


def test_only_a_plain_word_is_a_region() -> None:
    assert region_of({"azureml-served-by-cluster": "Vienna-EastUS-01"}) == "eastus"
    assert region_of({}) is None
    assert check_region("eastus2") == "eastus2"
    for text in ("evil.example/", "", "-a", "a" * 60, None, 5, "east us"):
        assert check_region(text) is None

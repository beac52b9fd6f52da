"""A stand-in for Microsoft's catalog, registry and listing of blobs, on one port of this machine.

It applies the filters of a request to its entries as the catalog does, so that a request that asks for too little gets
too little. What regions do can be set: an HTTP status, or `SILENT`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.fakes.web import Answer, Seen, WebServer, web_server

SAMPLES = Path(__file__).parent.parent / "catalog" / "samples"
SILENT = "no answer"
AT_ONCE = {"Connection": "close"}  # else the second half of a small answer waits 40 ms for an acknowledgement of the first
GALLERY_PATH = "/asset-gallery/v1.0/models"
_CROSS_REGION = re.compile(r"/api/(\w+)/ux/v1\.0/entities/crossRegion")
_REGISTRY = re.compile(r"/registry/(\w+)/modelregistry/v1\.0/registry/models/nonazureaccount")


def sample(name: str) -> Any:
    """A JSON sample of the original."""
    return json.loads((SAMPLES / name).read_text(encoding="utf-8"))


def entry(name: str, device: str = "cpu", provider: str = "CPUExecutionProvider", version: int = 1) -> dict[str, Any]:
    """A full entry that both protocols find."""
    return {
        "assetId": f"azureml://registries/azureml/models/{name}/versions/{version}",
        "entityId": f"{name}:{version}",
        "type": "models",
        "kind": "Versioned",
        "annotations": {
            "labels": ["latest"],
            "archived": False,
            "tags": {"foundryLocal": "", "alias": name.rsplit("-", 2)[0], "task": "chat-completion"},
            "systemCatalogData": {"publisher": "Tests", "deploymentOptions": ["Foundry Local on Devices"]},
        },
        "properties": {
            "id": f"{name}:{version}",
            "name": name,
            "version": version,
            "variantInfo": {"variantMetadata": {"device": device, "executionProvider": provider, "fileSizeBytes": 1 << 20}},
        },
    }


class AzureStandIn:
    """What the servers know and do; everything may be changed while they run."""

    def __init__(self) -> None:
        self.entries: list[Any] = []  # to be replaced, not changed
        self.faults: dict[str, int | str] = {}  # by region, "gallery", "everywhere", or with the page: "eastus#2"
        self.served_by: str | None = "vienna-westeurope-02"
        self.paging = "both"  # or "skip", "token", "repeating", "endless"
        self.layout = "value"  # of answers of protocol v2; or "summaries", "indexEntitiesResponse"
        self.containers: dict[str, str] = {}  # address with signature, by asset id
        self.blobs: list[tuple[str, int]] = []
        self.blob_page = 5000
        self.signatures: set[str] = set()  # that are accepted by the listing of blobs
        self.asked: list[str] = []  # "gallery", a region, "registry REGION", "blobs"; with "#2" for a second page
        self.bodies: list[Any] = []  # of requests to the catalog
        self.ended = threading.Event()
        self._last: tuple[Any, list[Any], list[Any]] | None = None
        self.server: WebServer

    @property
    def gallery_url(self) -> str:
        """Address of protocol v2."""
        return self.server.url + GALLERY_PATH

    @property
    def cross_region_url(self) -> str:
        """Address of protocol v1."""
        return self.server.url + "/api/{region}/ux/v1.0/entities/crossRegion"

    @property
    def registry_url(self) -> str:
        """Address of the registry."""
        return self.server.url + "/registry/{region}"

    @property
    def container_url(self) -> str:
        """Address of the container, without a signature."""
        return self.server.url + "/container"

    def respond(self, seen: Seen) -> Answer:
        """The answer to any request."""
        path = urlsplit(seen.path).path
        query = parse_qs(urlsplit(seen.path).query, keep_blank_values=True)
        if path == "/container":
            return self._fault("blobs") or self._blob_page(query)
        if seen.headers.get("user-agent") != "AzureAiStudio":
            return Answer(400)
        if match := _REGISTRY.fullmatch(path):
            return self._fault(f"registry {match.group(1)}") or self._registry(query)
        document = json.loads(seen.body)
        self.bodies.append(document)
        if path == GALLERY_PATH and seen.headers.get("x-ms-use-full-service-contracts") == "true":
            return self._catalog("gallery", document, self.layout)
        if match := _CROSS_REGION.fullmatch(path):
            return self._catalog(match.group(1), document["indexEntitiesRequest"], "indexEntitiesResponse")
        return Answer(404)

    def _fault(self, place: str) -> Answer | None:
        self.asked.append(place)
        fault = self.faults.get(place, self.faults.get("everywhere"))
        if fault == SILENT:
            self.ended.wait()
        return Answer(fault, headers={"Retry-After": "0"}) if isinstance(fault, int) else None

    def _catalog(self, place: str, request: dict[str, Any], layout: str) -> Answer:
        if request == {"filters": [], "pageSize": 1}:
            return self._fault("detection") or self._json({})
        start = request.get("skip") or int(request.get("continuationToken") or 0)
        size = request["pageSize"]
        if fault := self._fault(f"{place}#{start // size + 1}" if start else place):
            return fault
        found = self._found(request["filters"])
        page: dict[str, Any] = {
            "totalCount": len(found),
            "summaries" if layout == "summaries" else "value": found[start : start + size],
        }
        page.update(self._next(start + size, len(found)))
        return self._json({"indexEntitiesResponse": page} if layout == "indexEntitiesResponse" else page)

    def _found(self, filters: list[dict[str, Any]]) -> list[Any]:
        """The entries that the filters let through, remembered for the next page; what is no entry always comes."""
        if self._last is None or self._last[0] != filters or self._last[1] is not self.entries:
            found = [each for each in self.entries if not isinstance(each, dict) or _is_found(each, filters)]
            self._last = filters, self.entries, found
        return self._last[2]

    def _next(self, start: int, total: int) -> dict[str, Any]:
        if self.paging == "repeating":
            return {"nextSkip": None, "continuationToken": "0"}
        if self.paging == "endless":
            return {"nextSkip": start, "continuationToken": None}
        is_last = start >= total
        skip = None if is_last or self.paging == "token" else start
        return {"nextSkip": skip, "continuationToken": None if is_last or self.paging == "skip" else str(start)}

    def _json(self, document: Any) -> Answer:
        headers = {"azureml-served-by-cluster": self.served_by} if self.served_by else {}
        return Answer(200, json.dumps(document).encode(), {**AT_ONCE, **headers})

    def _registry(self, query: dict[str, list[str]]) -> Answer:
        address = self.containers.get(query["assetId"][0])
        return self._json({"blobSasUri": address, "modelEntity": {"description": ""}}) if address else Answer(404)

    def _blob_page(self, query: dict[str, list[str]]) -> Answer:
        if query.get("sig", [""])[0] not in self.signatures:
            body = b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>"
            return Answer(403, body, {"x-ms-error-code": "AuthenticationFailed"})
        assert query["restype"] == ["container"]
        assert query["comp"] == ["list"]
        start = int(unquote(query.get("marker", ["0"])[0]).removeprefix("2!92!") or 0)
        entries = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{size}</Content-Length></Properties></Blob>"
            for name, size in self.blobs[start : start + self.blob_page]
        )
        following = f"2!92!{start + self.blob_page}" if start + self.blob_page < len(self.blobs) else ""
        text = f"\ufeff<?xml version='1.0' encoding='utf-8'?><EnumerationResults><Blobs>{entries}</Blobs>"
        return Answer(200, f"{text}<NextMarker>{following}</NextMarker></EnumerationResults>".encode())


def _is_found(entry: dict[str, Any], filters: list[dict[str, Any]]) -> bool:
    return all(_is_match(entry, each["field"], each["operator"], each["values"]) for each in filters)


def _is_match(entry: dict[str, Any], field: str, operator: str, values: list[str]) -> bool:
    value: Any = entry
    for part in ("annotations/labels" if field == "labels" else field).split("/"):
        value = value.get(part) if isinstance(value, dict) else None
    actual = {str(each).lower() if isinstance(each, bool) else each for each in (value if isinstance(value, list) else [value])}
    return bool(actual & set(values)) == (operator == "eq")


@contextmanager
def azure_stand_in() -> Iterator[AzureStandIn]:
    """The servers, for as long as the block lasts."""
    stand_in = AzureStandIn()
    with web_server(stand_in.respond) as stand_in.server:
        try:
            yield stand_in
        finally:
            stand_in.ended.set()


__all__ = ["AT_ONCE", "GALLERY_PATH", "SAMPLES", "SILENT", "AzureStandIn", "azure_stand_in", "entry", "sample"]

"""Static mirrors: what an index may say, directories, and web servers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from foundry_cli.catalog.sources.base import RemoteSource
from foundry_cli.catalog.sources.mirror import LocalModel, MirrorSource, WebDirectory
from foundry_cli.chunks import chunk_digest
from foundry_cli.errors import ConfigError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.mirror_index import CHUNKS, read_index, write_index
from foundry_cli.model_record import to_record
from foundry_cli.remote import RemoteFile
from foundry_cli.types import ModelInfo
from tests.fakes.web import Answer, Seen, WebServer, web_server

MODEL = ModelInfo(
    "tiny", 2, "tiny-alias", publisher="Tests", license="MIT", prompt_template={"user": "{Content}"}, source="azure"
)
CONTENT = {"v1/genai_config.json": b"{}", "v1/model #1.onnx": bytes(range(256)) * 5000}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(model: ModelInfo = MODEL, **changes: Any) -> dict[str, Any]:
    files = [{"path": path, "size": len(data), "sha256": digest(data)} for path, data in CONTENT.items()]
    return {**to_record(model), "path": f"Tests/{model.name}-{model.version}", "files": files, **changes}


def index(*entries: object, **changes: Any) -> bytes:
    return json.dumps({"format": "foundry-mirror", "version": 1, "models": list(entries), **changes}).encode()


def write_mirror(directory: Path, content: bytes | None = None) -> Path:
    for path, data in CONTENT.items():
        file = directory / "Tests" / "tiny-2" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (directory / "index.json").write_bytes(index(entry()) if content is None else content)
    return directory


@dataclass
class Site:
    """A web server of a directory, that can ask for a name and fail."""

    directory: Path
    server: WebServer = field(init=False)
    authorization: str = ""
    failures: list[Answer] = field(default_factory=list)

    def answer(self, request: Seen) -> Answer:
        if self.failures:
            return self.failures.pop(0)
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return Answer(401)
        path = self.directory / unquote(urlsplit(request.path).path).removeprefix("/models/").lstrip("/")
        return Answer(200, path.read_bytes()) if path.is_file() else Answer(404)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(write_mirror(tmp_path / "site"))
    with web_server(site.answer) as site.server:
        yield site


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True, retry=RetryPolicy(tries=2, first_wait=0.001))


# --- the index


def test_an_index_that_is_written_is_read_back() -> None:
    models = read_index(index(entry(chunks={"size": 5, "sha256": "0" * 64})))
    assert read_index(write_index(models)) == models
    assert models[0].model.id == "tiny:2"
    assert models[0].model.size_bytes == sum(map(len, CONTENT.values()))
    assert models[0].chunks == RemoteFile(CHUNKS, 5, "0" * 64)


def test_models_of_an_index_are_of_the_source_that_is_named() -> None:
    assert read_index(index(entry()), "lab")[0].model.source == "lab"
    assert read_index(index(entry()))[0].model.source == "azure"


FILE = {"path": "a", "size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "bad",
    [
        5,
        {},
        entry(id=7, name=7),
        entry(path=None),
        entry(path="../up"),
        entry(path="/etc"),
        entry(path="a/../../b"),
        entry(path="C:\\x"),
        entry(path="a\\b"),
        entry(path="a//b"),
        entry(path="."),
        entry(path="a\x00b"),
        entry(files=None),
        entry(files=[]),
        entry(files=[1]),
        entry(files=[FILE] * 10_001),
        entry(files=[{**FILE, "path": "../../a"}]),
        entry(files=[{**FILE, "size": -1}]),
        entry(files=[{**FILE, "size": True}]),
        entry(files=[{**FILE, "size": 1 << 60}]),
        entry(files=[{**FILE, "size": "1"}]),
        entry(files=[{**FILE, "sha256": None}]),
        entry(files=[{**FILE, "sha256": "0" * 63}]),
        entry(files=[{**FILE, "sha256": "A" * 64}]),
        entry(files=[{**FILE, "sha256": "0" * 64 + "\n"}]),
    ],
)
def test_an_entry_that_cannot_be_used_is_left_out_alone(bad: object) -> None:
    assert [each.model.name for each in read_index(index(bad, entry()))] == ["tiny"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"models": []}',
        index(entry(), format="else"),
        index(entry(), version=2),
        index(entry(), models={}),
        b"[" * 100_000,
        index(*[0] * 100_001),
    ],
)
def test_something_else_than_an_index_is_refused(content: bytes) -> None:
    with pytest.raises(SourceError):
        read_index(content)


# --- a directory


@pytest.mark.parametrize("form", ["path", "address"])
def test_a_directory_is_read_without_anything_stored(tmp_path: Path, client: HttpClient, form: str) -> None:
    directory = write_mirror(tmp_path / "a mirror")
    source = MirrorSource("disk", str(directory) if form == "path" else directory.as_uri(), tmp_path / "catalogs")
    assert [(model.id, model.source, model.path) for model in source.models()] == [("tiny:2", "disk", None)]
    assert not source.is_stale()
    source.refresh(client)
    assert source.location == str(directory)
    assert (source.state().models, source.state().problem) == (1, "")
    assert not (tmp_path / "catalogs").exists()


def test_a_model_of_a_directory_is_where_it_lies(tmp_path: Path, client: HttpClient) -> None:
    directory = write_mirror(tmp_path / "mirror")
    source = MirrorSource("disk", str(directory), tmp_path)
    remote = source.open(source.models()[0], client)
    assert isinstance(remote, LocalModel)
    assert {file.path: (remote.directory / file.path).read_bytes() for file in remote.files} == CONTENT
    assert remote.address(remote.files[1]).url.endswith("/Tests/tiny-2/v1/model%20%231.onnx")


def test_a_directory_is_read_again_when_its_index_has_changed(tmp_path: Path) -> None:
    directory = write_mirror(tmp_path / "mirror")
    source = MirrorSource("disk", str(directory), tmp_path)
    assert len(source.models()) == 1
    (directory / "index.json").write_bytes(index(entry(), entry(ModelInfo("second", 1, "second"))))
    assert [model.name for model in source.models()] == ["tiny", "second"]


def test_a_directory_without_index_has_no_models_and_says_why(tmp_path: Path, client: HttpClient) -> None:
    source = MirrorSource("disk", str(tmp_path), tmp_path)
    assert source.models() == []
    assert "No such file" in source.state().problem
    with pytest.raises(SourceError, match=r"index\.json cannot be read"):
        source.refresh(client)


@pytest.mark.parametrize("location", ["ftp://host/x", "file://host/x", "http://", "http://[::1", "https://host:port/x"])
def test_a_location_that_is_none_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(ConfigError):
        MirrorSource("bad", location, tmp_path)


# --- a web server


@pytest.mark.parametrize("end", ["", "/", "/models", "/models/", "/index.json", "/models/index.json"])
def test_the_address_may_be_that_of_the_directory_or_of_the_index(
    site: Site, client: HttpClient, tmp_path: Path, end: str
) -> None:
    source = MirrorSource("web", site.server.url + end, tmp_path / "catalogs")
    assert isinstance(source, RemoteSource)
    assert source.is_stale()
    assert source.models() == []
    source.refresh(client)
    assert not source.is_stale()
    assert [(model.id, model.alias, model.source) for model in source.models()] == [("tiny:2", "tiny-alias", "web")]
    remote = source.open(source.models()[0], client)
    fetched = {file.path: client.read("GET", remote.address(file).url)[1] for file in remote.files}
    assert fetched == CONTENT
    assert [file.sha256 for file in remote.files] == [digest(data) for data in CONTENT.values()]


def test_the_list_is_there_without_the_server_for_another_process(site: Site, client: HttpClient, tmp_path: Path) -> None:
    MirrorSource("web", site.server.url, tmp_path / "catalogs").refresh(client)
    requests = len(site.server.seen)
    again = MirrorSource("web", site.server.url, tmp_path / "catalogs")
    assert [model.id for model in again.models()] == ["tiny:2"]
    assert again.models()[0].size_bytes == sum(map(len, CONTENT.values()))
    assert again.state().refreshed is not None
    assert len(site.server.seen) == requests
    again.forget()
    assert MirrorSource("web", site.server.url, tmp_path / "catalogs").models() == []


@pytest.mark.parametrize(("answer", "kind"), [(Answer(404), SourceError), (Answer(200, b"<html>"), SourceError)])
def test_a_refresh_that_fails_keeps_the_list_and_says_why(
    site: Site, client: HttpClient, tmp_path: Path, answer: Answer, kind: type[Exception]
) -> None:
    source = MirrorSource("web", site.server.url, tmp_path / "catalogs")
    source.refresh(client)
    site.failures.append(answer)
    with pytest.raises(kind):
        source.refresh(client)
    assert len(source.models()) == 1
    assert source.state().problem


def test_a_server_that_is_not_there_is_an_error_that_is_remembered(client: HttpClient, tmp_path: Path) -> None:
    source = MirrorSource("web", "http://127.0.0.1:9/models", tmp_path / "catalogs")
    with pytest.raises(SourceUnreachableError):
        source.refresh(client)
    assert "http://127.0.0.1:9" in source.state().problem
    assert not source.is_stale()  # not at once again


def test_name_and_password_of_the_address_are_sent_and_never_shown(site: Site, client: HttpClient, tmp_path: Path) -> None:
    site.authorization = f"Basic {base64.b64encode(b'me:se:c/ret').decode()}"
    address = site.server.url.replace("http://", "http://me:se%3Ac%2Fret@")
    source = MirrorSource("web", f"{address}/models?sig=hidden", tmp_path / "catalogs")
    source.refresh(client)
    remote = source.open(source.models()[0], client)
    place = remote.address(remote.files[0])
    assert client.read("GET", place.url, headers=place.headers)[0].status_code == 200
    assert "@" not in place.url
    assert place.url.endswith("genai_config.json?sig=hidden")
    site.authorization = "other"
    with pytest.raises(SourceError) as caught:
        source.refresh(client)
    shown = f"{source.location} {source.state()} {caught.value.message} {WebDirectory.parse(address)!r}"
    assert "ret" not in shown
    assert "hidden" not in shown
    with pytest.raises(SourceError, match="refuses"):
        remote.address(remote.files[0], stale=place)


def test_a_model_that_has_gone_meanwhile_is_named(site: Site, client: HttpClient, tmp_path: Path) -> None:
    source = MirrorSource("web", site.server.url, tmp_path / "catalogs")
    source.refresh(client)
    (site.directory / "index.json").write_bytes(index())
    with pytest.raises(SourceError, match="has no tiny:2 any more"):
        source.open(source.models()[0], client)


def add_chunks(site: Site, document: dict[str, Any], sha256: str | None = None) -> None:
    data = json.dumps(document).encode()
    (site.directory / "Tests" / "tiny-2" / CHUNKS).write_bytes(data)
    listed = entry(chunks={"size": len(data), "sha256": sha256 or digest(data)})
    (site.directory / "index.json").write_bytes(index(listed))


def packed(data: bytes) -> str:
    pieces = [data[start : start + (1 << 20)] for start in range(0, len(data), 1 << 20)]
    return base64.b64encode(b"".join(bytes.fromhex(chunk_digest(piece)) for piece in pieces)).decode()


CHUNK_DOCUMENT = {
    "version": 1,
    "chunkBytes": 1 << 20,
    "hash": "xxh3-64",
    "chunks": {path: packed(data) for path, data in CONTENT.items()},
}


def chunk_counts(site: Site, client: HttpClient, tmp_path: Path) -> list[int]:
    source = MirrorSource("web", site.server.url, tmp_path / "catalogs")
    return [len(file.chunk_digests) for file in source.open(MODEL, client).files]


def test_digests_of_pieces_come_along(site: Site, client: HttpClient, tmp_path: Path) -> None:
    add_chunks(site, CHUNK_DOCUMENT)
    assert chunk_counts(site, client, tmp_path) == [1, 2]
    files = MirrorSource("web", site.server.url, tmp_path).open(MODEL, client).files
    assert files[1].chunk_digests[0] == chunk_digest(CONTENT["v1/model #1.onnx"][: 1 << 20])


@pytest.mark.parametrize(
    "document",
    [
        {**CHUNK_DOCUMENT, "version": 2},
        {**CHUNK_DOCUMENT, "chunkBytes": 5},
        {**CHUNK_DOCUMENT, "hash": "sha256"},
        {**CHUNK_DOCUMENT, "chunks": 5},
        {**CHUNK_DOCUMENT, "chunks": dict.fromkeys(CONTENT, "AAAA")},
        {**CHUNK_DOCUMENT, "chunks": {path: packed(b"x" * (4 << 20)) for path in CONTENT}},
        {**CHUNK_DOCUMENT, "chunks": dict.fromkeys(CONTENT, "ä")},
    ],
)
def test_digests_of_pieces_that_cannot_be_used_are_left_out(
    site: Site, client: HttpClient, tmp_path: Path, document: dict[str, Any]
) -> None:
    add_chunks(site, document)
    assert chunk_counts(site, client, tmp_path) == [0, 0]


def test_digests_of_pieces_other_than_those_of_the_index_are_left_out(site: Site, client: HttpClient, tmp_path: Path) -> None:
    add_chunks(site, CHUNK_DOCUMENT, sha256="0" * 64)
    assert chunk_counts(site, client, tmp_path) == [0, 0]
    (site.directory / "Tests" / "tiny-2" / CHUNKS).unlink()
    assert chunk_counts(site, client, tmp_path) == [0, 0]

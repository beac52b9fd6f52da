"""A stand-in of Hugging Face's HTTP interface: the hub, and the other server that it sends people to for large files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.fakes.web import Answer, Seen, WebServer, web_server

COMMIT = "c0ffee" + "0" * 34
_PAGE = 2  # results of a search


@dataclass
class FakeRepository:
    """A repository at one commit; files of `LARGE` bytes and more are in large file storage."""

    files: dict[str, bytes]
    license: str = "mit"
    gated: str | bool = False
    token: str | None = None  # needed to see it; for a gated one, to read its files
    revisions: tuple[str, ...] = ("main",)
    commit: str = COMMIT
    tags: tuple[str, ...] = ("onnx",)
    pipeline_tag: str = "text-generation"
    downloads: int = 10
    extra: dict[str, Any] = field(default_factory=dict)  # put over the answer
    others: dict[str, FakeRepository] = field(default_factory=dict)  # at other commits, by revision

    def at(self, revision: str) -> FakeRepository | None:
        """The repository at a revision or commit."""
        if revision in (*self.revisions, self.commit):
            return self
        return self.others.get(revision) or next((other for other in self.others.values() if other.commit == revision), None)


LARGE = 64


class FakeHub:
    """Repositories by name, and switches."""

    def __init__(self, repositories: dict[str, FakeRepository]) -> None:
        self.repositories = repositories
        self.refusals: list[Answer] = []  # given before anything else, one for each request
        self.hub: WebServer
        self.storage: WebServer

    @property
    def url(self) -> str:
        """What `HF_ENDPOINT` is to be."""
        return self.hub.url

    def answer(self, request: Seen) -> Answer:
        """What the hub says."""
        if self.refusals:
            return self.refusals.pop(0)
        path = unquote(urlsplit(request.path).path).strip("/")
        if path == "api/models":
            return self._search(request)
        if path.startswith("api/models/"):
            owner, name, *revision = path.removeprefix("api/models/").split("/", 2)
            return self._info(request, f"{owner}/{name}", revision[0].removeprefix("revision/") if revision else "main")
        owner, name, resolve, commit, *file = path.split("/", 4)
        return self._resolve(request, f"{owner}/{name}", commit, "/".join(file)) if resolve == "resolve" else Answer(404)

    def deliver(self, request: Seen) -> Answer:
        """What the storage says: the file with that digest."""
        digest = urlsplit(request.path).path.strip("/")
        commits = (each for repository in self.repositories.values() for each in (repository, *repository.others.values()))
        files = (data for repository in commits for data in repository.files.values())
        found = next((data for data in files if hashlib.sha256(data).hexdigest() == digest), None)
        return _refusal(403, "AccessDenied") if found is None else _ranged(request, found)

    def _search(self, request: Seen) -> Answer:
        query = parse_qs(urlsplit(request.path).query)
        text, tags, start = query["search"][0].lower(), query.get("filter", []), int(query.get("cursor", ["0"])[0])
        found = [
            (name, repository)
            for name, repository in self.repositories.items()
            if text in name.lower() and set(tags) <= set(repository.tags) and repository.token is None
        ]
        found.sort(key=lambda each: -each[1].downloads)
        page = [_describe(name, repository, with_sizes=False) for name, repository in found[start : start + _PAGE]]
        address = f"{self.url}/api/models?search={quote(text)}&full=True&cursor={start + _PAGE}"
        links = {"Link": f'<{address}{"".join(f"&filter={tag}" for tag in tags)}>; rel="next"'}
        return _json(page, links if start + _PAGE < len(found) else {})

    def _info(self, request: Seen, name: str, revision: str) -> Answer:
        repository = self.repositories.get(name)
        if repository is None or (repository.token and not repository.gated and not _has_token(request, repository)):
            return _refusal(404 if "authorization" in request.headers else 401, "RepoNotFound")
        wanted = repository.at(revision)
        if wanted is None:
            return _refusal(404, "RevisionNotFound")
        return _json(_describe(name, wanted, with_sizes="blobs=" in request.path))

    def _resolve(self, request: Seen, name: str, commit: str, path: str) -> Answer:
        repository = self.repositories[name].at(commit)
        if repository is None:
            return _refusal(404, "RevisionNotFound")
        if repository.token and not _has_token(request, repository):
            return _refusal(403 if "authorization" in request.headers else 401, "GatedRepo")
        data = repository.files.get(path)
        if data is None:
            return _refusal(404, "EntryNotFound")
        if len(data) < LARGE:
            return _ranged(request, data)
        return Answer(302, b"", {"Location": f"{self.storage.url}/{hashlib.sha256(data).hexdigest()}?signature=secret"})


@contextmanager
def fake_hub(repositories: dict[str, FakeRepository]) -> Iterator[FakeHub]:
    """Both servers, for as long as the block lasts."""
    fake = FakeHub(repositories)
    with web_server(fake.answer) as fake.hub, web_server(fake.deliver) as fake.storage:
        yield fake


def _describe(name: str, repository: FakeRepository, *, with_sizes: bool) -> dict[str, Any]:
    siblings = [_sibling(path, data, with_sizes) for path, data in repository.files.items()]
    return {
        "_id": "1",
        "id": name,
        "modelId": name,
        "author": name.partition("/")[0],
        "sha": repository.commit,
        "lastModified": "2026-03-01T00:00:00.000Z",
        "private": repository.token is not None and not repository.gated,
        "gated": repository.gated,
        "disabled": False,
        "downloads": repository.downloads,
        "likes": 1,
        "tags": [*repository.tags, f"license:{repository.license}"],
        "pipeline_tag": repository.pipeline_tag,
        "cardData": {"license": repository.license},
        "siblings": siblings,
        **repository.extra,
    }


def _sibling(path: str, data: bytes, with_sizes: bool) -> dict[str, Any]:
    if not with_sizes:
        return {"rfilename": path}
    entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
    if len(data) >= LARGE:
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _has_token(request: Seen, repository: FakeRepository) -> bool:
    return request.headers.get("authorization") == f"Bearer {repository.token}"


def _ranged(request: Seen, data: bytes) -> Answer:
    asked = request.headers.get("range", "")
    if not asked:
        return Answer(200, data)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(data)), len(data) - 1)
    return Answer(206, data[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(data)}"})


def _json(document: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})


def _refusal(status: int, code: str) -> Answer:
    return Answer(status, b'{"error": "No."}', {"X-Error-Code": code, "Content-Type": "application/json"})

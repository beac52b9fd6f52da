"""Hugging Face as a source: models are named by reference, `hf:owner/repo[@revision][:folder]`, and asked for on demand."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from foundry_cli.catalog.sources.huggingface_api import LONGEST_NAME, HuggingFaceApi, Repository, plain_text
from foundry_cli.catalog.sources.huggingface_files import CONFIG, choose_files, choose_folder, model_folders
from foundry_cli.errors import InvalidRequestError, SourceError
from foundry_cli.execution_providers import CPU, find_provider
from foundry_cli.http import HttpClient, host_of
from foundry_cli.remote import FileAddress, RemoteFile, RemoteModel
from foundry_cli.types import DEVICES, ModelInfo

_PREFIX = "hf:"
_REFERENCE = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./+-]+))?(:(?P<folder>[^:@]+))?", re.ASCII)
_PLAIN_FOLDER = re.compile(r"\w([.-]?\w)*", re.ASCII)  # a part of a path that ids can have as it is
_JOINT = "--"  # which no name of an owner or a repository has, so that `a/b-c` and `a-b/c` are not one id
_SHORT_COMMIT = 12  # digits
_DIGEST_LENGTH = 12  # hexadecimal digits
_COMMIT = re.compile(r"[0-9a-f]{40}")
_COMMIT_BEGINNING = re.compile(r"[0-9a-f]{7,40}", re.IGNORECASE)
_LARGEST_CONFIG = 1 << 20  # bytes
_LOOKED_AT = 5  # repositories for each wanted result of a search: many have ONNX files for other programs
_TASKS = {
    "automatic-speech-recognition": "automatic-speech-recognition",
    "feature-extraction": "embeddings",
    "sentence-similarity": "embeddings",
}


@dataclass(frozen=True)
class HuggingFaceReference:
    """`hf:owner/repo[@revision][:folder]`. `folder` "" is the repository itself, None is not said."""

    repository: str
    revision: str | None = None
    folder: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        folder = f":{self.folder or '.'}" if self.folder is not None else ""
        return f"{_PREFIX}{self.repository}{revision}{folder}"

    def means(self, uri: str) -> bool:
        """Whether `uri`, of a model that was fetched before, is what this reference means: the same repository and folder,
        and the commit that is asked for. Any commit if none is; never if it is asked for by the name of a branch or tag,
        which only the source knows.
        """
        other = _parse_uri(uri)
        return (
            other is not None
            and (other.repository.lower(), other.folder) == (self.repository.lower(), self.folder)
            and (self.revision is None or self.revision.lower() == other.revision)
        )

    def may_mean(self, model: ModelInfo) -> bool:
        """Whether this reference may mean `model`, which was fetched before: only the source knows which commit a branch or
        tag is now. The folder is in the name of a model, not always in its address.
        """
        other = _parse_uri(model.uri)
        if other is None or other.repository.lower() != self.repository.lower():
            return False
        folder = _unique_name(self.repository, self.folder or "").lower()
        is_folder = not self.folder or f"{model.name.lower()}{_JOINT}".startswith(f"{folder}{_JOINT}")
        is_commit = bool(_COMMIT_BEGINNING.fullmatch(self.revision or ""))
        return is_folder and (not is_commit or (other.revision or "").startswith((self.revision or "").lower()))


def parse_reference(text: str) -> HuggingFaceReference | None:
    """The reference that `text` is; None when it is another kind of name. Raises `InvalidRequestError` for a malformed one."""
    text = text.strip()
    if not text.lower().startswith(_PREFIX):
        return None
    parts = _REFERENCE.fullmatch(text[len(_PREFIX) :])
    if parts is None:
        hint = "Write hf:owner/repo, hf:owner/repo@revision or hf:owner/repo:folder."
        raise InvalidRequestError(f"{text[:200]!r} is not a reference to a model on Hugging Face.", hint=hint, param="model")
    return HuggingFaceReference(parts["name"], parts["revision"], _parse_folder(parts["folder"]))


def _parse_uri(uri: str) -> HuggingFaceReference | None:
    """The reference that a stored model says it is; None for another kind of address, or a damaged one."""
    try:
        return parse_reference(uri)
    except InvalidRequestError:
        return None


def is_same_model(uri: str, other: str, *, any_commit: bool = False) -> bool:
    """Whether two addresses of stored or resolved models are one model, at one commit unless `any_commit`."""
    reference = _parse_uri(uri)
    return reference is not None and (replace(reference, revision=None) if any_commit else reference).means(other)


def commit_of(uri: str) -> str:
    """The commit in the address of a model, as short as people write it; "" when there is none."""
    reference = _parse_uri(uri)
    return (reference.revision or "")[:_SHORT_COMMIT] if reference else ""


def _parse_folder(text: str | None) -> str | None:
    """With "." for the repository itself."""
    if text is None:
        return None
    folder = PurePosixPath(text)
    if folder.is_absolute() or ".." in folder.parts or not text.isprintable():
        raise InvalidRequestError(f"{text[:200]!r} is not a folder of a repository.", param="model")
    return "" if str(folder) == "." else str(folder)


@dataclass(frozen=True)
class SearchResult:
    """A repository that holds models for ONNX Runtime GenAI, and their folders ("" is the repository itself)."""

    repository: str
    folders: tuple[str, ...]
    license: str
    downloads: int
    modified: int  # Unix seconds
    is_gated: bool

    @property
    def references(self) -> list[str]:
        """What to give `foundry model download`, for each model."""
        only = len(self.folders) == 1
        return [str(HuggingFaceReference(self.repository, None, None if only else folder)) for folder in self.folders]


@dataclass(frozen=True)
class HuggingFaceModel:
    """The files of one model, pinned to a commit."""

    files: Sequence[RemoteFile]
    urls: Mapping[str, str]  # by path
    headers: Mapping[str, str] = field(repr=False)

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        """Where `file` is. Such an address does not expire: one that is refused stays so."""
        url = self.urls[file.path]
        if stale is not None:
            raise SourceError(
                f"{host_of(url)} refuses {file.path}.", hint="Set HF_TOKEN to a token of an account that may read the model."
            )
        return FileAddress(url, self.headers)


class HuggingFaceSource:
    """Models of the Hugging Face Hub, or of what `HF_ENDPOINT` names. Nothing of it is stored."""

    name = "huggingface"

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        """Without arguments the environment counts, at each call; `token` "" stands for none."""
        self._endpoint = endpoint
        self._token = token

    def resolve(self, reference: HuggingFaceReference, client: HttpClient) -> ModelInfo:
        """The model that `reference` means now; its `uri` names the commit.

        Raises `ModelNotFoundError`, `InvalidRequestError` when the repository holds several models, `ModelInvalidError` when
        it holds none, `DownloadError` and its kinds.
        """
        api = self._api()
        repository, folder, files = _look_up(api, reference, client)
        config = _read_config(api, repository, files, client)
        folders = model_folders(file.path for file in repository.files)
        named = folder if len(folders) > 1 else None
        uri = str(HuggingFaceReference(repository.name, repository.commit, named))
        return _describe(repository, folder, uri, sum(file.size for file in files.values()), config)

    def open(self, model: ModelInfo, client: HttpClient) -> RemoteModel:
        """The files of `model` at the commit that its `uri` names. Raises as `resolve`."""
        reference = parse_reference(model.uri)
        if reference is None:
            raise SourceError(f"{model.id} does not say where on Hugging Face it comes from.")
        api = self._api()
        repository, _, files = _look_up(api, reference, client)
        urls = {file.path: _url(api, repository, path) for path, file in files.items()}
        return HuggingFaceModel(tuple(files.values()), urls, api.headers)

    def search(self, text: str, limit: int, client: HttpClient) -> list[SearchResult]:
        """At most `limit` repositories for `text` whose models can be run as they are, most downloaded first.

        Raises `DownloadError` and its kinds.
        """
        results = []
        for found in self._api().search(text, limit * _LOOKED_AT, client):
            folders = model_folders(file.path for file in found.files)
            if folders:
                results.append(
                    SearchResult(found.name, tuple(folders), found.license, found.downloads, found.modified, found.is_gated)
                )
        return results[:limit]

    def _api(self) -> HuggingFaceApi:
        return HuggingFaceApi(self._endpoint, self._token)


def _look_up(
    api: HuggingFaceApi, reference: HuggingFaceReference, client: HttpClient
) -> tuple[Repository, str, dict[str, RemoteFile]]:
    """Repository, folder and files (by their path in the repository) of the model."""
    repository = api.repository(reference.repository, reference.revision, client)
    if not _COMMIT.fullmatch(repository.commit):
        raise SourceError(f"{host_of(api.endpoint)} does not say which commit of hf:{reference.repository} it has.")
    folder = choose_folder(repository, reference.folder)
    return repository, folder, choose_files(repository, folder)


def _url(api: HuggingFaceApi, repository: Repository, path: str) -> str:
    return f"{api.endpoint}/{repository.name}/resolve/{repository.commit}/{quote(path)}"


def _read_config(
    api: HuggingFaceApi, repository: Repository, files: Mapping[str, RemoteFile], client: HttpClient
) -> dict[str, Any]:
    """The `model` section of `genai_config.json`."""
    path = next(path for path, file in files.items() if file.path == CONFIG)
    url = _url(api, repository, path)
    response, content = client.read("GET", url, headers=api.headers, largest=_LARGEST_CONFIG)
    if response.status_code in (401, 403):
        raise SourceError(
            f"{host_of(url)} refuses hf:{repository.name}: status {response.status_code}.",
            hint=f"Accept its licence at {api.endpoint}/{repository.name} if there is one, and set HF_TOKEN.",
        )
    if response.status_code != 200:
        raise SourceError(f"{host_of(url)} answers with status {response.status_code} for {path}.")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} of hf:{repository.name} is not JSON.") from error
    section = document.get("model") if isinstance(document, dict) else None
    return section if isinstance(section, dict) else {}


def _describe(repository: Repository, folder: str, uri: str, size: int, config: dict[str, Any]) -> ModelInfo:
    owner, _, name = repository.name.partition("/")
    device, provider = _device(config)
    context = config.get("context_length")
    unique = _unique_name(repository.name, folder)
    return ModelInfo(
        name=unique,
        version=1,
        alias=unique.lower(),
        device=device,
        execution_provider=provider,
        display_name=f"{name} ({folder})" if folder else name,
        publisher=owner,
        task=_TASKS.get(repository.task, "chat-completion"),
        size_bytes=size,
        license=repository.license,
        license_description=repository.license_link,
        uri=uri,
        provider_type="HuggingFace",
        context_length=context if type(context) is int and context > 0 else None,
        created=repository.modified,
        requires_acceptance=repository.is_gated,
        source=HuggingFaceSource.name,
    )


def _unique_name(repository: str, folder: str) -> str:
    """The name of a model, which no other model of the hub has: `owner--repo--folder`, with a digest if that is not plain."""
    parts = folder.split("/") if folder else []
    name = _JOINT.join((*repository.split("/"), *parts))
    if len(name) <= LONGEST_NAME and all(map(_PLAIN_FOLDER.fullmatch, parts)):
        return name
    digest = hashlib.sha256(f"{repository}:{folder}".encode()).hexdigest()[:_DIGEST_LENGTH]
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)
    return f"{plain[: LONGEST_NAME - len(_JOINT) - len(digest)]}{_JOINT}{digest}"


def _device(config: dict[str, Any]) -> tuple[str, str]:
    """Device and execution provider that the model is made for, as its configuration names them."""
    options = _provider_options(config)
    if not options:
        return "CPU", CPU
    name, values = next(iter(options.items()))
    name = plain_text(name)
    provider = find_provider(name)
    wanted = values.get("device_type") if isinstance(values, dict) else None
    if isinstance(wanted, str) and wanted.upper() in DEVICES:
        return wanted.upper(), provider.name if provider else name
    return (provider.devices[0], provider.name) if provider else ("GPU", name)


def _provider_options(section: object) -> dict[str, Any] | None:
    """The first entry of the first `provider_options` that has any, in the decoder's options or in those of its stages."""
    if isinstance(section, list):
        return next(filter(None, map(_provider_options, section)), None)
    if not isinstance(section, dict):
        return None
    options = section.get("provider_options")
    if isinstance(options, list) and options and isinstance(options[0], dict) and options[0]:
        return options[0]
    return next(filter(None, map(_provider_options, section.values())), None)

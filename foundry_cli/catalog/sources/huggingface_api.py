"""Metadata from Hugging Face through `huggingface_hub`: what it raises in our words, with time-outs, without telemetry."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from foundry_cli import __version__
from foundry_cli.errors import ConfigError, ModelNotFoundError, OfflineError, SourceError, SourceUnreachableError
from foundry_cli.http import CONNECT_SECONDS, READ_SECONDS, HttpClient, host_of, refused_by_proxy, retry_after_of, unreachable
from foundry_cli.remote import RemoteFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import BlobLfsInfo
    from huggingface_hub.hf_api import ModelInfo as HubModel

DEFAULT_ENDPOINT = "https://huggingface.co"
LONGEST_NAME = 200  # characters of what is shown: names of repositories, paths of files
_LONGEST_LICENSE, _LONGEST_LINK = 80, 1000  # characters
_LARGEST_FILE = 4 << 40  # bytes
_REPOSITORY = re.compile(r"(?!.*(--|\.\.))(\b[\w.-]{1,96}\b)/(\b[\w.-]{1,96}\b)", re.ASCII)  # the hub's own rule
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")

T = TypeVar("T")


@dataclass(frozen=True)
class Repository:
    """A repository at one commit. `name` is `owner/repo`; `modified` is in Unix seconds; files have sizes and digests."""

    name: str
    commit: str
    files: tuple[RemoteFile, ...]
    license: str = ""
    license_link: str = ""
    is_gated: bool = False
    task: str = ""
    downloads: int = 0
    modified: int = 0


class HuggingFaceApi:
    """Questions to one endpoint. Without arguments it is what `HF_ENDPOINT`, `HF_TOKEN` or `hf auth login` say."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        """`token` "" stands for none. Raises `ConfigError` for an endpoint that is not an address."""
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        if not _is_address(self.endpoint):
            raise ConfigError("HF_ENDPOINT is not the address of a web server.", hint="It looks like https://huggingface.co.")
        self._token = token

    @property
    def headers(self) -> dict[str, str]:
        """What a request for a file must carry."""
        token = self._read_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def repository(self, name: str, revision: str | None, client: HttpClient) -> Repository:
        """`name` at `revision`, None being the main branch. Raises `ModelNotFoundError`, `DownloadError` and its kinds."""

        def ask() -> Repository:
            hub = self._hub().model_info(name, revision=revision, files_metadata=True, timeout=READ_SECONDS)
            return _repository(hub)

        return self._ask(ask, client, name, revision)

    def search(self, text: str, limit: int, client: HttpClient) -> list[Repository]:
        """At most `limit` repositories with ONNX files, most downloaded first; files without sizes. Raises as `repository`."""

        def ask() -> list[Repository]:
            found = self._hub().list_models(search=text, filter="onnx", sort="downloads", limit=limit, full=True, cardData=True)
            return [repository for repository in map(_repository_or_none, found) if repository]

        return self._ask(ask, client, "", None)

    def _ask(self, question: Callable[[], T], client: HttpClient, name: str, revision: str | None) -> T:
        """The answer, asked for again after failures that pass."""
        failures = 0
        while True:
            client.check_online(self.endpoint)
            try:
                with _translated(self.endpoint, name, revision):
                    return question()
            except OfflineError:
                raise
            except SourceUnreachableError as error:
                failures += 1
                client.wait_to_ask_again(error, failures, error.retry_after if isinstance(error, _BusyError) else None)

    def _hub(self) -> HfApi:
        _prepare_library()
        from huggingface_hub import HfApi

        token = self._read_token() or False
        return HfApi(endpoint=self.endpoint, token=token, library_name="foundry-cli", library_version=__version__)

    def _read_token(self) -> str:
        if self._token is not None:
            return self._token
        from huggingface_hub import get_token

        return get_token() or ""


def _is_address(text: str) -> bool:
    """Whether `text` is what paths can be put behind, without credentials in it."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    is_plain = text.isprintable() and not any(character in text for character in " @?#\\")
    return parts.scheme in ("http", "https") and bool(host) and is_plain


class _BusyError(SourceUnreachableError):
    """An answer that asks to come back later."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@functools.cache
def _prepare_library() -> None:
    """Once in a process: no telemetry, no log lines, no proxy to this machine, and requests that end in our errors."""
    import logging

    from huggingface_hub import constants, get_session, set_client_factory

    constants.HF_HUB_DISABLE_TELEMETRY = True  # read at each request; the variable only when the library is loaded
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    session = get_session()
    client_class, hooks = _client_class(type(session)), session.event_hooks
    set_client_factory(lambda: client_class(event_hooks=hooks, follow_redirects=True, mounts=dict.fromkeys(_LOOPBACK)))


def _client_class(base: Any) -> Any:
    """The client of `httpx` (or its successor: that depends on the version) that the library uses, with time-outs.

    What passes is our own error, because the library would wait for it and ask again, without saying so or being told to stop.
    """
    timeout = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": READ_SECONDS}

    class Client(base):  # type: ignore[misc]
        def send(self, request: Any, **options: Any) -> Any:
            request.extensions["timeout"] = timeout
            try:
                response = super().send(request, **options)
            except _library_error() as error:
                raise unreachable(str(request.url), error) from error
            if response.status_code == 407:
                raise refused_by_proxy(str(request.url))
            if response.status_code in _TRANSIENT:
                message = f"{host_of(str(request.url))} answers with status {response.status_code}."
                raise _BusyError(message, retry_after_of(response.headers))
            return response

    return Client


def _library_error() -> Any:
    """The root of the errors of `httpx` or its successor."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


def _repository_or_none(hub: HubModel) -> Repository | None:
    """A result of a search; None for one that cannot be used, which must not hide the others."""
    try:
        return _repository(hub)
    except (SourceError, ValueError, TypeError, AttributeError):
        return None


def _repository(hub: HubModel) -> Repository:
    """In our words. Raises `SourceError`, and `ValueError` and its like for odd values."""
    if not isinstance(hub.id, str) or not _REPOSITORY.fullmatch(hub.id):
        raise ValueError("not the name of a repository")
    modified = hub.last_modified or hub.created_at
    files = (_file(hub.id, sibling.rfilename, sibling.size, sibling.lfs) for sibling in hub.siblings or ())
    return Repository(
        name=hub.id,
        commit=hub.sha or "",
        files=tuple(file for file in files if file),
        license=plain_text(getattr(hub.card_data, "license", None), _LONGEST_LICENSE) or _tagged_license(hub.tags),
        license_link=plain_text(getattr(hub.card_data, "license_link", None), _LONGEST_LINK),
        is_gated=bool(hub.gated),
        task=plain_text(hub.pipeline_tag),
        downloads=hub.downloads if type(hub.downloads) is int else 0,
        modified=int(modified.timestamp()) if modified else 0,
    )


def _file(repository: str, path: object, size: object, lfs: BlobLfsInfo | None) -> RemoteFile | None:
    """A file of a repository; only those in large file storage have a SHA-256. Raises as `_repository`.

    None for one whose name cannot be shown: no file of a model is called so, but pictures of a description are.
    """
    size = 0 if size is None else size  # results of a search have none
    sha256 = lfs.sha256 if lfs else None
    if not isinstance(path, str) or type(size) is not int:
        raise ValueError("not a file")
    if not path.isprintable() or len(path) > LONGEST_NAME:
        return None
    if not 0 <= size <= _LARGEST_FILE:
        raise SourceError(f"The source of hf:{repository} says that {path} has a size that no file has.")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise ValueError("not a digest")
    return RemoteFile(path, size, sha256)


def _tagged_license(tags: list[str] | None) -> str:
    tag = next((tag for tag in tags or () if tag.startswith("license:")), "")
    return plain_text(tag.removeprefix("license:"), _LONGEST_LICENSE)


def plain_text(value: object, longest: int = LONGEST_NAME) -> str:
    """`value` as one line that is safe to show, of at most so many characters; "" for anything but a text."""
    text = value if isinstance(value, str) else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:longest].strip()


@contextlib.contextmanager
def _translated(endpoint: str, name: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise OfflineError(f"{host_of(endpoint)} is not asked, because HF_HUB_OFFLINE is set.", hint="Unset it.") from error
    except errors.HFValidationError as error:
        raise SourceError(f"{name[:LONGEST_NAME]!r} is not a name that Hugging Face takes.") from error
    except errors.HfHubHTTPError as error:
        raise _refusal(error, endpoint, name, revision) from error
    except (_library_error(), OSError) as error:  # of the token's renewal
        raise unreachable(endpoint, error) from error
    except (ImportError, ValueError, TypeError, KeyError, AttributeError) as error:  # how the library meets odd answers
        raise SourceError(f"{host_of(endpoint)} answers with something that cannot be used.") from error


def _refusal(error: Any, endpoint: str, name: str, revision: str | None) -> Exception:
    """In our words: an answer with a status of 400 and more."""
    from huggingface_hub import errors

    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return SourceError(
            f"hf:{name} is given only to those who have accepted its licence.",
            hint=f"Accept it at {endpoint}/{name}, then set HF_TOKEN to a token of your account (or run 'hf auth login').",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceError(f"hf:{name} has no revision {revision!r}.")
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        hint = "If it is a private one, set HF_TOKEN to a token that may read it (or run 'hf auth login')."
        return ModelNotFoundError(f"There is no repository {name} at {host_of(endpoint)}.", hint=hint, param="model")
    if status in (401, 403):
        return SourceError(
            f"{host_of(endpoint)} refuses hf:{name}: status {status}.", hint="Check the token in HF_TOKEN, or unset it."
        )
    return SourceError(f"{host_of(endpoint)} answers with status {status}.")
